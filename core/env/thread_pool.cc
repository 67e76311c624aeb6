// The fork-join pool: indices are claimed one by one from a shared counter, so a thread that the system took
// off its processor delays only the index that it holds. Knows nothing of what it computes.
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/env/threads.h"

namespace tessera {
namespace {

constexpr int kMaxThreads = 1024;
constexpr size_t kCacheLineBytes = 64;

// Ticket: the round's number above, a bit that ends the round early, the indices left to claim below.
// Claiming swaps the whole word, so a thread that looked at an earlier round cannot take an index of a later
// one. 40 bits of round numbers do not come round while a thread stands between its look and its swap: that
// would be 12 days at a million rounds a second.
constexpr int kRoundShift = 24;
constexpr uint64_t kPaused = uint64_t{1} << (kRoundShift - 1);
constexpr uint64_t kLeftMask = kPaused - 1;
constexpr int64_t kMaxRound = int64_t{1} << (kRoundShift - 2);

bool CanClaim(uint64_t ticket) { return (ticket & kLeftMask) != 0 && (ticket & kPaused) == 0; }

// About 10 to 20 microseconds of pauses; then the processor is offered to others at each turn, since hosts
// share their cores.
constexpr int kPausesBeforeYield = 400;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Backoff {
 public:
  void Reset() { turns_ = 0; }
  void Wait() {
    if (turns_ < kPausesBeforeYield) {
      ++turns_;
      Pause();
    } else {
      sched_yield();
    }
  }

 private:
  int turns_ = 0;
};

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex word");

void FutexWait(std::atomic<uint32_t>* word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

struct ThreadPool::State {
  // One line: what a worker reads and swaps to claim. The job's fields are written only while no index is
  // left, and read values count only when the swap that follows succeeds; then its round cannot end before
  // the claimer is done.
  alignas(kCacheLineBytes) std::atomic<uint64_t> ticket{0};
  std::atomic<int64_t> end{0};  // the round's last index, plus one
  std::atomic<Task> task{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<PauseSource*> pause{nullptr};

  alignas(kCacheLineBytes) std::atomic<int64_t> finished{0};  // by workers, in this round

  // Odd: awake. Counts up, so that a sleeper's futex wait cannot miss a change.
  alignas(kCacheLineBytes) std::atomic<uint32_t> gate{0};
  std::atomic<bool> stopping{false};

  alignas(kCacheLineBytes) int threads = 1;
  bool awake = false;  // the caller's view of the gate
  std::vector<std::unique_ptr<Thread>> workers;

  int64_t ClaimAndRun(int worker) noexcept;
  int64_t RunRound(int64_t first, int64_t count, Task job, void* job_context,
                   PauseSource* job_pause) noexcept;
  void WorkerMain(int worker) noexcept;
};

// Returns how many indices this thread ran.
int64_t ThreadPool::State::ClaimAndRun(int worker) noexcept {
  int64_t done = 0;
  uint64_t seen = ticket.load(std::memory_order_acquire);
  while (CanClaim(seen)) {
    const int64_t index = end.load(std::memory_order_relaxed) - static_cast<int64_t>(seen & kLeftMask);
    const Task job = task.load(std::memory_order_relaxed);
    void* const job_context = context.load(std::memory_order_relaxed);
    PauseSource* const job_pause = pause.load(std::memory_order_relaxed);
    if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire, std::memory_order_acquire)) {
      continue;
    }
    job(job_context, index, worker);
    ++done;
    // The round cannot end before this thread has reported, so the bit falls into no later one.
    if (job_pause != nullptr && job_pause->ShouldPause()) ticket.fetch_or(kPaused, std::memory_order_acq_rel);
    seen = ticket.load(std::memory_order_acquire);
  }
  return done;
}

// Returns how many indices were run.
int64_t ThreadPool::State::RunRound(int64_t first, int64_t count, Task job, void* job_context,
                                    PauseSource* job_pause) noexcept {
  end.store(first + count, std::memory_order_relaxed);
  task.store(job, std::memory_order_relaxed);
  context.store(job_context, std::memory_order_relaxed);
  pause.store(job_pause, std::memory_order_relaxed);
  finished.store(0, std::memory_order_relaxed);
  const uint64_t round = (ticket.load(std::memory_order_relaxed) >> kRoundShift) + 1;
  ticket.store((round << kRoundShift) | static_cast<uint64_t>(count), std::memory_order_release);

  const int64_t own = ClaimAndRun(0);
  const int64_t run = count - static_cast<int64_t>(ticket.load(std::memory_order_acquire) & kLeftMask);
  const int64_t others = run - own;
  Backoff backoff;
  while (finished.load(std::memory_order_acquire) != others) backoff.Wait();
  return run;
}

void ThreadPool::State::WorkerMain(int worker) noexcept {
  Backoff backoff;
  while (true) {
    const uint32_t seen = gate.load(std::memory_order_acquire);
    if (stopping.load(std::memory_order_acquire)) return;
    if (seen % 2 == 0) {
      FutexWait(&gate, seen);
      backoff.Reset();
      continue;
    }
    const int64_t done = ClaimAndRun(worker);
    if (done != 0) {
      finished.fetch_add(done, std::memory_order_release);
      backoff.Reset();
    } else {
      backoff.Wait();
    }
  }
}

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(int threads) {
  if (threads < 1 || threads > kMaxThreads) {
    return InvalidArgument("threads", absl::StrCat(threads, " is outside 1 to ", kMaxThreads));
  }
  try {
    // From here on the pool's destructor joins whatever was started.
    std::unique_ptr<ThreadPool> pool(new ThreadPool(std::make_unique<State>()));
    State* const state = pool->state_.get();
    state->threads = threads;
    state->workers.reserve(threads - 1);
    for (int worker = 1; worker < threads; ++worker) {
      TSR_ASSIGN_OR_RETURN(std::unique_ptr<Thread> thread,
                           Thread::Start("tsr-pool", [state, worker] { state->WorkerMain(worker); }));
      state->workers.push_back(std::move(thread));
    }
    return pool;
  } catch (const std::bad_alloc&) {
    return BareError(ErrorCode::kOutOfMemory);
  }
}

ThreadPool::ThreadPool(std::unique_ptr<State> state) : state_(std::move(state)) {}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_release);
  state_->gate.fetch_add(1, std::memory_order_release);
  FutexWakeAll(&state_->gate);
  state_->workers.clear();
}

