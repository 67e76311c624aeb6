// The metadata part of a GGUF file: keys, types, scalars, arrays.
#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/checked.h"
#include "core/base/status.h"
#include "core/model/gguf_parser.h"

namespace tessera {
namespace {

constexpr uint64_t kMostKeyBytes = 65535;  // the format's own limit
constexpr uint32_t kLastType = 12;         // GgufType::kFloat64
constexpr uint64_t kStringLengthBytes = 8;

}  // namespace

absl::Status GgufParser::ReadKey(uint64_t index, std::string* key) {
  const uint64_t start = reader_.position();
  uint64_t length = 0;
  TSR_RETURN_IF_ERROR(reader_.Number(absl::StrCat("the length of metadata key ", index), &length));
  if (length == 0) return Broken(start, absl::StrCat("metadata key ", index, " is empty"));
  if (length > kMostKeyBytes) {
    return Broken(start, absl::StrCat("metadata key ", index, " has ", length, " bytes; the format allows ",
                                      kMostKeyBytes));
  }
  if (length > reader_.remaining()) {
    return Broken(start, absl::StrCat("metadata key ", index, " has ", length, " bytes, and ",
                                      reader_.remaining(), " are left in the file"));
  }
  key->resize(length);
  return reader_.Bytes("a metadata key", key->data(), length);
}

absl::Status GgufParser::ReadType(absl::string_view key, GgufType* type) {
  const uint64_t start = reader_.position();
  uint32_t number = 0;
  TSR_RETURN_IF_ERROR(reader_.Number(absl::StrCat("the type of key '", key, "'"), &number));
  if (number > kLastType) {
    return NotSupported(start, absl::StrCat("key '", key, "' has the unknown value type ", number));
  }
  *type = static_cast<GgufType>(number);
  return absl::OkStatus();
}

absl::Status GgufParser::ReadNumbers(absl::string_view key, uint64_t count, GgufValue* value) {
  const uint64_t start = reader_.position();
  const std::optional<uint64_t> size_bytes = CheckedMultiply(count, GgufTypeBytes(value->type));
  if (!size_bytes || *size_bytes > reader_.remaining()) {
    return Broken(start,
                  absl::StrCat("key '", key, "' has ", count, " elements of type ", GgufTypeName(value->type),
                               ", more than the ", reader_.remaining(), " bytes left can hold"));
  }
  std::vector<uint8_t> bytes(*size_bytes);
  TSR_RETURN_IF_ERROR(reader_.Bytes(absl::StrCat("the value of key '", key, "'"), bytes.data(), *size_bytes));
  if (IsGgufFloat(value->type)) {
    value->floats = GgufFloats(value->type, std::move(bytes));
    return absl::OkStatus();
  }
  value->integers = GgufIntegers(value->type, std::move(bytes));
  for (uint64_t i = 0; i < count; ++i) {
    const int64_t number = value->integers[i];
    const uint64_t at = start + i * GgufTypeBytes(value->type);
    if (value->type == GgufType::kBool && number > 1) {
      return Broken(at,
                    absl::StrCat("key '", key, "' holds a bool with the value ", number, "; 0 and 1 exist"));
    }
    if (value->type == GgufType::kUint64 && number < 0) {
      return NotSupported(at, absl::StrCat("key '", key, "' holds ", static_cast<uint64_t>(number),
                                           "; integers of 2^63 and above are not supported"));
    }
  }
  return absl::OkStatus();
}

// Two passes, so that the text is allocated once, at its size: the first adds up the lengths, the second
// copies.
absl::Status GgufParser::ReadStrings(absl::string_view key, uint64_t count, GgufValue* value) {
  const uint64_t start = reader_.position();
  if (count > reader_.remaining() / kStringLengthBytes) {
    return Broken(start, absl::StrCat("key '", key, "' has ", count, " strings, more than the ",
                                      reader_.remaining(), " bytes left can hold"));
  }
  uint64_t text_bytes = 0;  // no overflow: never above the file's size
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = reader_.position();
    uint64_t length = 0;
    if (reader_.remaining() < kStringLengthBytes) {
      return Broken(at, absl::StrCat("the file ends before string ", i, " of key '", key, "'"));
    }
    TSR_RETURN_IF_ERROR(reader_.Number("the length of a string", &length));
    if (length > reader_.remaining()) {
      return Broken(at, absl::StrCat("string ", i, " of key '", key, "' has ", length, " bytes, and ",
                                     reader_.remaining(), " are left in the file"));
    }
    TSR_RETURN_IF_ERROR(reader_.Skip("a string", length));
    text_bytes += length;
  }
  std::string text(text_bytes, '\0');
  std::vector<uint64_t> ends(count);
  reader_.ReturnTo(start);
  uint64_t done = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    TSR_RETURN_IF_ERROR(reader_.Number("the length of a string", &length));
    if (length > text_bytes - done) {
      return IoError(out_.file_->name(), absl::StrCat("key '", key, "' changed while the file was read"));
    }
    TSR_RETURN_IF_ERROR(reader_.Bytes("a string", &text[done], length));
    done += length;
    ends[i] = done;
  }
  value->strings = GgufStrings(std::move(text), std::move(ends));
  return absl::OkStatus();
}

