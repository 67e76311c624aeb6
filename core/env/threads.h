// The seam for threads: how many the machine grants, how one starts, and the pool that computes.
#ifndef TESSERA_CORE_ENV_THREADS_H_
#define TESSERA_CORE_ENV_THREADS_H_

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/env/pause_source.h"

namespace tessera {

// How many threads may compute at once: the least of the affinity mask, the cgroup's CPU quota (v1 and v2,
// rounded up) and the processors online; at least 1, at most 1024. Another `root` than "/" is a test's tree:
// only files below it count, and where they set no limit the answer is 1024.
int GrantedThreads(absl::string_view root = "/");

// One thread of the library. It blocks asynchronous signals (SEGV, BUS, FPE, ILL, TRAP, SYS and ABRT stay
// open for the host's crash handler), starts with the default floating-point modes whatever its creator set,
// and has touched its exception globals before `body` runs, so that a throw without memory is safe. Does not
// throw; kLimitExceeded where the system refuses a thread.
class Thread {
 public:
  // `body` must not let an exception out. `name` is cut to 15 characters.
  static absl::StatusOr<std::unique_ptr<Thread>> Start(absl::string_view name, std::function<void()> body);
  ~Thread();  // joins; on the thread itself it only lets go
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

 private:
  Thread() = default;
  static void* Main(void* self);
  std::function<void()> body_;
  char name_[16] = {};
  pthread_t handle_ = {};
  bool started_ = false;
};

// A fork-join pool. One thread at a time calls Run; that thread works too, so a pool of 1 has no worker.
// Workers spin between Wake and Sleep (the length of a batch) and otherwise sleep, so an idle engine uses no
// CPU.
class ThreadPool {
 public:
  // `threads` counts the caller: threads - 1 workers are started. 1 to 1024.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls task(context, index, worker) once for every index in [0, count), on any thread of the pool, in any
  // order; `worker` is in [0, threads()) and two calls with one worker never overlap. Returns when all are
  // done. Allocates nothing. Tasks do not throw, do not wait for each other and do not call Run. Outside Wake
  // and Sleep it wakes the workers for this one call.
  using Task = void (*)(void* context, int64_t index, int worker);
  void Run(int64_t count, Task task, void* context) noexcept;

  // As Run, but begins no further index once `pause` (asked after each; null: never) says so: returns how
  // many were run, the indices from 0 on, at least one where there is one.
  int64_t RunSome(int64_t count, Task task, void* context, PauseSource* pause) noexcept;

  template <typename Function>
  void ParallelFor(int64_t count, Function& function) noexcept {
    Run(count, &Call<Function>, &function);
  }
  template <typename Function>
  int64_t ParallelForSome(int64_t count, Function& function, PauseSource* pause) noexcept {
    return RunSome(count, &Call<Function>, &function, pause);
  }

  // Around a batch, by the thread that calls Run: from Wake on workers stay awake for the next Run; after
  // Sleep they give the processor back. Each may be called twice in a row.
  void Wake() noexcept;
  void Sleep() noexcept;

 private:
  template <typename Function>
  static void Call(void* context, int64_t index, int worker) {
    (*static_cast<Function*>(context))(index, worker);
  }

  struct State;
  explicit ThreadPool(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_THREADS_H_
