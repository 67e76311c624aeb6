#include "gpu/graph/stream_regions.h"

#include <algorithm>

#include "core/base/status.h"
#include "gpu/graph/stream_nodes.h"
#include "gpu/kernels/embed/embed.h"
#include "gpu/kernels/linear/linear.h"
#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {
namespace {

// Up to how many rows chains are faster than wide products: with more, the input takes the shared memory of
// the weights' ring, and every block reads all of it.
constexpr int32_t kMostChainRows = 3;
// And from which on the vendor's products are faster.
constexpr int32_t kMostWideStepRows = 40;

// Puts a step's products into the CUDA stream, between them attention.
class StreamedStep {
 public:
  StreamedStep(const RegionCall& call, StreamWay way)
      : call_(call),
        way_(way),
        context_(*call.context),
        model_(context_.model),
        nodes_(context_, call.cover.rows, SquareParts(context_, way)) {}

  // Whether each product's shape suits wide kernels.
  bool NodesFit() {
    const int layers = static_cast<int>(model_.layers.size());
    for (int layer = 0; layer < layers; ++layer) {
      StreamChain chain;
      nodes_.AddQkv(layer, &chain);
      nodes_.AddOutput(layer, &chain);
      nodes_.AddGateUp(layer, &chain);
      nodes_.AddDown(layer, &chain);
      if (!EachFits(chain)) return false;
    }
    StreamChain chain;
    nodes_.AddHead(&chain);
    return EachFits(chain) &&
           WideSquareParts(context_.wide, model_.description.hidden_size) <= kMostStreamBlocks;
  }

  absl::Status Run() {
    TSR_RETURN_IF_ERROR(Embed());
    StreamChain chain;
    nodes_.AddQkv(0, &chain);
    TSR_RETURN_IF_ERROR(Launch(0, &chain));
    const int layers = static_cast<int>(model_.layers.size());
    for (int layer = 0; layer < layers; ++layer) {
      TSR_RETURN_IF_ERROR(GeneralRegions().attention(call_, layer));
      chain = StreamChain();
      nodes_.AddOutput(layer, &chain);
      nodes_.AddGateUp(layer, &chain);
      nodes_.AddDown(layer, &chain);
      if (layer + 1 < layers) {
        nodes_.AddQkv(layer + 1, &chain);
      } else {
        nodes_.AddHead(&chain);
      }
      TSR_RETURN_IF_ERROR(Launch(layer + 1, &chain));
    }
    return absl::OkStatus();
  }

 private:
  static int SquareParts(const RegionContext& context, StreamWay way) {
    return way == StreamWay::kWide ? WideSquareParts(context.wide, context.model.description.hidden_size)
                                   : StreamBlocks(context.sm_count);
  }

  absl::Status Embed() {
    EmbedArgs args;
    args.table = model_.description.embedding.data;
    args.vocabulary = model_.description.vocabulary_size;
    args.columns = model_.description.hidden_size;
    args.tokens = context_.arrays.tokens;
    args.rows = context_.arrays.counts + StepArrays::kRows;
    args.capacity = call_.cover.rows;
    args.hidden = context_.arrays.hidden;
    args.next_norm = VectorOf(model_.layers[0].attention_norm);
    args.next_x = nodes_.first().x;
    args.square_sums = nodes_.first().squares;
    args.square_stride = kMostStreamBlocks;
    LaunchContext launch = call_.launch;
    launch.overlap = false;  // the first node of a graph
    return context_.api->Do("embed", [&] { return LaunchEmbed(launch, model_.type, args); });
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
    if (model_.type == ElementType::kF16) chain->row_factors = nodes_.row_factors();
    if (next_layer < static_cast<int>(model_.layers.size())) {
      StreamChain next;
      nodes_.AddOutput(next_layer, &next);
      nodes_.AddGateUp(next_layer, &next);
      static_assert(StreamChain::kMostNext == 2, "output projection, gate and up");
      std::copy(next.nodes, next.nodes + next.count, chain->next);
      chain->next_count = next.count;
      nodes_.ExchangeSets();
      chain->poison = nodes_.set_memory();
      chain->poison_bytes = static_cast<int64_t>(nodes_.set_bytes());
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
  StreamNodes nodes_;
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
  return LayersFit(model) ? HandedOnBytes(model, std::min(most_rows, kMostWideStepRows)) : 0;
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

absl::Status EnqueueStreamedRegions(const RegionCall& call) { return StreamedStep(call, call.way).Run(); }

}  // namespace tessera::gpu
