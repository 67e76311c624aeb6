#include "gpu/graph/stream_regions.h"

#include <algorithm>

#include "core/base/status.h"
#include "gpu/kernels/embed/embed.h"
#include "gpu/kernels/linear/linear.h"
#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {
namespace {

constexpr size_t kElementBytes = 2;  // of F16 and BF16
constexpr size_t kAlignment = 256;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// What the nodes of a chain hand on to one another. Two sets serve in turn: while a chain computes in one,
// the next one's is poisoned.
struct HandOn {
  void* after_output = nullptr;           // [rows, hidden] of T
  void* after_down = nullptr;             // [rows, hidden] of T
  void* active = nullptr;                 // [rows, feed forward] of T
  float* squares_after_output = nullptr;  // [rows, kMostStreamBlocks]
  float* squares_after_down = nullptr;
};

size_t HandOnBytes(const DeviceModel& model, int32_t rows) {
  const auto count = static_cast<size_t>(rows);
  const auto hidden = static_cast<size_t>(model.description.hidden_size);
  const auto ffn = static_cast<size_t>(model.description.feed_forward_size);
  return Aligned(count * (2 * hidden + ffn) * kElementBytes + 2 * count * kMostStreamBlocks * sizeof(float));
}

HandOn HandOnAt(const DeviceModel& model, int32_t rows, uint8_t* memory) {
  const auto count = static_cast<size_t>(rows);
  const size_t hidden_bytes = count * static_cast<size_t>(model.description.hidden_size) * kElementBytes;
  HandOn at;
  // Floats first: they are aligned whatever the rows are.
  at.squares_after_output = reinterpret_cast<float*>(memory);
  at.squares_after_down = at.squares_after_output + count * kMostStreamBlocks;
  auto* const rest = reinterpret_cast<uint8_t*>(at.squares_after_down + count * kMostStreamBlocks);
  at.after_output = rest;
  at.after_down = rest + hidden_bytes;
  at.active = rest + 2 * hidden_bytes;
  return at;
}

// What the first chain takes from embed, and the factors that chains of F16 leave one another.
size_t FirstBytes(const DeviceModel& model, int32_t rows) {
  const auto count = static_cast<size_t>(rows);
  return Aligned(count * static_cast<size_t>(model.description.hidden_size) * kElementBytes) +
         Aligned(count * kMostStreamBlocks * sizeof(float)) + Aligned(count * sizeof(float));
}

const float* VectorOf(const tsr_device_weight& weight) { return static_cast<const float*>(weight.data); }

// Up to how many rows chains are faster than wide products: with more, the input takes the shared memory of
// the weights' ring, and every block reads all of it.
constexpr int32_t kMostChainRows = 3;
// And from which on the vendor's products are faster.
constexpr int32_t kMostWideStepRows = 40;

// Puts a step's chains into the stream, one after the other.
class StreamedStep {
 public:
  StreamedStep(const RegionCall& call, StreamWay way)
      : call_(call),
        way_(way),
        context_(*call.context),
        model_(context_.model),
        rows_(call.cover.rows),
        set_bytes_(HandOnBytes(model_, rows_)) {
    uint8_t* memory = context_.arrays.stream;
    first_x_ = memory;
    memory += Aligned(static_cast<size_t>(rows_) * static_cast<size_t>(model_.description.hidden_size) *
                      kElementBytes);
    first_squares_ = reinterpret_cast<float*>(memory);
    memory += Aligned(static_cast<size_t>(rows_) * kMostStreamBlocks * sizeof(float));
    row_factors_ = reinterpret_cast<float*>(memory);
    sets_ = context_.arrays.stream + FirstBytes(model_, rows_);
  }

  // Whether each product's shape suits wide kernels.
  bool NodesFit() {
    const int layers = static_cast<int>(model_.layers.size());
    for (int layer = 0; layer < layers; ++layer) {
      StreamChain chain;
      AddQkv(layer, &chain);
      AddOutput(layer, &chain);
      AddGateUp(layer, &chain);
      AddDown(layer, &chain);
      if (!EachFits(chain)) return false;
    }
    StreamChain chain;
    AddHead(&chain);
    return EachFits(chain) &&
           WideSquareParts(context_.wide, model_.description.hidden_size) <= kMostStreamBlocks;
  }

  absl::Status Run() {
    TSR_RETURN_IF_ERROR(Embed());
    StreamChain chain;
    AddQkv(0, &chain);
    TSR_RETURN_IF_ERROR(Launch(0, &chain));
    const int layers = static_cast<int>(model_.layers.size());
    for (int layer = 0; layer < layers; ++layer) {
      TSR_RETURN_IF_ERROR(GeneralRegions().attention(call_, layer));
      chain = StreamChain();
      AddOutput(layer, &chain);
      AddGateUp(layer, &chain);
      AddDown(layer, &chain);
      if (layer + 1 < layers) {
        AddQkv(layer + 1, &chain);
      } else {
        AddHead(&chain);
      }
      TSR_RETURN_IF_ERROR(Launch(layer + 1, &chain));
    }
    return absl::OkStatus();
  }

