#include "core/ranks/rank_stage.h"

#include <new>
#include <utility>

#include "core/base/status.h"
#include "core/ranks/rank_messages.h"

namespace tessera {

RankStage::RankStage(const RankLayout& layout, const RankShard* shard,
                     std::unique_ptr<BackendContext> context, Communicator* stages, Communicator* tensor)
    : layout_(layout),
      context_(std::move(context)),
      stages_(stages),
      tensor_(tensor),
      loop_(&shard->spec, shard->weights.get(), context_.get(), tensor),
      votes_(static_cast<size_t>(layout.tensor_parallel)) {}

void RankStage::Begin(uint64_t number, const StepView* step, absl::Status readable,
                      RankSignal signal) noexcept {
  number_ = number;
  step_ = step;
  outcome_ = std::move(readable);
  signal_ = signal;
  phase_ = Phase::kReceive;
}

absl::StatusOr<bool> RankStage::Run(StopCondition& condition) noexcept {
  if (phase_ == Phase::kReceive) {
    TSR_RETURN_IF_ERROR(ReceiveHidden());
    phase_ = Phase::kVoteToRun;
  }
  if (phase_ == Phase::kVoteToRun) {
    TSR_RETURN_IF_ERROR(Vote(kVoteToRunOperation));
    phase_ = outcome_.ok() ? Phase::kRegions : Phase::kHandOn;
    if (outcome_.ok()) loop_.Begin(step_, {0, number_, kFirstRegionOperation});
  }
  if (phase_ == Phase::kRegions) {
    TSR_ASSIGN_OR_RETURN(const bool over, RunRegions(condition));
    if (!over) return false;
    // Who left in an exchange left together; otherwise the others have still to hear how it went here.
    phase_ = loop_.left_together() ? Phase::kHandOn : Phase::kVoteToCommit;
  }
  if (phase_ == Phase::kVoteToCommit) {
    TSR_RETURN_IF_ERROR(Vote(kVoteToCommitOperation));
    phase_ = Phase::kHandOn;
  }
  if (phase_ == Phase::kHandOn) {
    TSR_RETURN_IF_ERROR(HandOn());
    phase_ = Phase::kOver;
  }
  return true;
}

absl::StatusOr<bool> RankStage::RunRegions(StopCondition& condition) noexcept {
  if (signal_ == RankSignal::kAbandon) {
    TSR_RETURN_IF_ERROR(loop_.Abandon());
    outcome_ = AbandonedStep();
    return true;
  }
  context_->BeginStep(*step_);
  try {
    absl::StatusOr<bool> done = loop_.Run(condition);
    if (done.ok() && !*done) return false;
    outcome_ = std::move(done).status();
  } catch (const std::bad_alloc&) {
    outcome_ = BareError(ErrorCode::kOutOfMemory);
  }
  if (loop_.lost()) return outcome_.ok() ? FailedElsewhere() : outcome_;
  return true;
}

// Every rank of the stage sees the gravest of what they bring, and goes on only where all do.
absl::Status RankStage::Vote(uint32_t operation) noexcept {
  RankSignal gravest = outcome_.ok() ? signal_ : RankSignal::kFailed;
  if (tensor_ != nullptr) {
    absl::StatusOr<RankSignal> all =
        tensor_->Exchange({0, number_, operation}, gravest, {}, absl::MakeSpan(votes_));
    if (!all.ok()) return std::move(all).status();
    gravest = *all;
  }
  if (outcome_.ok() && gravest == RankSignal::kFailed) outcome_ = FailedElsewhere();
  if (outcome_.ok() && gravest == RankSignal::kAbandon) outcome_ = AbandonedStep();
  return absl::OkStatus();
}

absl::Status RankStage::ReceiveHidden() noexcept {
  if (layout_.first_stage()) return absl::OkStatus();
  const int32_t from = layout_.InStage(layout_.stage() - 1);
  HandedOn head;
  TSR_RETURN_IF_ERROR(ReceiveValue(*stages_, {0, number_, kHandedOnOperation}, from, &head));
  if (head.size_bytes == 0) {
    if (outcome_.ok()) outcome_ = StatusOf(head);
    return absl::OkStatus();
  }
  const auto size = static_cast<size_t>(head.size_bytes);
  const CollectiveTag tag{0, number_, kHiddenOperation};
  if (!outcome_.ok() || Hidden().size() != size) {
    // The stage before does not know that this rank cannot use it.
    if (outcome_.ok()) outcome_ = Internal("rank", "the stage before handed on another number of rows");
    return Discard(*stages_, tag, from, size);
  }
  const absl::StatusOr<size_t> received = stages_->Receive(tag, from, Hidden());
  if (!received.ok()) return received.status();
  if (*received != size) outcome_ = Internal("rank", "the stage before announced another number of rows");
  return absl::OkStatus();
}

absl::Status RankStage::HandOn() noexcept {
  if (layout_.last_stage()) return absl::OkStatus();
  const int32_t to = layout_.InStage(layout_.stage() + 1);
  if (outcome_.ok() && Hidden().empty()) outcome_ = Internal("rank", "its backend cannot be a stage");
  const absl::Span<const uint8_t> hidden = outcome_.ok() ? Hidden() : absl::Span<uint8_t>();
  const HandedOn head = HeadOf(outcome_, hidden.size());
  TSR_RETURN_IF_ERROR(SendValue(*stages_, {0, number_, kHandedOnOperation}, to, head));
  return hidden.empty() ? absl::OkStatus() : stages_->Send({0, number_, kHiddenOperation}, to, hidden);
}

absl::Span<uint8_t> RankStage::Hidden() const noexcept {
  const absl::Span<float> rows = context_->HiddenState(*step_);
  return {reinterpret_cast<uint8_t*>(rows.data()), rows.size() * sizeof(float)};
}

}  // namespace tessera
