#include "gpu/graph/stream_nodes.h"

#include "gpu/kernels/embed/embed.h"

namespace tessera::gpu {
namespace {

constexpr size_t kElementBytes = 2;  // of F16 and BF16
constexpr size_t kAlignment = 256;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

size_t SetBytes(const DeviceModel& model, int32_t rows) {
  const auto count = static_cast<size_t>(rows);
  const auto hidden = static_cast<size_t>(model.description.hidden_size);
  const auto ffn = static_cast<size_t>(model.description.feed_forward_size);
  return Aligned(count * (2 * hidden + ffn) * kElementBytes + 2 * count * kMostStreamBlocks * sizeof(float));
}

// What the first node takes from embed, and the factors that chains of F16 leave one another.
size_t FirstBytes(const DeviceModel& model, int32_t rows) {
  const auto count = static_cast<size_t>(rows);
  return Aligned(count * static_cast<size_t>(model.description.hidden_size) * kElementBytes) +
         Aligned(count * kMostStreamBlocks * sizeof(float)) + Aligned(count * sizeof(float));
}

}  // namespace

size_t HandedOnBytes(const DeviceModel& model, int32_t rows) {
  return FirstBytes(model, rows) + 2 * SetBytes(model, rows);
}

StreamNodes::StreamNodes(const RegionContext& context, int32_t rows, int parts)
    : context_(context),
      model_(context.model),
      rows_(rows),
      parts_(parts),
      set_bytes_(SetBytes(context.model, rows)) {
  uint8_t* memory = context_.arrays.handed_on;
  first_.x = memory;
  memory += Aligned(static_cast<size_t>(rows_) * static_cast<size_t>(model_.description.hidden_size) *
                    kElementBytes);
  first_.squares = reinterpret_cast<float*>(memory);
  memory += Aligned(static_cast<size_t>(rows_) * kMostStreamBlocks * sizeof(float));
  row_factors_ = reinterpret_cast<float*>(memory);
  sets_ = context_.arrays.handed_on + FirstBytes(model_, rows_);
}

StreamNodes::HandOn StreamNodes::set() const {
  const auto count = static_cast<size_t>(rows_);
  const size_t hidden_bytes = count * static_cast<size_t>(model_.description.hidden_size) * kElementBytes;
  HandOn at;
  // Floats first: they are aligned whatever the rows are.
  at.squares_after_output = reinterpret_cast<float*>(set_memory());
  at.squares_after_down = at.squares_after_output + count * kMostStreamBlocks;
  auto* const rest = reinterpret_cast<uint8_t*>(at.squares_after_down + count * kMostStreamBlocks);
  at.after_output = rest;
  at.after_down = rest + hidden_bytes;
  at.active = rest + 2 * hidden_bytes;
  return at;
}

// A normalised hidden state as it was handed on.
StreamInput StreamNodes::Normed(const void* x, const float* squares, int parts) const {
  StreamInput input;
  input.x = x;
  input.rows = rows_;
  input.columns = model_.description.hidden_size;
  input.square_sums = squares;
  input.square_parts = parts;
  input.epsilon = model_.description.norm_epsilon;
  return input;
}
void StreamNodes::AddQkv(int layer, StreamChain* chain) const {
  const tsr_device_layer& weights = LayerAt(layer);
  StreamNode& node = chain->nodes[chain->count++];
  node.kind = StreamKind::kQkv;
  node.input = layer == 0
                   ? Normed(first_.x, first_.squares, EmbedParts(rows_, model_.description.hidden_size))
                   : Normed(set().after_down, set().squares_after_down, parts_);
  node.outputs = static_cast<int>(QkvColumns(weights));
  StreamQkv& qkv = chain->qkv;
  qkv.query = weights.query.data;
  qkv.key = weights.key.data;
  qkv.value = weights.value.data;
  qkv.query_bias = VectorOf(weights.query_bias);
  qkv.key_bias = VectorOf(weights.key_bias);
  qkv.value_bias = VectorOf(weights.value_bias);
  qkv.heads = weights.heads;
  qkv.kv_heads = weights.kv_heads;
  qkv.head_size = weights.head_size;
  qkv.rotary_dimensions = model_.description.rotary_dimensions;
  qkv.halves = model_.description.rotary_pairing != 0;
  qkv.rotary = context_.arrays.rotary;
  qkv.q = context_.arrays.query;
  qkv.cache = context_.caches[static_cast<size_t>(layer)];
  qkv.step = ArraysOfGroup(context_, weights.cache_group);
}

StreamInput StreamNodes::Plain(const void* x, int64_t columns) const {
  StreamInput input;
  input.x = x;
  input.rows = rows_;
  input.columns = static_cast<int>(columns);
  return input;
}

void StreamNodes::AddResidual(const tsr_device_weight& weight, const tsr_device_weight& bias,
                              const float* next_norm, void* next_x, float* squares, StreamNode* node) const {
  node->kind = StreamKind::kResidual;
  node->weight = weight.data;
  node->bias = VectorOf(bias);
  node->outputs = model_.description.hidden_size;
  node->hidden = {context_.arrays.hidden, next_norm, next_x, squares};
}

void StreamNodes::AddOutput(int layer, StreamChain* chain) const {
  const tsr_device_layer& weights = LayerAt(layer);
  StreamNode& node = chain->nodes[chain->count++];
  node.input = Plain(context_.arrays.context, QueryColumns(weights));
  AddResidual(weights.output, weights.output_bias, VectorOf(weights.feed_forward_norm), set().after_output,
              set().squares_after_output, &node);
}

void StreamNodes::AddGateUp(int layer, StreamChain* chain) const {
  const tsr_device_layer& weights = LayerAt(layer);
  StreamNode& node = chain->nodes[chain->count++];
  node.kind = StreamKind::kGateUp;
  node.input = Normed(set().after_output, set().squares_after_output, parts_);
  node.weight = weights.gate.data;
  node.up = weights.up.data;
  node.outputs = model_.description.feed_forward_size;
  node.out = set().active;
}

void StreamNodes::AddDown(int layer, StreamChain* chain) const {
  const bool last = layer + 1 == static_cast<int>(model_.layers.size());
  StreamNode& node = chain->nodes[chain->count++];
  node.input = Plain(set().active, model_.description.feed_forward_size);
  AddResidual(LayerAt(layer).down, tsr_device_weight{},
              VectorOf(last ? model_.description.output_norm : LayerAt(layer + 1).attention_norm),
              set().after_down, set().squares_after_down, &node);
}

void StreamNodes::AddHead(StreamChain* chain) const {
  StreamNode& node = chain->nodes[chain->count++];
  node.kind = StreamKind::kHead;
  node.input = Normed(set().after_down, set().squares_after_down, parts_);
  node.weight = model_.description.head.data;
  node.outputs = model_.description.vocabulary_size;
  node.out = context_.arrays.logits;
  node.sample_rows = context_.arrays.sample_rows;
  node.sample_count = context_.arrays.counts + StepArrays::kSamples;
}

}  // namespace tessera::gpu
