#include "core/ranks/process_ranks.h"

#include <utility>

#include "core/base/status.h"
#include "core/parallel/gloo_communicator.h"
#include "core/ranks/rank_messages.h"

namespace tessera {
namespace {

absl::Status Join(const RankLayout& layout, const ProcessRankOptions& options, RankParts* parts) {
  GlooOptions gloo;
  gloo.rank = layout.rank;
  gloo.ranks = layout.size();
  gloo.all_gather = options.all_gather;
  gloo.timeout_ns = options.timeout_ns;
  gloo.connect_timeout_ns = options.timeout_ns / 2;
  gloo.interface_name = options.interface_name;
  gloo.tag = "tessera-world";
  TSR_ASSIGN_OR_RETURN(parts->world, CreateGlooCommunicator(gloo));
  if (layout.pipeline > 1) {
    gloo.tag = "tessera-stages";
    TSR_ASSIGN_OR_RETURN(parts->stages, CreateGlooCommunicator(gloo));
  }
  if (layout.tensor_parallel == 1) return absl::OkStatus();
  gloo.tag = "tessera-tensor";
  for (int32_t place = 0; place < layout.tensor_parallel; ++place) {
    gloo.group.push_back(layout.stage() * layout.tensor_parallel + place);
  }
  TSR_ASSIGN_OR_RETURN(parts->tensor, CreateGlooCommunicator(gloo));
  return absl::OkStatus();
}

}  // namespace

absl::Status JoinProcesses(const RankLayout& layout, const ProcessRankOptions& options, RankParts* parts) {
  return AsLoss(Join(layout, options, parts));
}

}  // namespace tessera
