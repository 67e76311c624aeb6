#include "gpu/graph/device_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace tessera::gpu {
namespace {

// GGUF's type numbers.
constexpr int32_t kF32 = 0;
constexpr int32_t kF16 = 1;
constexpr int32_t kBF16 = 30;

constexpr int32_t kMostHeadSize = 256;

ElementType TypeOf(int32_t gguf_type) { return gguf_type == kF16 ? ElementType::kF16 : ElementType::kBF16; }

absl::Status CheckMatrix(absl::string_view name, const tsr_device_weight& weight, int64_t rows,
                         int64_t columns) {
  if (weight.rows != rows || weight.columns != columns) {
    return Internal(name, absl::StrCat("its shape is [", weight.rows, ", ", weight.columns, "], expected [",
                                       rows, ", ", columns, "]"));
  }
  if (weight.type != kF16 && weight.type != kBF16) {
    return Unsupported(
        name, absl::StrCat("a matrix must be F16 or BF16 on the device; its type is GGUF's ", weight.type));
  }
  return absl::OkStatus();
}

absl::Status CheckVector(absl::string_view name, const tsr_device_weight& weight, int64_t size) {
  if (weight.rows == 1 && weight.columns == size && weight.type == kF32) return absl::OkStatus();
  return Internal(name, absl::StrCat("expected an F32 vector of ", size, " elements"));
}

// Absent ones have no rows.
absl::Status CheckBias(absl::string_view name, const tsr_device_weight& weight, int64_t size) {
  if (weight.data == nullptr && weight.rows == 0) return absl::OkStatus();
  return CheckVector(name, weight, size);
}

absl::Status CheckLayer(const tsr_device_model& model, const tsr_device_layer& layer,
                        absl::string_view place) {
  if (layer.kv_heads < 1 || layer.heads < layer.kv_heads || layer.heads % layer.kv_heads != 0 ||
      layer.head_size < 2 || layer.head_size % 2 != 0 || model.rotary_dimensions > layer.head_size) {
    return Unsupported(place,
                       "heads must be an even number of elements that holds the rotary dimensions, and the "
                       "query heads a multiple of the key heads");
  }
  if (layer.head_size > kMostHeadSize) {
    return Unsupported(
        place, absl::StrCat("heads of ", layer.head_size, " elements; on a GPU at most ", kMostHeadSize));
  }
  if (layer.cache_group < 0 || layer.cache_group >= model.cache_group_count || layer.layer_in_group < 0) {
    return Internal(place, "its cache group is not one of the model's");
  }
  const int64_t hidden = model.hidden_size;
  const int64_t ffn = model.feed_forward_size;
  const int64_t query = QueryColumns(layer);
  const int64_t key = KeyColumns(layer);
  const auto name = [place](const char* tensor) { return absl::StrCat(place, ", ", tensor); };
  TSR_RETURN_IF_ERROR(CheckVector(name("attention norm"), layer.attention_norm, hidden));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("query"), layer.query, query, hidden));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("key"), layer.key, key, hidden));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("value"), layer.value, key, hidden));
  TSR_RETURN_IF_ERROR(CheckBias(name("query bias"), layer.query_bias, query));
  TSR_RETURN_IF_ERROR(CheckBias(name("key bias"), layer.key_bias, key));
  TSR_RETURN_IF_ERROR(CheckBias(name("value bias"), layer.value_bias, key));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("output"), layer.output, hidden, query));
  TSR_RETURN_IF_ERROR(CheckBias(name("output bias"), layer.output_bias, hidden));
  TSR_RETURN_IF_ERROR(CheckVector(name("feed-forward norm"), layer.feed_forward_norm, hidden));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("gate"), layer.gate, ffn, hidden));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("up"), layer.up, ffn, hidden));
  TSR_RETURN_IF_ERROR(CheckMatrix(name("down"), layer.down, hidden, ffn));
  for (const tsr_device_weight* matrix :
       {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down}) {
    if (matrix->type != model.layers[0].query.type) {
      return Unsupported(place,
                         "its matrices are not all of one type; widen them to BF16 when they are loaded");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceModel> DeviceModel::Copy(const tsr_device_model& model) {
  if (model.hidden_size < 1 || model.feed_forward_size < 1 || model.vocabulary_size < 1 ||
      model.layer_count < 1 || model.layers == nullptr || model.cache_group_count < 1 ||
      model.rotary_dimensions < 0 || model.rotary_dimensions % 2 != 0 ||
      (model.rotary_dimensions > 0 && model.rotary_inverse_frequencies == nullptr)) {
    return Internal("model", "a size is missing, or the layers or rotary frequencies are");
  }
  if (model.cache_group_count > kMostCacheGroups) {
    return Unsupported("model", absl::StrCat("its layers are of ", model.cache_group_count,
                                             " kinds of cache; at most ", kMostCacheGroups));
  }
  DeviceModel copy;
  copy.layers.assign(model.layers, model.layers + model.layer_count);
  if (model.rotary_dimensions > 0) {
    copy.inverse_frequencies.assign(model.rotary_inverse_frequencies,
                                    model.rotary_inverse_frequencies + model.rotary_dimensions / 2);
  }
  copy.description = model;
  copy.description.layers = copy.layers.data();
  copy.description.rotary_inverse_frequencies = copy.inverse_frequencies.data();
  TSR_RETURN_IF_ERROR(CheckMatrix("embedding", model.embedding, model.vocabulary_size, model.hidden_size));
  TSR_RETURN_IF_ERROR(CheckVector("output norm", model.output_norm, model.hidden_size));
  TSR_RETURN_IF_ERROR(CheckMatrix("head", model.head, model.vocabulary_size, model.hidden_size));
  for (int32_t i = 0; i < model.layer_count; ++i) {
    const tsr_device_layer& layer = model.layers[i];
    TSR_RETURN_IF_ERROR(CheckLayer(model, layer, absl::StrCat("layer ", i)));
    copy.query_columns = std::max(copy.query_columns, QueryColumns(layer));
    copy.qkv_columns = std::max(copy.qkv_columns, QkvColumns(layer));
  }
  copy.type = TypeOf(model.layers[0].query.type);
  copy.embedding_type = TypeOf(model.embedding.type);
  copy.head_type = TypeOf(model.head.type);
  return copy;
}

absl::Status DeviceModel::CheckWeightsAreThere() const {
  for (const tsr_device_layer& layer : layers) {
    for (const tsr_device_weight* weight :
         {&layer.attention_norm, &layer.query, &layer.key, &layer.value, &layer.output,
          &layer.feed_forward_norm, &layer.gate, &layer.up, &layer.down}) {
      if (weight->data == nullptr) return Internal("model", "a weight of a layer is not there");
    }
  }
  if (description.embedding.data == nullptr || description.output_norm.data == nullptr ||
      description.head.data == nullptr) {
    return Internal("model", "the embedding, the output norm or the head is not there");
  }
  return absl::OkStatus();
}

}  // namespace tessera::gpu
