#include "core/ranks/rank_executor.h"

#include <new>
#include <utility>

#include "core/base/status.h"
#include "core/ranks/rank_messages.h"
#include "core/ranks/sample_record.h"

namespace tessera {
RankExecutor::RankExecutor(RankParts parts)
    : layout_(parts.layout),
      shard_(std::move(parts.shard)),
      limits_(parts.limits),
      world_(std::move(parts.world)),
      stages_(std::move(parts.stages)),
      tensor_(std::move(parts.tensor)),
      stage_(parts.layout, shard_.get(), std::move(parts.context), stages_.get(), tensor_.get()) {
  record_.reserve(MostStepRecordBytes(limits_));
  results_.resize(MostSampleRecordBytes(limits_.samples, 0));
  steps_.reserve(static_cast<size_t>(depth()));
}

void RankExecutor::Close() noexcept {
  if (std::exchange(closed_, true)) return;
  Drop();
  ++number_;
  if (!lost_) (void)Tell(RecordKind::kClose, {});
}

size_t RankExecutor::scratch_bytes() const noexcept { return stage_.context().scratch_bytes(); }

// The group is gone for good; every other rank shall know.
absl::Status RankExecutor::Lose(absl::Status why) noexcept {
  lost_ = true;
  world_->Abort();
  if (stages_ != nullptr) stages_->Abort();
  if (tensor_ != nullptr) tensor_->Abort();
  return why;
}

absl::Status RankExecutor::Tell(RecordKind kind, absl::Span<const uint8_t> record) noexcept {
  RecordHead head;
  head.kind = static_cast<uint32_t>(kind);
  head.size_bytes = static_cast<uint32_t>(record.size());
  for (int32_t rank = 1; rank < layout_.size(); ++rank) {
    TSR_RETURN_IF_ERROR(SendValue(*world_, {0, number_, kRecordHeadOperation}, rank, head));
    if (!record.empty()) TSR_RETURN_IF_ERROR(world_->Send({0, number_, kRecordOperation}, rank, record));
  }
  return absl::OkStatus();
}

absl::Status RankExecutor::Begin(const StepView* step) noexcept {
  if (lost_) return BareError(ErrorCode::kLost);
  steps_.push_back({step, 0, absl::OkStatus()});
  return absl::OkStatus();
}

// A step is told right before this rank's own part of it: whoever waits for the others' messages to go out
// then has nothing to do that they wait for.
absl::Status RankExecutor::TellStep(Step* step) noexcept {
  try {
    WriteStepRecord(*step->view, limits_.groups, limits_.block_tokens, &record_);
  } catch (const std::bad_alloc&) {
    step->outcome = BareError(ErrorCode::kOutOfMemory);
    return absl::OkStatus();
  }
  step->number = ++number_;
  return Tell(RecordKind::kStep, record_);
}

absl::StatusOr<bool> RankExecutor::RunOwnParts(StopCondition& condition) noexcept {
  while (ran_ < steps_.size()) {
    Step& step = steps_[ran_];
    if (!running_) {
      TSR_RETURN_IF_ERROR(TellStep(&step));
      if (step.number == 0) {  // nobody knows of it
        ++ran_;
        continue;
      }
      const RankSignal signal = dropping_ && may_drop() ? RankSignal::kAbandon : RankSignal::kGo;
      stage_.Begin(step.number, step.view, absl::OkStatus(), signal);
      running_ = true;
    }
    TSR_ASSIGN_OR_RETURN(const bool over, stage_.Run(condition));
    if (!over) return false;
    step.outcome = stage_.outcome();
    running_ = false;
    ++ran_;
  }
  return true;
}

absl::StatusOr<bool> RankExecutor::Run(StopCondition& condition) noexcept {
  absl::StatusOr<bool> ran = lost_ ? absl::StatusOr<bool>(FailedElsewhere()) : RunOwnParts(condition);
  if (ran.ok() && !*ran) return false;
  const Step oldest = steps_.front();
  absl::Status outcome;
  if (!ran.ok()) {
    outcome = Lose(std::move(ran).status());
  } else if (oldest.number != 0 && layout_.reporter() != 0) {
    outcome = ReceiveResults(oldest);
  } else {
    outcome = oldest.outcome;
  }
  steps_.erase(steps_.begin());
  ran_ = lost_ ? 0 : ran_ - 1;
  running_ = running_ && !lost_;
  if (!outcome.ok()) return outcome;
  return true;
}

absl::Status RankExecutor::ReceiveResults(const Step& step) noexcept {
  HandedOn head;
  const int32_t from = layout_.reporter();
  absl::Status status = ReceiveValue(*world_, {0, step.number, kResultsHeadOperation}, from, &head);
  if (!status.ok()) return Lose(std::move(status));
  if (head.code != 0) return StatusOf(head);
  if (head.size_bytes > MostSampleRecordBytes(step.view->sample_count, shard_->spec.vocabulary_size)) {
    return Lose(
        Error(ErrorCode::kLost, "rank", "the last stage announced more results than the step has samples"));
  }
  if (head.size_bytes == 0) return ReadSampleRecord({}, *step.view, shard_->spec.vocabulary_size);
  try {
    if (results_.size() < head.size_bytes) results_.resize(head.size_bytes);
  } catch (const std::bad_alloc&) {
    status = Discard(*world_, {0, step.number, kResultsOperation}, from, head.size_bytes);
    if (!status.ok()) return Lose(std::move(status));
    return BareError(ErrorCode::kOutOfMemory);
  }
  absl::StatusOr<size_t> size = world_->Receive({0, step.number, kResultsOperation}, from,
                                                {results_.data(), static_cast<size_t>(head.size_bytes)});
  if (!size.ok()) return Lose(std::move(size).status());
  return ReadSampleRecord({results_.data(), *size}, *step.view, shard_->spec.vocabulary_size);
}

// What was told to the other ranks they go through: in one stage it is abandoned at their next meeting; in a
// pipeline it runs to its end, and what it samples is thrown away.
void RankExecutor::Drop() noexcept {
  NeverStop never;
  while (steps_.size() > ran_ + (running_ ? 1 : 0)) steps_.pop_back();  // nobody knows of them yet
  dropping_ = true;
  if (may_drop()) stage_.Abandon();
  while (!steps_.empty() && !lost_) (void)Run(never);
  dropping_ = false;
  steps_.clear();
  ran_ = 0;
  running_ = false;
}

}  // namespace tessera
