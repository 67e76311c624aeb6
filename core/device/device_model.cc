#include "core/device/device_model.h"

#include <utility>

#include "core/base/status.h"

namespace tessera {

TensorType DeviceType(TensorType type, int64_t rows) {
  if (rows == 1) return TensorType::kF32;
  return type == TensorType::kF16 ? TensorType::kF16 : TensorType::kBF16;
}

absl::StatusOr<DeviceModel> DeviceModel::Create(const ModelSpec& spec, const Residency* weights) {
  if (spec.part.ranks != 1 || !spec.part.has_embedding || !spec.part.has_head) {
    return Unsupported("device", "it runs whole models only");
  }
  DeviceModel model(spec, weights);
  TSR_RETURN_IF_ERROR(model.Fill());
  return model;
}

DeviceModel::~DeviceModel() {
  for (const TensorId tensor : held_) weights_->Release(tensor);
}

absl::Status DeviceModel::Fill() {
  const ModelSpec& spec = *spec_;
  held_.reserve(spec.layers.size() * 13 + 3);
  model_.struct_size = sizeof(model_);
  model_.hidden_size = spec.hidden_size;
  model_.feed_forward_size = spec.feed_forward_size;
  model_.vocabulary_size = spec.vocabulary_size;
  model_.layer_count = static_cast<int32_t>(spec.layers.size());
  model_.norm_epsilon = spec.norm_epsilon;
  model_.rotary_pairing = static_cast<int32_t>(spec.rotary.pairing);
  model_.rotary_dimensions = spec.rotary.dimensions;
  model_.rotary_magnitude = spec.rotary.magnitude;
  model_.rotary_inverse_frequencies = spec.rotary.inverse_frequencies.data();
  model_.cache_group_count = static_cast<int32_t>(spec.cache_groups.size());
  TSR_RETURN_IF_ERROR(Take(spec.embedding, &model_.embedding));
  TSR_RETURN_IF_ERROR(Take(spec.output_norm, &model_.output_norm));
  TSR_RETURN_IF_ERROR(Take(spec.head, &model_.head));

  layers_.resize(spec.layers.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LayerSpec& from = spec.layers[i];
    tsr_device_layer& to = layers_[i];
    to.heads = from.attention.heads;
    to.kv_heads = from.attention.kv_heads;
    to.head_size = from.attention.head_size;
    to.window_tokens = from.attention.window_tokens;
    to.attention_scale = from.attention.scale;
    to.cache_group = from.cache_group;
    const std::pair<TensorId, tsr_device_weight*> weights[] = {
        {from.attention_norm, &to.attention_norm},
        {from.query, &to.query},
        {from.key, &to.key},
        {from.value, &to.value},
        {from.query_bias, &to.query_bias},
        {from.key_bias, &to.key_bias},
        {from.value_bias, &to.value_bias},
        {from.output, &to.output},
        {from.output_bias, &to.output_bias},
        {from.feed_forward_norm, &to.feed_forward_norm},
        {from.gate, &to.gate},
        {from.up, &to.up},
        {from.down, &to.down},
    };
    for (const auto& [tensor, weight] : weights) TSR_RETURN_IF_ERROR(Take(tensor, weight));
  }
  for (const CacheGroupSpec& group : spec.cache_groups) {
    for (size_t i = 0; i < group.layers.size(); ++i) {
      layers_[static_cast<size_t>(group.layers[i])].layer_in_group = static_cast<int32_t>(i);
    }
  }
  model_.layers = layers_.data();
  return absl::OkStatus();
}

absl::Status DeviceModel::Take(TensorId tensor, tsr_device_weight* weight) {
  if (tensor == kNoTensor) return absl::OkStatus();
  const TensorSpec& spec = spec_->tensors[static_cast<size_t>(tensor)];
  const TensorType type = DeviceType(spec.type, spec.rows);
  weight->type = static_cast<int32_t>(type);
  weight->rows = spec.rows;
  weight->columns = spec.columns;
  if (weights_ == nullptr) return absl::OkStatus();
  TSR_ASSIGN_OR_RETURN(const WeightView view, weights_->Acquire(tensor));
  held_.push_back(tensor);  // within the reserved capacity
  if (view.data == nullptr || view.type != type || view.rows != spec.rows || view.columns != spec.columns ||
      view.stored_columns != 0) {
    return Internal(spec.name, "the weight is absent or not as the device's layout has it");
  }
  weight->data = view.data;
  return absl::OkStatus();
}

tsr_device_limits DeviceLimits(const BackendLimits& limits, int32_t depth) {
  tsr_device_limits to = {};
  to.struct_size = sizeof(to);
  to.max_rows = limits.max_rows;
  to.max_samples = limits.max_samples;
  to.max_sequences = limits.max_sequences;
  to.max_positions = limits.max_positions;
  to.block_tokens = limits.block_tokens;
  to.cache_type = static_cast<int32_t>(limits.cache_type);
  to.depth = depth;
  to.batch_invariant = limits.batch_invariant ? 1 : 0;
  to.time_regions = limits.time_regions ? 1 : 0;
  return to;
}

}  // namespace tessera
