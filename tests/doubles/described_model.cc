#include "tests/doubles/described_model.h"

namespace tessera {

DescribedModel::DescribedModel(const tsr_device_model& model) {
  spec_.hidden_size = model.hidden_size;
  spec_.feed_forward_size = model.feed_forward_size;
  spec_.vocabulary_size = model.vocabulary_size;
  spec_.norm_epsilon = model.norm_epsilon;
  spec_.rotary.pairing = static_cast<RotaryPairing>(model.rotary_pairing);
  spec_.rotary.dimensions = model.rotary_dimensions;
  spec_.rotary.magnitude = model.rotary_magnitude;
  spec_.rotary.inverse_frequencies.assign(model.rotary_inverse_frequencies,
                                          model.rotary_inverse_frequencies + model.rotary_dimensions / 2);
  spec_.part.vocabulary_cuts = {0, model.vocabulary_size};
  spec_.embedding = Add(model.embedding);
  spec_.output_norm = Add(model.output_norm);
  spec_.head = Add(model.head);
  spec_.cache_groups.resize(static_cast<size_t>(model.cache_group_count));
  for (int32_t i = 0; i < model.layer_count; ++i) AddLayer(model.layers[i], i);
}

TensorId DescribedModel::Add(const tsr_device_weight& weight) {
  if (weight.data == nullptr) return kNoTensor;
  views_.push_back({weight.data, static_cast<TensorType>(weight.type), weight.rows, weight.columns});
  return static_cast<TensorId>(views_.size()) - 1;
}

void DescribedModel::AddLayer(const tsr_device_layer& from, int32_t index) {
  LayerSpec layer;
  layer.attention = {from.heads, from.kv_heads, from.head_size, from.window_tokens, from.attention_scale};
  layer.cache_group = from.cache_group;
  layer.attention_norm = Add(from.attention_norm);
  layer.query = Add(from.query);
  layer.key = Add(from.key);
  layer.value = Add(from.value);
  layer.query_bias = Add(from.query_bias);
  layer.key_bias = Add(from.key_bias);
  layer.value_bias = Add(from.value_bias);
  layer.output = Add(from.output);
  layer.output_bias = Add(from.output_bias);
  layer.feed_forward_norm = Add(from.feed_forward_norm);
  layer.gate = Add(from.gate);
  layer.up = Add(from.up);
  layer.down = Add(from.down);
  layer.output_fold = FoldOfGroups(from.kv_heads, from.heads / from.kv_heads * from.head_size, 1);
  layer.down_fold = FoldOfColumns(spec_.feed_forward_size);
  spec_.layers.push_back(layer);
  CacheGroupSpec& group = spec_.cache_groups[static_cast<size_t>(from.cache_group)];
  group.kv_heads = from.kv_heads;
  group.head_size = from.head_size;
  group.window_tokens = from.window_tokens;
  if (static_cast<int32_t>(group.layers.size()) <= from.layer_in_group) {
    group.layers.resize(static_cast<size_t>(from.layer_in_group) + 1);
  }
  group.layers[static_cast<size_t>(from.layer_in_group)] = index;
}

}  // namespace tessera
