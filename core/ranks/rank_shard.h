// One rank's part of a model: its own spec, and weights of that shape.
#ifndef TESSERA_CORE_RANKS_RANK_SHARD_H_
#define TESSERA_CORE_RANKS_RANK_SHARD_H_

#include <memory>

#include "absl/status/statusor.h"
#include "core/execute/backend.h"
#include "core/offload/residency.h"
#include "core/parallel/partition.h"
#include "core/ranks/rank_layout.h"

namespace tessera {

struct RankShard {
  ModelSpec spec;
  std::shared_ptr<const Residency> weights;
};

// What a rank of the layout has: an equal run of layers, or one layer more on the first stages where they do
// not come out even, and its share of each. kInvalidArgument when there are fewer layers than stages.
absl::StatusOr<ShardPlan> PlanRank(const ModelSpec& whole, const RankLayout& layout);

// The rank's part of a model that is loaded whole: views into its weights, nothing is copied. `weights` lie
// as `backend` lays them out and outlive the shard. kUnsupported where the layout has no such views.
absl::StatusOr<RankShard> ShardOfWhole(const ModelSpec& whole, const Residency& weights,
                                       const Backend& backend, const RankLayout& layout);

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RANK_SHARD_H_
