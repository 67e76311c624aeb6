// Takes GGUF bytes apart without the engine's reader.
#include <cstring>
#include <string>
#include <utility>

#include "tests/fuzz/gguf_mutator.h"

namespace tessera {
namespace {

constexpr uint64_t kMostEntries = 1000;
constexpr uint32_t kString = 8, kArray = 9;

class Cursor {
 public:
  Cursor(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  template <typename T>
  bool Take(T* value) {
    if (size_ - at_ < sizeof(T)) return false;
    memcpy(value, data_ + at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }
  bool TakeText(std::string* text) {
    uint64_t length = 0;
    if (!Take(&length) || length > size_ - at_) return false;
    text->assign(reinterpret_cast<const char*>(data_ + at_), length);
    at_ += length;
    return true;
  }
  bool Skip(uint64_t bytes) {
    if (bytes > size_ - at_) return false;
    at_ += bytes;
    return true;
  }
  size_t at() const { return at_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const uint8_t* const data_;
  const size_t size_;
  size_t at_ = 0;
};

bool SkipValue(Cursor* in, uint32_t type, int depth = 0) {
  constexpr uint64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  if (type > 12) return false;
  if (type == kString) {
    std::string text;
    return in->TakeText(&text);
  }
  if (type != kArray) return in->Skip(kBytes[type]);
  uint32_t element = 0;
  uint64_t count = 0;
  if (!in->Take(&element) || !in->Take(&count) || depth > 3) return false;
  if (element < 13 && kBytes[element] != 0) return count <= in->size() && in->Skip(count * kBytes[element]);
  for (uint64_t i = 0; i < count; ++i) {
    if (!SkipValue(in, element, depth + 1)) return false;
  }
  return true;
}

bool TakeTensor(Cursor* in, GgufWriter::TensorEntry* tensor) {
  uint32_t dimensions = 0;
  uint64_t offset = 0;
  if (!in->TakeText(&tensor->name) || !in->Take(&dimensions) || dimensions > 8) return false;
  tensor->shape.resize(dimensions);
  for (uint64_t& extent : tensor->shape) {
    if (!in->Take(&extent)) return false;
  }
  if (!in->Take(&tensor->type) || !in->Take(&offset)) return false;
  tensor->offset = offset;
  return true;
}

// Gives tensors whose data lies inside the file their bytes, and lets the writer place them again.
void AttachData(GgufWriter* file, const Cursor& in) {
  size_t start = in.at();
  for (const GgufWriter::ValueEntry& value : file->values) {
    uint32_t bytes = 0;
    if (value.key != "general.alignment" || value.bytes.size() != sizeof(bytes)) continue;
    memcpy(&bytes, value.bytes.data(), sizeof(bytes));
    if (bytes > 0 && bytes <= 4096) file->alignment = bytes;
  }
  start = (start + file->alignment - 1) / file->alignment * file->alignment;
  for (GgufWriter::TensorEntry& tensor : file->tensors) {
    const TensorTypeInfo* info = FindTensorType(tensor.type);
    uint64_t bytes = info != nullptr ? info->block_bytes : 1;
    for (const uint64_t extent : tensor.shape)
      bytes = extent < 65536 && bytes < 65536 ? bytes * extent : UINT64_MAX;
    if (info != nullptr && bytes != UINT64_MAX) bytes /= info->block_elements;
    if (start > in.size() || *tensor.offset > in.size() - start ||
        bytes > in.size() - start - *tensor.offset) {
      continue;
    }
    const uint8_t* from = in.data() + start + *tensor.offset;
    tensor.bytes.assign(from, from + bytes);
    tensor.offset.reset();
  }
}

}  // namespace

std::optional<GgufWriter> TakeApart(const uint8_t* data, size_t size) {
  Cursor in(data, size);
  GgufWriter file;
  uint64_t tensors = 0, values = 0;
  if (!in.Take(&file.magic) || !in.Take(&file.version) || !in.Take(&tensors) || !in.Take(&values)) return {};
  if (tensors > kMostEntries || values > kMostEntries) return {};
  for (uint64_t i = 0; i < values; ++i) {
    GgufWriter::ValueEntry entry;
    if (!in.TakeText(&entry.key) || !in.Take(&entry.type)) return {};
    const size_t from = in.at();
    if (!SkipValue(&in, entry.type)) return {};
    entry.bytes.assign(data + from, data + in.at());
    file.values.push_back(std::move(entry));
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    GgufWriter::TensorEntry entry;
    if (!TakeTensor(&in, &entry)) return {};
    file.tensors.push_back(std::move(entry));
  }
  AttachData(&file, in);
  return file;
}

}  // namespace tessera
