// Packed metadata values: how an element is taken out of the file's little-endian bytes.
#include "core/model/gguf_value.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

// GGUF v2 and v3 files are little-endian, and so is every machine this library supports.
template <typename T>
T Load(const std::vector<uint8_t>& bytes, size_t index) {
  T value;
  memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

const char* GgufTypeName(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
      return "uint8";
    case GgufType::kInt8:
      return "int8";
    case GgufType::kUint16:
      return "uint16";
    case GgufType::kInt16:
      return "int16";
    case GgufType::kUint32:
      return "uint32";
    case GgufType::kInt32:
      return "int32";
    case GgufType::kFloat32:
      return "float32";
    case GgufType::kBool:
      return "bool";
    case GgufType::kString:
      return "string";
    case GgufType::kArray:
      return "array";
    case GgufType::kUint64:
      return "uint64";
    case GgufType::kInt64:
      return "int64";
    case GgufType::kFloat64:
      return "float64";
  }
  return "unknown";
}

uint32_t GgufTypeBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

std::string ShownName(absl::string_view name) {
  constexpr size_t kMost = 100;
  if (name.size() <= kMost) return absl::CHexEscape(name);
  return absl::StrCat(absl::CHexEscape(name.substr(0, kMost)), "...");
}

GgufIntegers::GgufIntegers(GgufType type, std::vector<uint8_t> bytes)
    : type_(type), element_bytes_(GgufTypeBytes(type)), bytes_(std::move(bytes)) {}

int64_t GgufIntegers::operator[](size_t index) const {
  switch (type_) {
    case GgufType::kInt8:
      return Load<int8_t>(bytes_, index);
    case GgufType::kUint16:
      return Load<uint16_t>(bytes_, index);
    case GgufType::kInt16:
      return Load<int16_t>(bytes_, index);
    case GgufType::kUint32:
      return Load<uint32_t>(bytes_, index);
    case GgufType::kInt32:
      return Load<int32_t>(bytes_, index);
    case GgufType::kUint64:
    case GgufType::kInt64:
      return Load<int64_t>(bytes_, index);
    default:
      return Load<uint8_t>(bytes_, index);  // kUint8 and kBool
  }
}

GgufFloats::GgufFloats(GgufType type, std::vector<uint8_t> bytes)
    : element_bytes_(GgufTypeBytes(type)), bytes_(std::move(bytes)) {}

double GgufFloats::operator[](size_t index) const {
  if (element_bytes_ == 4) return Load<float>(bytes_, index);
  return Load<double>(bytes_, index);
}

}  // namespace tessera