absl::Status GgufParser::ReadValue(absl::string_view key, GgufValue* value) {
  TSR_RETURN_IF_ERROR(ReadType(key, &value->type));
  uint64_t count = 1;
  if (value->type == GgufType::kArray) {
    value->is_array = true;
    const uint64_t start = reader_.position();
    TSR_RETURN_IF_ERROR(ReadType(key, &value->type));
    if (value->type == GgufType::kArray) {
      return NotSupported(start, absl::StrCat("key '", key, "' is an array of arrays"));
    }
    TSR_RETURN_IF_ERROR(reader_.Number(absl::StrCat("the element count of key '", key, "'"), &count));
  }
  return value->type == GgufType::kString ? ReadStrings(key, count, value) : ReadNumbers(key, count, value);
}

absl::Status GgufParser::ReadMetadata() {
  out_.metadata_.reserve(metadata_count_);
  std::vector<uint64_t> starts(metadata_count_);
  for (uint64_t i = 0; i < metadata_count_; ++i) {
    starts[i] = reader_.position();
    auto& [key, value] = out_.metadata_.emplace_back();
    TSR_RETURN_IF_ERROR(ReadKey(i, &key));
    TSR_RETURN_IF_ERROR(ReadValue(ShownName(key), &value));
  }
  std::vector<uint32_t>& order = out_.metadata_by_key_;
  order.resize(metadata_count_);
  std::iota(order.begin(), order.end(), 0);
  // Equal keys stay in file order, so that the message names the second one.
  std::stable_sort(order.begin(), order.end(), [this](uint32_t a, uint32_t b) {
    return out_.metadata_[a].first < out_.metadata_[b].first;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (out_.metadata_[order[i]].first == out_.metadata_[order[i - 1]].first) {
      return Broken(
          starts[order[i]],
          absl::StrCat("metadata key '", ShownName(out_.metadata_[order[i]].first), "' stands there twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status GgufParser::ReadAlignment() {
  const GgufValue* value = out_.Find("general.alignment");
  if (value == nullptr) return absl::OkStatus();
  if (value->is_array || value->type != GgufType::kUint32) {
    return Corrupt(out_.file_->name(), absl::StrCat("key 'general.alignment' is of type ",
                                                    value->is_array ? "array" : GgufTypeName(value->type),
                                                    "; the format wants uint32"));
  }
  alignment_ = static_cast<uint64_t>(value->integers[0]);
  if (alignment_ == 0 || (alignment_ & (alignment_ - 1)) != 0) {
    return Corrupt(out_.file_->name(),
                   absl::StrCat("key 'general.alignment' is ", alignment_, "; a power of two is needed"));
  }
  return absl::OkStatus();
}

}  // namespace tessera
