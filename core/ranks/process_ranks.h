// One rank of a group whose ranks are processes: this process leads, or follows.
#ifndef TESSERA_CORE_RANKS_PROCESS_RANKS_H_
#define TESSERA_CORE_RANKS_PROCESS_RANKS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "core/base/content_hash.h"
#include "core/parallel/rendezvous.h"
#include "core/ranks/rank_follower.h"

namespace tessera {

struct ProcessRankOptions {
  AllGather all_gather;    // empty: the ranks are threads of this process
  int64_t timeout_ns = 0;  // for one operation of a step
  std::string interface_name;
};

// Joins the other ranks. Collective over all ranks of the layout; blocks until all have come, or the time is
// up. `likeness`: what else must be alike on all ranks, and cannot be seen from the layout and the limits.
absl::Status JoinProcesses(const RankLayout& layout, const ProcessRankOptions& options,
                           const ContentHash& likeness, RankParts* parts);

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_PROCESS_RANKS_H_
