#include "core/engine/engine_plan.h"

#include <algorithm>
#include <limits>

#include "core/base/float_control.h"
#include "core/base/status.h"
#include "core/execute/region.h"
#include "core/ranks/rank_shard.h"

namespace tessera {
namespace {

// Of one rank, `part` of the model.
absl::Status AddRankMemory(const ModelSpec& part, const Backend& backend, const EngineShape& shape,
                           EnginePlan* plan) {
  TSR_ASSIGN_OR_RETURN(const ContextMemory context, backend.PlanContext(part, RankLimits(shape)));
  TSR_ASSIGN_OR_RETURN(const KvCacheShape cache, KvCache::Shape(part, shape.cache_options));
  plan->cache_bytes += cache.size_bytes;
  plan->scratch_bytes += context.scratch_bytes;
  plan->pinned_bytes += context.pinned_bytes;
  plan->object_bytes += cache.object_bytes + context.object_bytes;
  return absl::OkStatus();
}

// What depends on the engine's settings: of all ranks in this process.
absl::Status AddEngineMemory(const ModelSpec& spec, const Backend& backend, const EngineShape& shape,
                             EnginePlan* plan) {
  plan->cache_bytes = plan->scratch_bytes = plan->pinned_bytes = 0;
  RankLayout rank = shape.options.ranks;
  if (rank.size() == 1) {
    TSR_RETURN_IF_ERROR(AddRankMemory(spec, backend, shape, plan));
  } else {
    const bool one = static_cast<bool>(shape.options.processes.all_gather);
    const int32_t first = one ? rank.rank : 0;
    const int32_t end = one ? first + 1 : rank.size();
    for (rank.rank = first; rank.rank < end; ++rank.rank) {
      TSR_ASSIGN_OR_RETURN(const ShardPlan part, PlanRank(spec, rank));
      TSR_RETURN_IF_ERROR(AddRankMemory(part.spec, backend, shape, plan));
    }
  }
  plan->cache_tokens = shape.cache.blocks * shape.cache.block_tokens;
  plan->context_tokens = shape.limits.max_positions;
  return absl::OkStatus();
}

// Everything grows with the cache, so a search by halves finds the most.
absl::StatusOr<int64_t> FittingTokens(const ModelSpec& spec, const Backend& backend, EngineOptions options,
                                      const EnginePlan& model_only, const PlanBudgets& budgets) {
  const int64_t block_tokens = options.block_tokens;
  const int64_t most = std::numeric_limits<int32_t>::max() / block_tokens;
  if (budgets.none()) return most * block_tokens;
  int64_t fits = 0;
  for (int64_t too_many = most + 1; too_many - fits > 1;) {
    const int64_t blocks = fits + (too_many - fits) / 2;
    options.cache_tokens = blocks * block_tokens;
    const absl::StatusOr<EngineShape> shape = ShapeEngine(spec, options);
    if (!shape.ok() && CodeOf(shape.status()) != ErrorCode::kOutOfMemory) return shape.status();
    EnginePlan plan = model_only;
    if (shape.ok()) TSR_RETURN_IF_ERROR(AddEngineMemory(spec, backend, *shape, &plan));
    (shape.ok() && budgets.Hold(plan) ? fits : too_many) = blocks;
  }
  return fits * block_tokens;
}

// Seconds of one sequence's steps, as the speed model has them.
class Timing {
 public:
  Timing(const ModelSpec& spec, const EngineShape& shape, const SpeedModel& speed)
      : spec_(spec), shape_(shape), speed_(speed), regions_(BuildRegions(spec).size()) {}

  // One token behind `context` others: all weights are read, and the cache.
  double Decode(int64_t context) const {
    double seconds = static_cast<double>(regions_) * speed_.region_seconds;
    ForEachMatrix([&](const TensorSpec& tensor) {
      const SpeedModel::Shares& shares = speed_.of(tensor.type);
      const double read = static_cast<double>(tensor.size_bytes) / (read_rate() * shares.read);
      // Where nothing is known of arithmetic, it is taken to keep up.
      const double products = product_rate() > 0 ? Products(tensor) / (product_rate() * shares.row) : 0;
      seconds += std::max(read, products);
    });
    return seconds + CacheBytes(context) / (read_rate() * speed_.attention.read);
  }

