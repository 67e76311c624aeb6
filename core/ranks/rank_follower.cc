#include "core/ranks/rank_follower.h"

#include <new>
#include <utility>

#include "core/base/float_control.h"
#include "core/base/status.h"
#include "core/ranks/rank_messages.h"
#include "core/ranks/sample_record.h"

namespace tessera {
namespace {

// Longer than any step's record: one that claims to be is none.
constexpr uint32_t kMostRecordBytes = uint32_t{1} << 30;

}  // namespace

RankFollower::RankFollower(RankParts parts, const CacheView* caches)
    : layout_(parts.layout),
      shard_(std::move(parts.shard)),
      world_(std::move(parts.world)),
      stages_(std::move(parts.stages)),
      tensor_(std::move(parts.tensor)),
      step_(parts.limits, caches),
      stage_(parts.layout, shard_.get(), std::move(parts.context), stages_.get(), tensor_.get()) {
  record_.resize(MostStepRecordBytes(parts.limits));
  results_.reserve(MostSampleRecordBytes(parts.limits.samples, 0));
}

absl::Status RankFollower::Serve() noexcept {
  const ScopedFloatControl float_control;
  absl::Status status;
  try {
    status = ServeUntilClose();
  } catch (const std::bad_alloc&) {  // outside of what a step can answer for
    status = BareError(ErrorCode::kOutOfMemory);
  }
  if (status.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    over_ = true;
    return status;
  }
  Abort();
  return AsLoss(std::move(status));
}

absl::Status RankFollower::ServeUntilClose() {
  for (uint64_t number = 1;; ++number) {
    RecordHead head;
    TSR_RETURN_IF_ERROR(ReceiveValue(*world_, {0, number, kRecordHeadOperation}, 0, &head));
    if (head.magic != kStepRecordMagic || head.version != kStepRecordVersion ||
        head.size_bytes > kMostRecordBytes) {
      return Error(ErrorCode::kLost, "rank", "the leader is another version of the library");
    }
    if (head.kind == static_cast<uint32_t>(RecordKind::kClose)) return absl::OkStatus();
    TSR_RETURN_IF_ERROR(ServeStep(number, head));
  }
}

absl::Status RankFollower::ServeStep(uint64_t number, const RecordHead& head) {
  if (record_.size() < head.size_bytes) record_.resize(head.size_bytes);
  absl::StatusOr<size_t> size =
      world_->Receive({0, number, kRecordOperation}, 0, {record_.data(), head.size_bytes});
  if (!size.ok()) return std::move(size).status();
  absl::Status readable;
  try {
    readable = step_.Read({record_.data(), *size});
  } catch (const std::bad_alloc&) {
    readable = BareError(ErrorCode::kOutOfMemory);
  }
  stage_.Begin(number, &step_.view(), std::move(readable));
  NeverStop never;
  const absl::StatusOr<bool> done = stage_.Run(never);
  stage_.context().EndStep();
  if (!done.ok()) return done.status();
  return layout_.rank == layout_.reporter() ? Report(number) : absl::OkStatus();
}

absl::Status RankFollower::Report(uint64_t number) {
  absl::Status outcome = stage_.outcome();
  results_.clear();
  if (outcome.ok()) {
    try {
      WriteSampleRecord(step_.view(), shard_->spec.vocabulary_size, &results_);
    } catch (const std::bad_alloc&) {
      outcome = BareError(ErrorCode::kOutOfMemory);
    }
  }
  const size_t size = outcome.ok() ? results_.size() : 0;
  TSR_RETURN_IF_ERROR(SendValue(*world_, {0, number, kResultsHeadOperation}, 0, HeadOf(outcome, size)));
  if (size == 0) return absl::OkStatus();
  return world_->Send({0, number, kResultsOperation}, 0, {results_.data(), size});
}

void RankFollower::Abort() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (over_) return;
  world_->Abort();
  if (stages_ != nullptr) stages_->Abort();
  if (tensor_ != nullptr) tensor_->Abort();
}

void RankFollower::Leave() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  over_ = true;
  tensor_.reset();
  stages_.reset();
  world_.reset();
}

size_t RankFollower::scratch_bytes() const noexcept { return stage_.context().scratch_bytes(); }

}  // namespace tessera
