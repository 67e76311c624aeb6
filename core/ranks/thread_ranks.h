// All ranks of a group in one process: the leader, and the others on a thread each.
#ifndef TESSERA_CORE_RANKS_THREAD_RANKS_H_
#define TESSERA_CORE_RANKS_THREAD_RANKS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "core/cache/kv_cache.h"
#include "core/env/memory.h"
#include "core/execute/executor.h"
#include "core/ranks/rank_follower.h"

namespace tessera {

struct RankOptions {
  BackendLimits limits;  // of each rank; its threads are its own
  CacheOptions cache;    // all ranks have as many blocks, each its part of them
};

// A rank, before it leads or follows.
struct MadeRank {
  RankParts parts;
  KvCache cache;
};

// The rank of `layout` on its shard. The communicators come from the caller.
absl::StatusOr<MadeRank> MakeRank(const RankLayout& layout, std::shared_ptr<const RankShard> shard,
                                  const Backend& backend, const RankOptions& options, MemorySource* memory);

struct LeadingRank {
  std::unique_ptr<Executor> executor;
  KvCache cache;           // the leader's, which knows whose blocks are whose
  size_t cache_bytes = 0;  // of all ranks in this process
};

// A whole group in this process, over a model that is loaded whole. `spec`, `weights` and `backend` outlive
// it.
absl::StatusOr<LeadingRank> MakeThreadRanks(const RankLayout& layout, const ModelSpec& spec,
                                            const Residency& weights, const Backend& backend,
                                            const RankOptions& options, MemorySource* memory);

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_THREAD_RANKS_H_