  // `tokens` of a prompt at once: many products for each weight, but the weights are still read once.
  double Prompt(int64_t tokens) const {
    double seconds = static_cast<double>(regions_) * speed_.region_seconds;
    const auto rows = static_cast<double>(tokens);
    ForEachMatrix([&](const TensorSpec& tensor) {
      const SpeedModel::Shares& shares = speed_.of(tensor.type);
      const double read = static_cast<double>(tensor.size_bytes) / (read_rate() * shares.read);
      const bool head = &tensor == &TensorOf(spec_.head);  // for the last token alone
      const double products =
          head ? Products(tensor) / shares.row : Products(tensor) * rows / shares.products;
      seconds += std::max(read, products / product_rate());
    });
    double attention = 0;  // products with keys and with values, half of the tokens before each on average
    for (const LayerSpec& layer : spec_.layers) {
      attention += rows * rows * layer.attention.heads * layer.attention.head_size;
    }
    return seconds + attention / (product_rate() * speed_.attention.products);
  }

 private:
  double read_rate() const { return speed_.machine.read_bytes_per_second; }
  double product_rate() const { return speed_.machine.products_per_second; }
  const TensorSpec& TensorOf(TensorId id) const { return spec_.tensors[static_cast<size_t>(id)]; }

  static double Products(const TensorSpec& tensor) {  // with one row
    return static_cast<double>(tensor.rows) * static_cast<double>(tensor.columns);
  }

  // Of an embedding table that is not the head too, one row is read: nothing beside the rest.
  template <typename Visit>
  void ForEachMatrix(Visit&& visit) const {
    for (const TensorSpec& tensor : spec_.tensors) {
      if (spec_.head != spec_.embedding && &tensor == &TensorOf(spec_.embedding)) continue;
      visit(tensor);
    }
  }

  double CacheBytes(int64_t context) const {
    double bytes = 0;
    for (size_t group = 0; group < shape_.cache.views.size(); ++group) {
      const int64_t window = spec_.cache_groups[group].window_tokens;
      const int64_t seen = window == 0 ? context : std::min(context, window);
      bytes += static_cast<double>(seen) * static_cast<double>(shape_.cache.views[group].block_bytes()) /
               shape_.cache.block_tokens;
    }
    return bytes;
  }

  const ModelSpec& spec_;
  const EngineShape& shape_;
  const SpeedModel& speed_;
  const size_t regions_;
};

}  // namespace

absl::StatusOr<EnginePlan> PlanEngine(const ModelHeader& model, const Backend& backend,
                                      const EngineOptions& options, const PlanBudgets& budgets,
                                      const SpeedModel& speed) {
  const ScopedFloatControl float_control;
  TSR_ASSIGN_OR_RETURN(const WeightLayout layout, LayWeights(model.spec, backend));
  EnginePlan plan;
  plan.on_device = !backend.in_host_memory();
  plan.weight_bytes = layout.packed_bytes;
  plan.object_bytes = model.file->heap_bytes() + model.tokenizer->heap_bytes();
  TSR_ASSIGN_OR_RETURN(plan.fitting_cache_tokens, FittingTokens(model.spec, backend, options, plan, budgets));

  TSR_ASSIGN_OR_RETURN(const EngineShape shape, ShapeEngine(model.spec, options));
  TSR_RETURN_IF_ERROR(AddEngineMemory(model.spec, backend, shape, &plan));
  plan.weight_bytes_per_token = model.spec.bytes_per_token();
  plan.cache_bytes_per_token = shape.cache.block_bytes / static_cast<uint64_t>(shape.cache.block_tokens);

  const Timing timing(model.spec, shape, speed);
  if (speed.machine.read_bytes_per_second > 0) {
    plan.decode_tokens_per_second = 1 / timing.Decode(0);
    plan.decode_tokens_per_second_full = 1 / timing.Decode(plan.context_tokens);
    if (speed.machine.products_per_second > 0) {
      const int64_t tokens = std::min(shape.limits.max_rows, plan.context_tokens);
      plan.prompt_tokens_per_second = static_cast<double>(tokens) / timing.Prompt(tokens);
    }
  }
  return plan;
}

}  // namespace tessera
