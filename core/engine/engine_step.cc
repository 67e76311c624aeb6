// The engine's step: begin what can be begun, run, commit the oldest. One thread is inside at a time.
#include <algorithm>
#include <new>
#include <utility>

#include "core/base/float_control.h"
#include "core/engine/engine.h"

namespace tessera {

// Ends a run at the budget's end, when the engine closes, when nobody wants the batch any more, or when what
// the caller waits for is there; and when a deadline has passed, since its event is told outside the run.
class Engine::StepStop final : public StopCondition {
 public:
  StepStop(Engine* engine, int64_t stop_at_ns, EventQueue* until)
      : engine_(engine), stop_at_ns_(stop_at_ns), until_(until) {}
  bool ShouldStop() noexcept override {
    if (engine_->closed() || engine_->Unwanted()) return true;
    const int64_t now = engine_->clock_->NowNs();
    const int64_t deadline = engine_->next_deadline_ns_.load(std::memory_order_relaxed);
    const bool expired = deadline != 0 && now >= deadline;
    return expired || now >= stop_at_ns_ || (until_ != nullptr && until_->Ready());
  }
  // Whether the caller's reasons to stop hold.
  bool Over() const noexcept {
    return engine_->closed() || engine_->clock_->NowNs() >= stop_at_ns_ ||
           (until_ != nullptr && until_->Ready());
  }
  // Whether a deadline has passed. Executors need not have asked ShouldStop for that.
  bool Expired() const noexcept {
    const int64_t deadline = engine_->next_deadline_ns_.load(std::memory_order_relaxed);
    return deadline != 0 && engine_->clock_->NowNs() >= deadline;
  }
  bool ShouldPause() noexcept override {
    if (engine_->closed() || engine_->Unwanted()) return true;
    const int64_t deadline = engine_->next_deadline_ns_.load(std::memory_order_relaxed);
    const int64_t until = deadline == 0 ? stop_at_ns_ : std::min(deadline, stop_at_ns_);
    if (until != INT64_MAX && engine_->clock_->NowNs() >= until) return true;
    return until_ != nullptr && until_->Ready();
  }

