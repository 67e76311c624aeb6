// GGUF's layout, written out: header, metadata, tensor entries, padding, data.
#include "tests/doubles/gguf_writer.h"

#include <algorithm>
#include <utility>

namespace tessera {

ByteBuilder& ByteBuilder::Bytes(const void* data, size_t size_bytes) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), from, from + size_bytes);
  return *this;
}

ByteBuilder& ByteBuilder::String(const std::string& text) {
  return Number(static_cast<uint64_t>(text.size())).Bytes(text.data(), text.size());
}

ByteBuilder& ByteBuilder::PadTo(uint64_t alignment) {
  while (bytes_.size() % alignment != 0) bytes_.push_back(0);
  return *this;
}

GgufWriter& GgufWriter::String(const std::string& key, const std::string& value) {
  return Raw(key, static_cast<uint32_t>(GgufType::kString), ByteBuilder().String(value).Take());
}

GgufWriter& GgufWriter::Strings(const std::string& key, const std::vector<std::string>& strings) {
  ByteBuilder body;
  body.Number(static_cast<uint32_t>(GgufType::kString)).Number(static_cast<uint64_t>(strings.size()));
  for (const std::string& text : strings) body.String(text);
  return Raw(key, static_cast<uint32_t>(GgufType::kArray), body.Take());
}

GgufWriter& GgufWriter::Raw(const std::string& key, uint32_t type, std::vector<uint8_t> bytes) {
  values.push_back({key, type, std::move(bytes)});
  return *this;
}

GgufWriter& GgufWriter::Remove(const std::string& key) {
  values.erase(
      std::remove_if(values.begin(), values.end(), [&](const ValueEntry& entry) { return entry.key == key; }),
      values.end());
  return *this;
}

GgufWriter& GgufWriter::Alignment(uint32_t bytes) {
  alignment = bytes;
  return Remove("general.alignment").Uint32("general.alignment", bytes);
}

GgufWriter& GgufWriter::Tensor(const std::string& name, TensorType type, const std::vector<uint64_t>& shape,
                               std::vector<uint8_t> bytes) {
  tensors.push_back({name, static_cast<uint32_t>(type), shape, std::move(bytes), std::nullopt, std::nullopt});
  return *this;
}

GgufWriter& GgufWriter::RemoveTensor(const std::string& name) {
  tensors.erase(std::remove_if(tensors.begin(), tensors.end(),
                               [&](const TensorEntry& entry) { return entry.name == name; }),
                tensors.end());
  return *this;
}

std::vector<uint8_t> GgufWriter::Build() const {
  ByteBuilder out;
  out.Number(magic).Number(version);
  out.Number(tensor_count.value_or(tensors.size())).Number(metadata_count.value_or(values.size()));
  for (const ValueEntry& entry : values) {
    out.String(entry.key).Number(entry.type).Bytes(entry.bytes.data(), entry.bytes.size());
  }
  ByteBuilder data;
  for (const TensorEntry& entry : tensors) {
    data.PadTo(alignment);
    out.String(entry.name);
    out.Number(entry.dimensions.value_or(static_cast<uint32_t>(entry.shape.size())));
    for (const uint64_t extent : entry.shape) out.Number(extent);
    out.Number(entry.type).Number(entry.offset.value_or(data.bytes().size()));
    data.Bytes(entry.bytes.data(), entry.bytes.size());
  }
  if (!tensors.empty()) out.PadTo(alignment).Bytes(data.bytes().data(), data.bytes().size());
  return out.Take();
}

}  // namespace tessera
