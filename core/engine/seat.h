// How an engine computes: alone, as the leader of several ranks, or as one that follows.
#ifndef TESSERA_CORE_ENGINE_SEAT_H_
#define TESSERA_CORE_ENGINE_SEAT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "core/cache/kv_cache.h"
#include "core/engine/engine_shape.h"
#include "core/engine/loaded_model.h"
#include "core/execute/executor.h"
#include "core/ranks/rank_follower.h"

namespace tessera {

struct Seat {
  std::unique_ptr<Executor> executor;      // one without steps where the engine follows
  std::unique_ptr<RankFollower> follower;  // null: it leads, or is alone
  KvCache cache;                           // this rank's memory; a leader's knows whose blocks are whose
  size_t cache_bytes = 0;                  // of all ranks in this process
};

// `model` and `backend` outlive the seat. With other processes this blocks until all
// ranks have come, or the time is up.
absl::StatusOr<Seat> TakeSeat(const LoadedModel& model, const Backend& backend, const EngineShape& shape,
                              MemorySource* memory);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_SEAT_H_
