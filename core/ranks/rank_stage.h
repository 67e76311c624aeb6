// One rank's part of each step: what the stage before hands on, a vote, the stage's regions on this rank's
// shard, a vote, and what the next stage gets. A failure of one rank ends the step on all ranks of the stage
// at the same place; later stages are told instead of being handed a hidden state.
#ifndef TESSERA_CORE_RANKS_RANK_STAGE_H_
#define TESSERA_CORE_RANKS_RANK_STAGE_H_

#include <memory>
#include <vector>

#include "core/execute/loop.h"
#include "core/parallel/communicator.h"
#include "core/ranks/rank_layout.h"
#include "core/ranks/rank_shard.h"

namespace tessera {

class RankStage {
 public:
  // The shard and the communicators outlive the stage; each is null where there is one rank to meet.
  RankStage(const RankLayout& layout, const RankShard* shard, std::unique_ptr<BackendContext> context,
            Communicator* stages, Communicator* tensor);

  // The number-th step of this group, from 1. `readable`: whether this rank could read its record; where it
  // is an error `step` may be null. `signal`: what this rank brings to the vote.
  void Begin(uint64_t number, const StepView* step, absl::Status readable,
             RankSignal signal = RankSignal::kGo) noexcept;
  // True: the stage's part is over, and outcome() says how it ended. An error: the group is lost.
  absl::StatusOr<bool> Run(StopCondition& condition) noexcept;
  // Nobody wants the step any more: the next Run ends it on all ranks of the stage.
  void Abandon() noexcept { signal_ = RankSignal::kAbandon; }
  const absl::Status& outcome() const { return outcome_; }

  BackendContext& context() const { return *context_; }

 private:
  enum class Phase { kReceive, kVoteToRun, kRegions, kVoteToCommit, kHandOn, kOver };

  // Errors of these: the group is lost. The regions' own goes to outcome_.
  absl::Status ReceiveHidden() noexcept;
  absl::Status Vote(uint32_t operation) noexcept;
  absl::StatusOr<bool> RunRegions(StopCondition& condition) noexcept;
  absl::Status HandOn() noexcept;
  absl::Span<uint8_t> Hidden() const noexcept;

  const RankLayout layout_;
  const std::unique_ptr<BackendContext> context_;
  Communicator* const stages_;
  Communicator* const tensor_;
  RegionLoop loop_;
  std::vector<absl::Span<const uint8_t>> votes_;  // [tensor ranks]

  Phase phase_ = Phase::kOver;
  uint64_t number_ = 0;
  const StepView* step_ = nullptr;
  RankSignal signal_ = RankSignal::kGo;
  absl::Status outcome_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RANK_STAGE_H_
