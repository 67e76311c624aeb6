#include "core/ranks/process_ranks.h"

#include <array>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/parallel/gloo_communicator.h"
#include "core/ranks/rank_messages.h"

namespace tessera {
namespace {

// What all ranks must have been created with alike, or the leader's steps are not for them.
struct Terms {
  std::array<int64_t, 11> numbers;
  ContentHash likeness;
};

Terms TermsOf(const RankLayout& layout, const ProcessRankOptions& options, const RecordLimits& limits,
              const ContentHash& likeness) {
  Terms terms;
  terms.numbers = {layout.tensor_parallel, layout.pipeline,     options.timeout_ns, limits.rows,
                   limits.sequences,       limits.samples,      limits.groups,      limits.positions,
                   limits.vocabulary,      limits.block_tokens, limits.blocks};
  terms.likeness = likeness;
  return terms;
}

absl::Status Agree(const Terms& mine, Communicator& world) {
  std::vector<absl::Span<const uint8_t>> all(static_cast<size_t>(world.size()));
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(&mine), sizeof(mine));
  TSR_RETURN_IF_ERROR(
      world.Exchange({0, 0, kTermsOperation}, RankSignal::kGo, bytes, absl::MakeSpan(all)).status());
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    return InvalidArgument("ranks", absl::StrCat("rank ", rank,
                                                 " and rank 0 were created with different "
                                                 "settings, or of different models"));
  }
  return absl::OkStatus();
}

absl::Status Join(const RankLayout& layout, const ProcessRankOptions& options, const ContentHash& likeness,
                  RankParts* parts) {
  GlooOptions gloo;
  gloo.rank = layout.rank;
  gloo.ranks = layout.size();
  gloo.all_gather = options.all_gather;
  gloo.timeout_ns = options.timeout_ns;
  gloo.connect_timeout_ns = options.timeout_ns / 2;
  gloo.interface_name = options.interface_name;
  gloo.tag = "tessera-world";
  TSR_ASSIGN_OR_RETURN(parts->world, CreateGlooCommunicator(gloo));
  TSR_RETURN_IF_ERROR(Agree(TermsOf(layout, options, parts->limits, likeness), *parts->world));
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

absl::Status JoinProcesses(const RankLayout& layout, const ProcessRankOptions& options,
                           const ContentHash& likeness, RankParts* parts) {
  return AsLoss(Join(layout, options, likeness, parts));
}

}  // namespace tessera