 private:
  const tsr_device_layer& LayerAt(int layer) const { return model_.layers[static_cast<size_t>(layer)]; }
  // Of the chain that is being made.
  HandOn set() const { return HandOnAt(model_, rows_, sets_ + set_ * set_bytes_); }

  absl::Status Embed() {
    EmbedArgs args;
    args.table = model_.description.embedding.data;
    args.vocabulary = model_.description.vocabulary_size;
    args.columns = model_.description.hidden_size;
    args.tokens = context_.arrays.tokens;
    args.rows = context_.arrays.counts + StepArrays::kRows;
    args.capacity = rows_;
    args.hidden = context_.arrays.hidden;
    args.next_norm = VectorOf(LayerAt(0).attention_norm);
    args.next_x = first_x_;
    args.square_sums = first_squares_;
    args.square_stride = kMostStreamBlocks;
    LaunchContext launch = call_.launch;
    launch.overlap = false;  // the first node of a graph
    return context_.api->Do("embed", [&] { return LaunchEmbed(launch, model_.type, args); });
  }

  // A normalised hidden state as it was handed on.
  StreamInput Normed(const void* x, const float* squares, int parts) const {
    StreamInput input;
    input.x = x;
    input.rows = rows_;
    input.columns = model_.description.hidden_size;
    input.square_sums = squares;
    input.square_parts = parts;
    input.epsilon = model_.description.norm_epsilon;
    return input;
  }
  // Parts of the sums of squares that residual nodes write.
  int parts() const {
    return way_ == StreamWay::kWide ? WideSquareParts(context_.wide, model_.description.hidden_size)
                                    : StreamBlocks(context_.sm_count);
  }

