#include "gpu/graph/regions.h"

#include "core/base/status.h"
#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/bias_add/bias_add.h"
#include "gpu/kernels/cache_append/cache_append.h"
#include "gpu/kernels/embed/embed.h"
#include "gpu/kernels/rms_norm/rms_norm.h"
#include "gpu/kernels/swiglu/swiglu.h"

namespace tessera::gpu {
namespace {

constexpr int64_t kElementBytes = 2;  // of F16 and BF16

template <typename T>
T* At(uint8_t* memory, size_t place) {
  return reinterpret_cast<T*>(memory + place);
}

// An element further along a row of activations.
void* Shifted(void* row, int64_t elements) { return static_cast<uint8_t*>(row) + elements * kElementBytes; }

const tsr_device_layer& LayerOf(const RegionCall& call, int layer) {
  return call.context->model.layers[static_cast<size_t>(layer)];
}
const LayerProducts& ProductsOf(const RegionCall& call, int layer) {
  return call.context->products[static_cast<size_t>(layer)];
}

// A product of the step's rows, where it was planned.
absl::Status Multiply(const RegionCall& call, int product, const void* x, const tsr_device_weight& weight,
                      void* out) {
  if (product < 0) return absl::OkStatus();
  return call.context->matmul->Run(product, call.launch, x, weight.data, call.cover.rows, out);
}

absl::Status Norm(const RegionCall& call, const tsr_device_weight& weight, ElementType type, int32_t rows,
                  const int32_t* gather) {
  RmsNormArgs args;
  args.hidden = call.context->arrays.hidden;
  args.weight = static_cast<const float*>(weight.data);
  args.epsilon = call.context->model.description.norm_epsilon;
  args.columns = call.context->model.description.hidden_size;
  args.gather = gather;
  args.rows = rows;
  args.out = call.context->arrays.normed;
  return call.context->api->Do("norm", [&] { return LaunchRmsNorm(call.launch, type, args); });
}

absl::Status Embed(const RegionCall& call) {
  const RegionContext& context = *call.context;
  EmbedArgs args;
  args.table = context.model.description.embedding.data;
  args.vocabulary = context.model.description.vocabulary_size;
  args.columns = context.model.description.hidden_size;
  args.tokens = context.arrays.tokens;
  args.rows = context.arrays.counts + StepArrays::kRows;
  args.capacity = call.cover.rows;
  args.hidden = context.arrays.hidden;
  // The first node of a graph has no predecessor that it could overlap with.
  LaunchContext launch = call.launch;
  launch.overlap = false;
  return context.api->Do("embed", [&] { return LaunchEmbed(launch, context.model.embedding_type, args); });
}

// Biases, rotation, and rows of the cache.
absl::Status Append(const RegionCall& call, int layer) {
  const RegionContext& context = *call.context;
  const tsr_device_layer& weights = LayerOf(call, layer);
  RotateAppendCall append;
  append.qkv = context.arrays.qkv;
  append.input_type = context.model.type;
  append.query_bias = static_cast<const float*>(weights.query_bias.data);
  append.key_bias = static_cast<const float*>(weights.key_bias.data);
  append.value_bias = static_cast<const float*>(weights.value_bias.data);
  append.rotary_table = context.arrays.rotary;
  append.pairing =
      context.model.description.rotary_pairing == 0 ? RotaryPairing::kInterleaved : RotaryPairing::kHalves;
  append.rotary_dimensions = context.model.description.rotary_dimensions;
  append.heads = weights.heads;
  append.query = context.arrays.query;
  append.query_type = context.model.type;
  append.cache = context.caches[static_cast<size_t>(layer)];
  append.step = ArraysOfGroup(context, weights.cache_group);
  append.capacity = call.cover.rows;
  return context.api->Do("rotation and cache", [&] { return LaunchRotateAppend(call.launch, append); });
}

absl::Status NormQkv(const RegionCall& call, int layer) {
  const RegionContext& context = *call.context;
  const tsr_device_layer& weights = LayerOf(call, layer);
  const LayerProducts& products = ProductsOf(call, layer);
  void* const qkv = context.arrays.qkv;
  const int64_t query = QueryColumns(weights);
  const int64_t key = KeyColumns(weights);
  TSR_RETURN_IF_ERROR(Norm(call, weights.attention_norm, context.model.type, call.cover.rows, nullptr));
  const void* const x = context.arrays.normed;
  TSR_RETURN_IF_ERROR(Multiply(call, products.query, x, weights.query, qkv));
  TSR_RETURN_IF_ERROR(Multiply(call, products.key, x, weights.key, Shifted(qkv, query)));
  TSR_RETURN_IF_ERROR(Multiply(call, products.value, x, weights.value, Shifted(qkv, query + key)));
  return Append(call, layer);
}

absl::Status Attention(const RegionCall& call, int layer) {
  const RegionContext& context = *call.context;
  const tsr_device_layer& weights = LayerOf(call, layer);
  AttentionCall attention;
  attention.shape = ShapeOfAttention(context.model, weights);
  attention.cache = context.caches[static_cast<size_t>(layer)];
  attention.step = ArraysOfGroup(context, weights.cache_group);
  attention.capacity = call.cover.rows;
  // The same for all steps: the places of the scratch's counters depend on it.
  attention.max_sequences = context.layout.capacity.sequences;
  attention.query = context.arrays.query;
  attention.context = context.arrays.context;
  attention.scratch = context.arrays.attention_scratch[static_cast<size_t>(layer)];
  attention.batch_invariant = context.batch_invariant;
  attention.single_rows_as_prompts = context.batch_invariant;
  attention.prefetch_before_wait = call.launch.overlap;
  if (call.cover.decodes && !attention.single_rows_as_prompts) {
    TSR_RETURN_IF_ERROR(context.api->Do("attention of decode",
                                        [&] { return LaunchAttentionDecode(call.launch, attention); }));
  }
  if (!call.cover.prompts && !attention.single_rows_as_prompts) return absl::OkStatus();
  return context.api->Do("attention of prompts",
                         [&] { return LaunchAttentionPrefill(call.launch, attention); });
}

absl::Status AddBias(const RegionCall& call, const tsr_device_weight& bias) {
  if (bias.data == nullptr) return absl::OkStatus();
  BiasAddArgs args;
  args.bias = static_cast<const float*>(bias.data);
  args.rows = call.cover.rows;
  args.columns = call.context->model.description.hidden_size;
  args.hidden = call.context->arrays.hidden;
  return call.context->api->Do("bias", [&] { return LaunchBiasAdd(call.launch, args); });
}

absl::Status Output(const RegionCall& call, int layer) {
  const RegionContext& context = *call.context;
  const tsr_device_layer& weights = LayerOf(call, layer);
  TSR_RETURN_IF_ERROR(Multiply(call, ProductsOf(call, layer).output, context.arrays.context, weights.output,
                               context.arrays.hidden));
  return AddBias(call, weights.output_bias);
}

absl::Status NormGateUp(const RegionCall& call, int layer) {
  const RegionContext& context = *call.context;
  const tsr_device_layer& weights = LayerOf(call, layer);
  const LayerProducts& products = ProductsOf(call, layer);
  void* const gate_up = context.arrays.gate_up;
  const int32_t columns = context.model.description.feed_forward_size;
  TSR_RETURN_IF_ERROR(Norm(call, weights.feed_forward_norm, context.model.type, call.cover.rows, nullptr));
  const void* const x = context.arrays.normed;
  TSR_RETURN_IF_ERROR(Multiply(call, products.gate, x, weights.gate, gate_up));
  TSR_RETURN_IF_ERROR(Multiply(call, products.up, x, weights.up, Shifted(gate_up, columns)));
  SwiGluArgs args;
  args.gate_up = gate_up;
  args.rows = call.cover.rows;
  args.columns = columns;
  args.out = context.arrays.active;
  return context.api->Do("activation", [&] { return LaunchSwiGlu(call.launch, context.model.type, args); });
}

absl::Status Down(const RegionCall& call, int layer) {
  const RegionContext& context = *call.context;
  return Multiply(call, ProductsOf(call, layer).down, context.arrays.active, LayerOf(call, layer).down,
                  context.arrays.hidden);
}

// Of the sampled rows alone.
absl::Status Head(const RegionCall& call) {
  const RegionContext& context = *call.context;
  if (call.cover.samples == 0) return absl::OkStatus();
  TSR_RETURN_IF_ERROR(Norm(call, context.model.description.output_norm, context.model.head_type,
                           call.cover.samples, context.arrays.sample_rows));
  return context.matmul->Run(context.head_product, call.launch, context.arrays.normed,
                             context.model.description.head.data, call.cover.samples, context.arrays.logits);
}

absl::Status Sample(const RegionCall& call) {
  const RegionContext& context = *call.context;
  if (call.cover.samples > 0) {
    SampleArgs args;
    args.logits = context.arrays.logits;
    args.vocabulary = context.model.description.vocabulary_size;
    args.logits_stride = args.vocabulary;
    args.capacity = call.cover.samples;
    args.sample_count = context.arrays.counts + StepArrays::kSamples;
    args.params = context.arrays.params;
    args.biases = context.arrays.biases;
    args.window_tokens = context.arrays.window_tokens;
    args.tokens = context.arrays.sampled;
    args.results = context.arrays.results;
    args.workspace = context.arrays.sample_workspace;
    const SampleSetup& setup = call.cover.samples <= kFewSamples ? context.few_samples : context.many_samples;
    TSR_RETURN_IF_ERROR(context.api->Do("sampling", [&] { return LaunchSample(call.launch, setup, args); }));
  }
  PublishArgs publish;
  publish.counts = context.arrays.counts;
  publish.params = context.arrays.params;
  publish.results = context.arrays.results;
  publish.outlet = context.arrays.outlet;
  publish.capacity = call.cover.samples;
  return context.api->Do("publishing results", [&] { return LaunchPublishStep(call.launch, publish); });
}

}  // namespace

ContextArrays::ContextArrays(const ScratchLayout& layout, uint8_t* memory)
    : counts(At<int32_t>(memory, layout.counts)),
      tokens(At<int32_t>(memory, layout.tokens)),
      positions(At<int32_t>(memory, layout.positions)),
      row_sequence(At<int32_t>(memory, layout.row_sequence)),
      first_row(At<int32_t>(memory, layout.first_row)),
      row_count(At<int32_t>(memory, layout.row_count)),
      first_position(At<int32_t>(memory, layout.first_position)),
      sample_rows(At<int32_t>(memory, layout.sample_rows)),
      block_tables(At<int32_t>(memory, layout.block_tables)),
      window_tokens(At<int32_t>(memory, layout.window_tokens)),
      sampled(At<int32_t>(memory, layout.sampled)),
      params(At<SampleParams>(memory, layout.params)),
      biases(At<tsr_device_bias>(memory, layout.biases)),
      outlet(At<StepOutlet>(memory, layout.outlet)),
      results(At<SampleResult>(memory, layout.results)),
      hidden(At<float>(memory, layout.hidden)),
      logits(At<float>(memory, layout.logits)),
      inverse_frequencies(At<float>(memory, layout.inverse_frequencies)),
      rotary(At<float2>(memory, layout.rotary)),
      normed(memory + layout.normed),
      qkv(memory + layout.qkv),
      query(memory + layout.query),
      context(memory + layout.context),
      gate_up(memory + layout.gate_up),
      active(memory + layout.active),
      sample_workspace(memory + layout.sample_workspace),
      matmul_workspace(memory + layout.matmul_workspace),
      handed_on(memory + layout.handed_on) {
  for (const size_t place : layout.attention_scratch) attention_scratch.push_back(memory + place);
}

StepArrays ArraysOfGroup(const RegionContext& context, int32_t group) {
  const ContextArrays& arrays = context.arrays;
  const StepCapacity& capacity = context.layout.capacity;
  StepArrays step;
  step.counts = arrays.counts;
  step.tokens = arrays.tokens;
  step.positions = arrays.positions;
  step.row_sequence = arrays.row_sequence;
  step.first_row = arrays.first_row;
  step.row_count = arrays.row_count;
  step.first_position = arrays.first_position;
  step.block_table =
      arrays.block_tables + static_cast<int64_t>(group) * capacity.sequences * capacity.table_stride;
  step.table_stride = capacity.table_stride;
  step.sample_rows = arrays.sample_rows;
  return step;
}

const RegionFunctions& GeneralRegions() {
  static constexpr RegionFunctions functions = {Embed,      NormQkv, Attention, Output,
                                                NormGateUp, Down,    Head,      Sample};
  return functions;
}

const RegionFunctions& RegionsFor(const RegionContext&, const StepCover&) { return GeneralRegions(); }

}  // namespace tessera::gpu