int ThreadPool::threads() const { return state_->threads; }

void ThreadPool::Run(int64_t count, Task task, void* context) noexcept {
  RunSome(count, task, context, nullptr);
}

int64_t ThreadPool::RunSome(int64_t count, Task task, void* context, PauseSource* pause) noexcept {
  if (count <= 0) return 0;
  if (state_->threads == 1 || count == 1) {
    for (int64_t index = 0; index < count; ++index) {
      task(context, index, 0);
      if (pause != nullptr && pause->ShouldPause()) return index + 1;
    }
    return count;
  }
  const bool was_awake = state_->awake;
  Wake();
  int64_t done = 0;
  while (done < count) {
    const int64_t wanted = std::min(count - done, kMaxRound);
    const int64_t run = state_->RunRound(done, wanted, task, context, pause);
    done += run;
    if (run < wanted) break;
  }
  if (!was_awake) Sleep();
  return done;
}

void ThreadPool::Wake() noexcept {
  if (state_->awake || state_->threads == 1) return;
  state_->awake = true;
  state_->gate.fetch_add(1, std::memory_order_release);
  FutexWakeAll(&state_->gate);
}

void ThreadPool::Sleep() noexcept {
  if (!state_->awake) return;
  state_->awake = false;
  state_->gate.fetch_add(1, std::memory_order_release);
}

}  // namespace tessera
