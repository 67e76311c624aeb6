// The tensor part of a GGUF file: entries, shapes, types, and where the data lies.
#include <algorithm>
#include <numeric>
#include <optional>

#include "core/base/checked.h"
#include "core/base/status.h"
#include "core/model/gguf_parser.h"

namespace tessera {
namespace {

constexpr uint64_t kMostNameBytes = 64;  // the format's own limit
constexpr uint32_t kMostDimensions = 4;  // likewise

}  // namespace

absl::Status GgufParser::ReadShape(absl::string_view name, GgufTensor* tensor, uint64_t* elements) {
  const uint64_t start = reader_.position();
  TSR_RETURN_IF_ERROR(
      reader_.Number(absl::StrCat("the dimension count of tensor '", name, "'"), &tensor->dimensions));
  if (tensor->dimensions < 1 || tensor->dimensions > kMostDimensions) {
    return Broken(start, absl::StrCat("tensor '", name, "' has ", tensor->dimensions, " dimensions; 1 to ",
                                      kMostDimensions, " exist"));
  }
  *elements = 1;
  for (uint32_t i = 0; i < tensor->dimensions; ++i) {
    const uint64_t at = reader_.position();
    TSR_RETURN_IF_ERROR(reader_.Number(absl::StrCat("the shape of tensor '", name, "'"), &tensor->shape[i]));
    if (tensor->shape[i] == 0) {
      return Broken(at, absl::StrCat("dimension ", i, " of tensor '", name, "' is 0"));
    }
    const std::optional<uint64_t> product = CheckedMultiply(*elements, tensor->shape[i]);
    if (!product || *product > static_cast<uint64_t>(INT64_MAX)) {
      return Broken(at, absl::StrCat("the shape of tensor '", name, "' has more than 2^63 - 1 elements"));
    }
    *elements = *product;
  }
  return absl::OkStatus();
}

absl::Status GgufParser::ReadTensorType(absl::string_view name, uint64_t elements, GgufTensor* tensor) {
  const uint64_t start = reader_.position();
  uint32_t number = 0;
  TSR_RETURN_IF_ERROR(reader_.Number(absl::StrCat("the type of tensor '", name, "'"), &number));
  const TensorTypeInfo* info = FindTensorType(number);
  if (info == nullptr) {
    const absl::string_view known_as = GgmlTypeName(number);
    return NotSupported(
        start, absl::StrCat("tensor '", name, "' has the type ", known_as.empty() ? "number" : known_as, " ",
                            number, ", which this build cannot read"));
  }
  tensor->type = static_cast<TensorType>(number);
  if (tensor->shape[0] % info->block_elements != 0) {
    return Broken(start,
                  absl::StrCat("tensor '", name, "' has rows of ", tensor->shape[0], " elements; type ",
                               info->name, " wants a multiple of ", info->block_elements));
  }
  const std::optional<uint64_t> size_bytes =
      CheckedMultiply(elements / info->block_elements, info->block_bytes);
  if (!size_bytes) return Broken(start, absl::StrCat("tensor '", name, "' has more than 2^64 - 1 bytes"));
  tensor->size_bytes = *size_bytes;
  return absl::OkStatus();
}

absl::Status GgufParser::ReadTensorEntry(uint64_t index, GgufTensor* tensor) {
  const uint64_t start = reader_.position();
  uint64_t length = 0;
  TSR_RETURN_IF_ERROR(reader_.Number(absl::StrCat("the name length of tensor ", index), &length));
  if (length == 0) return Broken(start, absl::StrCat("the name of tensor ", index, " is empty"));
  if (length > kMostNameBytes) {
    return Broken(start, absl::StrCat("the name of tensor ", index, " has ", length,
                                      " bytes; the format allows ", kMostNameBytes));
  }
  tensor->name.resize(length);
  TSR_RETURN_IF_ERROR(reader_.Bytes(absl::StrCat("the name of tensor ", index), tensor->name.data(), length));
  const std::string name = ShownName(tensor->name);
  uint64_t elements = 1;
  TSR_RETURN_IF_ERROR(ReadShape(name, tensor, &elements));
  TSR_RETURN_IF_ERROR(ReadTensorType(name, elements, tensor));
  // Until PlaceTensors knows where the data begins, this is the offset in the data.
  return reader_.Number(absl::StrCat("the offset of tensor '", name, "'"), &tensor->file_offset);
}

absl::Status GgufParser::ReadTensors() {
  out_.tensors_.reserve(tensor_count_);
  std::vector<uint64_t> starts(tensor_count_);
  for (uint64_t i = 0; i < tensor_count_; ++i) {
    starts[i] = reader_.position();
    TSR_RETURN_IF_ERROR(ReadTensorEntry(i, &out_.tensors_.emplace_back()));
  }
  std::vector<uint32_t>& order = out_.tensors_by_name_;
  order.resize(tensor_count_);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](uint32_t a, uint32_t b) { return out_.tensors_[a].name < out_.tensors_[b].name; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (out_.tensors_[order[i]].name == out_.tensors_[order[i - 1]].name) {
      return Broken(starts[order[i]], absl::StrCat("tensor '", ShownName(out_.tensors_[order[i]].name),
                                                   "' stands there twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status GgufParser::PlaceTensors() {
  if (tensor_count_ == 0) return absl::OkStatus();
  const uint64_t file_bytes = out_.file_->size_bytes();
  const std::optional<uint64_t> data_start = CheckedAlignUp(reader_.position(), alignment_);
  if (!data_start || *data_start > file_bytes) {
    return Broken(reader_.position(), absl::StrCat("the tensors' data should begin at the next multiple of ",
                                                   alignment_, ", behind the file's end"));
  }
  for (GgufTensor& tensor : out_.tensors_) {
    const uint64_t offset = tensor.file_offset;
    if (offset % alignment_ != 0) {
      return Broken(*data_start, absl::StrCat("tensor '", ShownName(tensor.name), "' has the data offset ",
                                              offset, ", no multiple of the alignment ", alignment_));
    }
    if (offset > file_bytes - *data_start || tensor.size_bytes > file_bytes - *data_start - offset) {
      return Broken(*data_start, absl::StrCat("the data of tensor '", ShownName(tensor.name), "' (offset ",
                                              offset, ", ", tensor.size_bytes,
                                              " bytes) reaches behind the file's end at byte ", file_bytes));
    }
    tensor.file_offset = *data_start + offset;
  }
  return absl::OkStatus();
}

absl::Status GgufParser::CheckOverlaps() const {
  const std::vector<GgufTensor>& tensors = out_.tensors_;
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return tensors[a].file_offset < tensors[b].file_offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const GgufTensor& before = tensors[order[i - 1]];
    const GgufTensor& after = tensors[order[i]];
    if (before.size_bytes > after.file_offset - before.file_offset) {
      return Broken(after.file_offset, absl::StrCat("the data of tensors '", ShownName(before.name),
                                                    "' and '", ShownName(after.name), "' overlap"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tessera