  void AddQkv(int layer, StreamChain* chain) const {
    const tsr_device_layer& weights = LayerAt(layer);
    StreamNode& node = chain->nodes[chain->count++];
    node.kind = StreamKind::kQkv;
    node.input = layer == 0
                     ? Normed(first_x_, first_squares_, EmbedParts(rows_, model_.description.hidden_size))
                     : Normed(set().after_down, set().squares_after_down, parts());
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

  StreamInput Plain(const void* x, int64_t columns) const {
    StreamInput input;
    input.x = x;
    input.rows = rows_;
    input.columns = static_cast<int>(columns);
    return input;
  }

  void AddResidual(const tsr_device_weight& weight, const tsr_device_weight& bias, const float* next_norm,
                   void* next_x, float* squares, StreamNode* node) const {
    node->kind = StreamKind::kResidual;
    node->weight = weight.data;
    node->bias = VectorOf(bias);
    node->outputs = model_.description.hidden_size;
    node->hidden = {context_.arrays.hidden, next_norm, next_x, squares};
  }

  void AddOutput(int layer, StreamChain* chain) const {
    const tsr_device_layer& weights = LayerAt(layer);
    StreamNode& node = chain->nodes[chain->count++];
    node.input = Plain(context_.arrays.context, QueryColumns(weights));
    AddResidual(weights.output, weights.output_bias, VectorOf(weights.feed_forward_norm), set().after_output,
                set().squares_after_output, &node);
  }

  void AddGateUp(int layer, StreamChain* chain) const {
    const tsr_device_layer& weights = LayerAt(layer);
    StreamNode& node = chain->nodes[chain->count++];
    node.kind = StreamKind::kGateUp;
    node.input = Normed(set().after_output, set().squares_after_output, parts());
    node.weight = weights.gate.data;
    node.up = weights.up.data;
    node.outputs = model_.description.feed_forward_size;
    node.out = set().active;
  }

  void AddDown(int layer, StreamChain* chain) const {
    const bool last = layer + 1 == static_cast<int>(model_.layers.size());
    StreamNode& node = chain->nodes[chain->count++];
    node.input = Plain(set().active, model_.description.feed_forward_size);
    AddResidual(LayerAt(layer).down, tsr_device_weight{},
                VectorOf(last ? model_.description.output_norm : LayerAt(layer + 1).attention_norm),
                set().after_down, set().squares_after_down, &node);
  }

  void AddHead(StreamChain* chain) const {
    StreamNode& node = chain->nodes[chain->count++];
    node.kind = StreamKind::kHead;
    node.input = Normed(set().after_down, set().squares_after_down, parts());
    node.weight = model_.description.head.data;
    node.outputs = model_.description.vocabulary_size;
    node.out = context_.arrays.logits;
    node.sample_rows = context_.arrays.sample_rows;
    node.sample_count = context_.arrays.counts + StepArrays::kSamples;
  }

  // `next_layer`: whose output projection comes behind the chain and attention.
  absl::Status Launch(int next_layer, StreamChain* chain) {
    return way_ == StreamWay::kWide ? LaunchEach(*chain) : LaunchChain(next_layer, chain);
  }

  bool EachFits(const StreamChain& chain) const {
    return std::all_of(chain.nodes, chain.nodes + chain.count, [&](const StreamNode& node) {
      return WideFits(context_.wide, model_.type, {node, chain.qkv});
    });
  }

  absl::Status LaunchEach(const StreamChain& chain) {
    for (int n = 0; n < chain.count; ++n) {
      const WideNode node = {chain.nodes[n], chain.qkv};
      TSR_RETURN_IF_ERROR(context_.api->Do("a wide product", [&] {
        return LaunchWideLinear(call_.launch, context_.wide, model_.type, node, /*next=*/nullptr,
                                /*prefetched=*/false);
      }));
    }
    return absl::OkStatus();
  }

  absl::Status LaunchChain(int next_layer, StreamChain* chain) {
    if (model_.type == ElementType::kF16) chain->row_factors = row_factors_;
    if (next_layer < static_cast<int>(model_.layers.size())) {
      StreamChain next;
      AddOutput(next_layer, &next);
      AddGateUp(next_layer, &next);
      static_assert(StreamChain::kMostNext == 2, "output projection, gate and up");
      std::copy(next.nodes, next.nodes + next.count, chain->next);
      chain->next_count = next.count;
      set_ ^= 1;
      chain->poison = sets_ + set_ * set_bytes_;
      chain->poison_bytes = static_cast<int64_t>(set_bytes_);
    }
    const StreamPace pace = StreamPaceOf(context_.memory_bytes_per_second, context_.sm_count);
    chain->in_flight = pace.in_flight;
    chain->in_flight_ahead = pace.in_flight_ahead;
    chain->most_ahead = pace.most_ahead;
    chain->pace_ns = pace.ns;
    return context_.api->Do("a chain of products",
                            [&] { return LaunchStreamChain(call_.launch, model_.type, *chain); });
  }

  const RegionCall& call_;
  const StreamWay way_;
  const RegionContext& context_;
  const DeviceModel& model_;
  const int32_t rows_;
  const size_t set_bytes_;
  uint8_t* first_x_ = nullptr;
  float* first_squares_ = nullptr;
  float* row_factors_ = nullptr;
  uint8_t* sets_ = nullptr;
  size_t set_ = 0;
};

int64_t MostColumns(const DeviceModel& model) {
  return std::max<int64_t>(
      {model.query_columns, model.description.hidden_size, model.description.feed_forward_size});
}

bool LayersFit(const DeviceModel& model) {
  const int32_t rotary = model.description.rotary_dimensions;
  const auto fits = [rotary](const tsr_device_layer& layer) {
    return layer.head_size % 8 == 0 && rotary % 8 == 0 && QueryColumns(layer) % 8 == 0;
  };
  return std::all_of(model.layers.begin(), model.layers.end(), fits) &&
         model.description.hidden_size % 8 == 0 && model.description.feed_forward_size % 8 == 0 &&
         model.embedding_type == model.type && model.head_type == model.type;
}

// F16's range would need the factors that chains have.
bool WideStepFits(const RegionContext& context, int32_t rows) {
  if (context.wide.clusters == 0 || context.model.type != ElementType::kBF16 || rows > kMostWideStepRows)
    return false;
  RegionCall call;
  call.context = &context;
  call.cover.rows = rows;
  return StreamedStep(call, StreamWay::kWide).NodesFit();
}

}  // namespace

size_t StreamScratchBytes(const DeviceModel& model, int32_t most_rows) {
  if (!LayersFit(model)) return 0;
  const int32_t rows = std::min(most_rows, kMostWideStepRows);
  return FirstBytes(model, rows) + 2 * HandOnBytes(model, rows);
}

StreamWay StreamWayOf(const RegionContext& context, const StepCover& cover) {
  constexpr int kBulkCopyCapability = 90;
  // Prompts and many rows go another way, in which a row has other bits.
  if (context.compute_capability < kBulkCopyCapability || context.batch_invariant || cover.prompts) {
    return StreamWay::kNone;
  }
  if (cover.samples < cover.rows || !LayersFit(context.model)) return StreamWay::kNone;
  const bool plain_cache =
      std::all_of(context.caches.begin(), context.caches.end(), [](const CacheLayout& cache) {
        return cache.type == ElementType::kBF16 || cache.type == ElementType::kF16;
      });
  if (!plain_cache) return StreamWay::kNone;
  if (context.chains && cover.rows <= kMostChainRows &&
      StreamFits(context.model.type, cover.rows, static_cast<int>(MostColumns(context.model)))) {
    return StreamWay::kChains;
  }
  return WideStepFits(context, cover.rows) ? StreamWay::kWide : StreamWay::kNone;
}

absl::Status EnqueueStreamedRegions(const RegionCall& call, StreamWay way) {
  return StreamedStep(call, way).Run();
}

}  // namespace tessera::gpu