 private:
  Engine* engine_;
  int64_t stop_at_ns_;
  EventQueue* until_;
};

bool Engine::TakeStep() noexcept {
  std::lock_guard<std::mutex> lock(step_mutex_);
  if (stepping_) return false;
  stepping_ = true;
  stepper_ = pthread_self();
  return true;
}

void Engine::WaitForStep() noexcept {
  std::unique_lock<std::mutex> lock(step_mutex_);
  step_done_.wait(lock, [this] { return !stepping_; });
  stepping_ = true;
  stepper_ = pthread_self();
}

// Also ends what was closed meanwhile: CloseSoon counts on it where there is no engine's thread.
void Engine::GiveStep() noexcept {
  for (;;) {
    if (!threaded() && closed()) FinishClose();
    std::lock_guard<std::mutex> lock(step_mutex_);
    if (!threaded() && closed() && !close_finished_) continue;
    stepping_ = false;
    step_done_.notify_all();
    return;
  }
}

absl::Status Engine::Step(int64_t budget_ns, StepStats* stats, EventQueue* until) {
  if (follower_ != nullptr) return WrongState("engine", "it follows another rank: tsr_engine_serve computes");
  if (!options_.stepped)
    return WrongState("engine", "it has its own thread; 'engine.stepped' makes one without");
  if (closed()) return Closed("engine", "it was closed");
  const std::shared_ptr<Engine> self = shared_from_this();  // a callback may drop the last other owner
  if (!TakeStep()) {
    return closed() ? Closed("engine", "it was closed") : Busy("engine", "another thread steps it");
  }
  if (close_finished_) {
    GiveStep();
    return Closed("engine", "it was closed");
  }
  RunStep(budget_ns, stats, until);
  executor_->Rest();
  GiveStep();
  return absl::OkStatus();
}

absl::Status Engine::Serve() {
  if (follower_ == nullptr) {
    return WrongState("engine", "it is not one of the ranks that follow: 'engine.rank' is 0");
  }
  if (closed()) return Closed("engine", "it was closed");
  const std::shared_ptr<Engine> self = shared_from_this();
  if (!TakeStep()) return Busy("engine", "another thread serves");
  absl::Status status = follower_->Serve();
  GiveStep();
  return status;
}

void Engine::ThreadMain() noexcept {
  for (;;) {
    // Read first: what is signalled after this, a close too, ends the wait below.
    const uint64_t seen = signal_->generation();
    if (closed()) break;
    StepStats stats;
    WaitForStep();
    RunStep(-1, &stats, nullptr);
    if (!stats.work_left) executor_->Rest();
    GiveStep();
    if (stats.work_left) continue;
    WaitForWork(seen, -1);
  }
  WaitForStep();
  FinishClose();
  GiveStep();
}

void Engine::WaitForWork(uint64_t seen, int64_t timeout_ns) noexcept {
  const int64_t deadline = next_deadline_ns_.load(std::memory_order_relaxed);
  if (deadline != 0) {
    const int64_t left = std::max<int64_t>(deadline - clock_->NowNs(), 0);
    timeout_ns = timeout_ns < 0 ? left : std::min(timeout_ns, left);
  }
  signal_->Wait(seen, timeout_ns);
}

void Engine::RunStep(int64_t budget_ns, StepStats* stats, EventQueue* until) noexcept {
  const int64_t start = clock_->NowNs();
  int64_t stop_at = INT64_MAX;
  if (budget_ns >= 0 && __builtin_add_overflow(start, budget_ns, &stop_at)) stop_at = INT64_MAX;
  StepStop stop(this, stop_at, until);
  const bool one_batch = budget_ns < 0 && until == nullptr;
  try {
    while (RunBatch(stop, stats) && !one_batch && !stop.Over()) {
    }
  } catch (const std::bad_alloc&) {
    executor_->Drop();
    RollBackAll(ErrorCode::kOutOfMemory, "memory ran out during the batch");
  } catch (...) {
    executor_->Drop();
    RollBackAll(ErrorCode::kInternal, "an unexpected exception during the batch");
  }
  if (!flight_.empty()) {
    stats->work_left = true;
  } else {
    std::lock_guard<std::mutex> lock(mutex_);
    stats->work_left = !closed() && scheduler_.HasWork();
  }
  stats->elapsed_ns = clock_->NowNs() - start;
}

// Whether the executor may stop in the middle of the oldest batch, since nobody wants it any more. By whoever
// steps, and the threads that compute for it.
bool Engine::Unwanted() const noexcept {
  return executor_->may_drop() && flight_.front()->live.load(std::memory_order_relaxed) == 0;
}

// One batch, or what the budget allows of it. False: there is nothing to do, or the budget ended inside.
bool Engine::RunBatch(StepStop& stop, StepStats* stats) {
  while (!closed() && !spare_.empty() && BeginBatch()) {
  }
  if (closed() || flight_.empty()) return false;  // closed by a callback that BeginBatch made, for one
  const int64_t start = clock_->NowNs();
  absl::StatusOr<bool> done = false;
  do {
    const ScopedFloatControl float_control;  // callbacks find the host's own modes
    done = executor_->Run(stop);
  } while (done.ok() && !*done && stop.Expired() && ExpireDeadlines() && !stop.Over());
  const int64_t elapsed = clock_->NowNs() - start;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    metrics_.compute_ns += static_cast<uint64_t>(elapsed);
    metrics_.device = executor_->times();
  }
  if (!done.ok()) {
    log_.Write(LogLevel::kError, done.status().message());
    if (executor_->lost()) {
      Lose();
      return false;
    }
    RollBack(0, CodeOf(done.status()), "the batch failed on its device");
    return true;
  }
  if (!*done) {
    if (!Unwanted()) return false;
    executor_->Drop();
  }
  CommitOldest(stats);
  return true;
}

// Whether the batch is still wanted by anyone.
bool Engine::ExpireDeadlines() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    scheduler_.ForEachExpired(clock_->NowNs(), [this](Session* session) {
      EndLocked(*session, FinishReason::kDeadline, ErrorCode::kDeadlineExceeded, "", true);
    });
  }
  ready_.Tell();
  return !Unwanted();
}

}  // namespace tessera
