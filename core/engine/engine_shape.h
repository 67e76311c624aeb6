// What an engine's settings come to for a model: how long its sequences, how large its cache and its batches
// are. Engine::Create makes an engine from this, PlanEngine adds up what that would take.
#ifndef TESSERA_CORE_ENGINE_ENGINE_SHAPE_H_
#define TESSERA_CORE_ENGINE_ENGINE_SHAPE_H_

#include "absl/status/statusor.h"
#include "core/cache/kv_cache.h"
#include "core/engine/engine_options.h"
#include "core/execute/backend.h"
#include "core/model/model_spec.h"

namespace tessera {

struct EngineShape {
  EngineOptions options;  // no zeros left that stand for defaults
  CacheOptions cache_options;
  KvCacheShape cache;
  BackendLimits limits;
};

// Those of one rank: the threads are shared.
BackendLimits RankLimits(const EngineShape& shape);

absl::StatusOr<EngineShape> ShapeEngine(const ModelSpec& spec, const EngineOptions& wanted);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_ENGINE_SHAPE_H_
