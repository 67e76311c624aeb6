// A region's phases, each a number of tasks over the pool, one phase after the other. The code of a region
// calls them in the same order with the same numbers in every slice: what earlier slices did is passed over,
// so it needs to remember nothing itself.
#ifndef TESSERA_CORE_CPU_REGION_PHASES_H_
#define TESSERA_CORE_CPU_REGION_PHASES_H_

#include <cstdint>

#include "absl/types/span.h"
#include "core/env/pause_source.h"
#include "core/env/threads.h"
#include "core/execute/backend.h"

namespace tessera {

class RegionPhases {
 public:
  // `pause` may be null: the region is done in one slice.
  RegionPhases(ThreadPool* pool, PauseSource* pause, RegionProgress* progress)
      : pool_(pool), pause_(pause), progress_(progress) {}

  int threads() const { return pool_->threads(); }

  // Calls task(index, worker) for those indices in [0, count) that are still to do. False: the slice ends
  // here.
  template <typename Task>
  bool Run(int64_t count, const Task& task) {
    return RunPhase(count, [&](int64_t first) {
      auto shifted = [&task, first](int64_t index, int worker) { task(first + index, worker); };
      return pool_->ParallelForSome(count - first, shifted, pause_);
    });
  }

  // By the calling thread alone: for tasks that are shorter than a fork and join.
  template <typename Task>
  bool RunHere(int64_t count, const Task& task) {
    return RunPhase(count, [&](int64_t first) {
      int64_t index = first;
      do {
        task(index++, 0);
      } while (index < count && !Paused());
      return index - first;
    });
  }

  // What this rank brings to the others. False: the slice ends here, for the exchange.
  bool Exchange(absl::Span<const uint8_t> outgoing) {
    if (phase_++ < progress_->phase) return true;
    if (progress_->exchange != ExchangeState::kDone) {
      progress_->exchange = ExchangeState::kWanted;
      progress_->outgoing = outgoing;
      return false;
    }
    progress_->exchange = ExchangeState::kNone;
    ++progress_->phase;
    progress_->next = 0;
    return true;
  }

  // A phase of one short action.
  template <typename Action>
  void Once(const Action& action) {
    if (phase_++ < progress_->phase) return;
    action();
    ++progress_->phase;
    progress_->next = 0;
  }

  int32_t turn() const { return progress_->turn; }
  absl::Span<const absl::Span<const uint8_t>> incoming() const { return progress_->incoming; }

 private:
  bool Paused() const { return pause_ != nullptr && pause_->ShouldPause(); }

  template <typename RunFrom>
  bool RunPhase(int64_t count, const RunFrom& run_from) {
    if (phase_++ < progress_->phase) return true;
    if (progress_->next < count) {
      if (computed_ && Paused()) return false;
      progress_->next += run_from(progress_->next);
      computed_ = true;
      if (progress_->next < count) return false;
    }
    ++progress_->phase;
    progress_->next = 0;
    return true;
  }

  ThreadPool* pool_;
  PauseSource* pause_;
  RegionProgress* progress_;
  int32_t phase_ = 0;      // the next one called
  bool computed_ = false;  // something, in this slice
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_REGION_PHASES_H_
