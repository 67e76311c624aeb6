// GgufFile: the header, the order of reading, and the lookups. Metadata and tensors have files of their own.
#include "core/model/gguf.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"
#include "core/model/gguf_parser.h"

namespace tessera {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF", read as a little-endian number

// Counts are bounded so that what the parser keeps per entry beyond the entry's own bytes in the file
// (objects of a few hundred bytes) stays below the 64 MiB that callers are promised. Real files have some 50
// keys and, at 126 layers, 1,200 tensors.
constexpr uint64_t kMostKeys = 65536;
constexpr uint64_t kMostTensors = 65536;
constexpr uint64_t kLeastKeyBytes = 8 + 1 + 4 + 1;  // length, one letter, type, a bool
constexpr uint64_t kLeastTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // length, letter, dimensions, one, type, offset

}  // namespace

absl::Status GgufParser::Broken(uint64_t byte, absl::string_view message) const {
  return Corrupt(out_.file_->name(), absl::StrCat(message, " (byte ", byte, ")"));
}

absl::Status GgufParser::NotSupported(uint64_t byte, absl::string_view message) const {
  return Unsupported(out_.file_->name(), absl::StrCat(message, " (byte ", byte, ")"));
}

absl::Status GgufParser::ReadHeader() {
  uint32_t magic = 0, version = 0;
  TSR_RETURN_IF_ERROR(reader_.Number("the magic", &magic));
  if (magic != kMagic) return Broken(0, "not a GGUF file: its first four bytes are not \"GGUF\"");
  TSR_RETURN_IF_ERROR(reader_.Number("the version", &version));
  if (version != 0 && (version & 0xffff) == 0) {
    return NotSupported(4, "a big-endian GGUF file; this build reads little-endian ones");
  }
  if (version != 2 && version != 3) {
    return NotSupported(4, absl::StrCat("GGUF version ", version, "; this build reads versions 2 and 3"));
  }
  out_.version_ = version;

  TSR_RETURN_IF_ERROR(reader_.Number("the tensor count", &tensor_count_));
  TSR_RETURN_IF_ERROR(reader_.Number("the metadata count", &metadata_count_));
  if (tensor_count_ > kMostTensors) {
    return Broken(8, absl::StrCat(tensor_count_, " tensors; at most ", kMostTensors, " are read"));
  }
  if (metadata_count_ > kMostKeys) {
    return Broken(16, absl::StrCat(metadata_count_, " metadata keys; at most ", kMostKeys, " are read"));
  }
  // No overflow: both factors of each product are small by now.
  if (tensor_count_ * kLeastTensorBytes > reader_.remaining()) {
    return Broken(
        8, absl::StrCat(tensor_count_, " tensors cannot fit into the ", reader_.remaining(), " bytes left"));
  }
  if (metadata_count_ * kLeastKeyBytes > reader_.remaining()) {
    return Broken(16, absl::StrCat(metadata_count_, " metadata keys cannot fit into the ",
                                   reader_.remaining(), " bytes left"));
  }
  return absl::OkStatus();
}

absl::Status GgufParser::Parse() {
  TSR_RETURN_IF_ERROR(ReadHeader());
  TSR_RETURN_IF_ERROR(ReadMetadata());
  TSR_RETURN_IF_ERROR(ReadAlignment());
  TSR_RETURN_IF_ERROR(ReadTensors());
  TSR_RETURN_IF_ERROR(PlaceTensors());
  return CheckOverlaps();
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Read(std::shared_ptr<const RandomAccessFile> file) {
  std::unique_ptr<GgufFile> result(new GgufFile());
  result->name_ = std::string(file->name());
  result->file_ = std::move(file);
  TSR_RETURN_IF_ERROR(GgufParser(result.get()).Parse());
  return result;
}

size_t GgufFile::heap_bytes() const {
  size_t bytes = metadata_.capacity() * sizeof(metadata_[0]) + tensors_.capacity() * sizeof(tensors_[0]) +
                 (metadata_by_key_.capacity() + tensors_by_name_.capacity()) * sizeof(uint32_t);
  for (const auto& [key, value] : metadata_) bytes += key.capacity() + value.heap_bytes();
  for (const GgufTensor& tensor : tensors_) bytes += tensor.name.capacity();
  return bytes;
}

const GgufValue* GgufFile::Find(absl::string_view key) const {
  const auto found = std::lower_bound(
      metadata_by_key_.begin(), metadata_by_key_.end(), key,
      [this](uint32_t index, absl::string_view wanted) { return metadata_[index].first < wanted; });
  if (found == metadata_by_key_.end() || metadata_[*found].first != key) return nullptr;
  return &metadata_[*found].second;
}

const GgufTensor* GgufFile::FindTensor(absl::string_view name) const {
  const auto found = std::lower_bound(
      tensors_by_name_.begin(), tensors_by_name_.end(), name,
      [this](uint32_t index, absl::string_view wanted) { return tensors_[index].name < wanted; });
  if (found == tensors_by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

absl::StatusOr<const GgufValue*> GgufFile::FindScalar(absl::string_view key, absl::string_view wanted,
                                                      bool (*fits)(GgufType type)) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return NotFound(name_, absl::StrCat("key '", key, "' is missing"));
  if (value->is_array || !fits(value->type)) {
    return Corrupt(name_, absl::StrCat("key '", key, "' is ", value->is_array ? "an array of " : "of type ",
                                       GgufTypeName(value->type), "; ", wanted, " is needed"));
  }
  return value;
}

absl::StatusOr<int64_t> GgufFile::GetInt(absl::string_view key) const {
  TSR_ASSIGN_OR_RETURN(const GgufValue* value, FindScalar(key, "an integer", [](GgufType type) {
                         return GgufTypeBytes(type) != 0 && type != GgufType::kBool && !IsGgufFloat(type);
                       }));
  return value->integers[0];
}

absl::StatusOr<double> GgufFile::GetFloat(absl::string_view key) const {
  TSR_ASSIGN_OR_RETURN(const GgufValue* value, FindScalar(key, "a number", [](GgufType type) {
                         return GgufTypeBytes(type) != 0 && type != GgufType::kBool;
                       }));
  return IsGgufFloat(value->type) ? value->floats[0] : static_cast<double>(value->integers[0]);
}

absl::StatusOr<bool> GgufFile::GetBool(absl::string_view key) const {
  TSR_ASSIGN_OR_RETURN(const GgufValue* value,
                       FindScalar(key, "a bool", [](GgufType type) { return type == GgufType::kBool; }));
  return value->integers[0] != 0;
}

absl::StatusOr<absl::string_view> GgufFile::GetString(absl::string_view key) const {
  TSR_ASSIGN_OR_RETURN(const GgufValue* value,
                       FindScalar(key, "a string", [](GgufType type) { return type == GgufType::kString; }));
  return value->strings[0];
}

}  // namespace tessera
