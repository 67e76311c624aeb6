#include "core/ranks/rank_stage.h"

#include <utility>

#include "core/base/status.h"
#include "core/ranks/rank_messages.h"

namespace tessera {
namespace {

bool Lost(const absl::Status& status) { return CodeOf(status) == ErrorCode::kLost; }

}  // namespace

RankStage::RankStage(const RankLayout& layout, const ModelSpec* spec, const Residency* weights,
                     std::unique_ptr<BackendContext> context, Communicator* world, Communicator* tensor)
    : layout_(layout),
      spec_(spec),
      context_(std::move(context)),
      world_(world),
      tensor_(tensor),
      loop_(spec, weights, context_.get(), tensor),
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
    phase_ = Phase::kVote;
  }
  if (phase_ == Phase::kVote) {
    TSR_RETURN_IF_ERROR(Vote());
    phase_ = outcome_.ok() ? Phase::kRegions : Phase::kHandOn;
    if (outcome_.ok()) loop_.Begin(step_, {0, number_, kFirstRegionOperation});
  }
  if (phase_ == Phase::kRegions) {
    if (signal_ == RankSignal::kAbandon) loop_.Abandon();
    absl::StatusOr<bool> done = loop_.Run(condition);
    if (done.ok() && !*done) return false;
    if (Lost(done.status())) return std::move(done).status();
    outcome_ = std::move(done).status();
    phase_ = Phase::kHandOn;
  }
  if (phase_ == Phase::kHandOn) {
    TSR_RETURN_IF_ERROR(HandOn());
    phase_ = Phase::kOver;
  }
  return true;
}

// Every rank of the stage sees the gravest of what they bring, and goes on only where all are ready.
absl::Status RankStage::Vote() {
  if (tensor_ == nullptr) {
    if (outcome_.ok() && signal_ == RankSignal::kAbandon) outcome_ = AbandonedStep();
    return absl::OkStatus();
  }
  const RankSignal mine = outcome_.ok() ? signal_ : RankSignal::kFailed;
  absl::StatusOr<RankSignal> all =
      tensor_->Exchange({0, number_, kVoteOperation}, mine, {}, absl::MakeSpan(votes_));
  if (!all.ok()) return std::move(all).status();
  if (outcome_.ok() && *all == RankSignal::kFailed) outcome_ = FailedElsewhere();
  if (outcome_.ok() && *all == RankSignal::kAbandon) outcome_ = AbandonedStep();
  return absl::OkStatus();
}

absl::Status RankStage::ReceiveHidden() {
  if (layout_.first_stage()) return absl::OkStatus();
  const int32_t from = layout_.InStage(layout_.stage() - 1);
  HandedOn head;
  TSR_RETURN_IF_ERROR(ReceiveValue(*world_, {0, number_, kHandedOnOperation}, from, &head));
  if (head.size_bytes == 0) {
    if (outcome_.ok()) outcome_ = StatusOf(head);
    return absl::OkStatus();
  }
  // It is received even where this rank cannot use it: the stage before does not know.
  const auto size = static_cast<size_t>(head.size_bytes);
  absl::Span<uint8_t> hidden;
  if (outcome_.ok()) {
    const size_t own =
        static_cast<size_t>(step_->row_count) * static_cast<size_t>(spec_->hidden_size) * sizeof(float);
    if (own == size) hidden = {reinterpret_cast<uint8_t*>(context_->HiddenRows()), own};
  }
  if (hidden.empty()) {
    if (outcome_.ok()) outcome_ = Internal("rank", "the stage before handed on another number of rows");
    return Discard(*world_, {0, number_, kHiddenOperation}, from, size);
  }
  const absl::StatusOr<size_t> received = world_->Receive({0, number_, kHiddenOperation}, from, hidden);
  if (!received.ok()) return received.status();
  if (*received != size && outcome_.ok())
    outcome_ = Internal("rank", "the stage before announced another size");
  return absl::OkStatus();
}

absl::Status RankStage::HandOn() {
  if (layout_.last_stage()) return absl::OkStatus();
  const int32_t to = layout_.InStage(layout_.stage() + 1);
  const size_t size = outcome_.ok() ? static_cast<size_t>(step_->row_count) *
                                          static_cast<size_t>(spec_->hidden_size) * sizeof(float)
                                    : 0;
  TSR_RETURN_IF_ERROR(SendValue(*world_, {0, number_, kHandedOnOperation}, to, HeadOf(outcome_, size)));
  if (size == 0) return absl::OkStatus();
  return world_->Send({0, number_, kHiddenOperation}, to,
                      {reinterpret_cast<const uint8_t*>(context_->HiddenRows()), size});
}

}  // namespace tessera
