#include "core/engine/engine_shape.h"

#include <algorithm>

#include "core/base/status.h"

namespace tessera {
namespace {

EngineOptions Complete(EngineOptions options, const ModelSpec& spec) {
  if (options.context_tokens == 0) options.context_tokens = spec.context_tokens;
  if (options.cache_tokens == 0) options.cache_tokens = options.context_tokens;
  if (options.max_running == 0) options.max_running = options.batch_sequences;
  return options;
}

}  // namespace

BackendLimits RankLimits(const EngineShape& shape) {
  BackendLimits limits = shape.limits;
  const EngineOptions& options = shape.options;
  const int32_t ranks_here = options.processes.all_gather ? 1 : options.ranks.size();
  limits.threads = std::max(options.threads / ranks_here, 1);
  return limits;
}

absl::StatusOr<EngineShape> ShapeEngine(const ModelSpec& spec, const EngineOptions& wanted) {
  EngineShape shape;
  shape.options = Complete(wanted, spec);
  const EngineOptions& options = shape.options;
  shape.cache_options.type = options.cache_type;
  shape.cache_options.block_tokens = options.block_tokens;
  shape.cache_options.capacity_tokens = options.cache_tokens;
  shape.cache_options.share_prefixes = options.share_prefixes;
  TSR_ASSIGN_OR_RETURN(shape.cache, KvCache::Shape(spec, shape.cache_options));

  BackendLimits& limits = shape.limits;
  limits.max_rows = options.batch_tokens;
  limits.max_samples = options.batch_sequences;
  limits.max_sequences = options.batch_sequences;
  limits.max_positions = static_cast<int32_t>(
      std::min<int64_t>(options.context_tokens, shape.cache.blocks * shape.cache.block_tokens));
  limits.block_tokens = options.block_tokens;
  limits.cache_type = options.cache_type;
  limits.threads = options.threads;
  limits.batch_invariant = options.batch_invariant;
  limits.time_regions = options.time_regions;
  return shape;
}

}  // namespace tessera
