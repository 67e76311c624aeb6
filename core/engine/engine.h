// The engine: sessions, their requests, and the step that computes them together. Any thread may call any
// method; one steps. A step reads: plan, reserve, run, commit.
#ifndef TESSERA_CORE_ENGINE_ENGINE_H_
#define TESSERA_CORE_ENGINE_ENGINE_H_

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/base/log.h"
#include "core/base/status.h"
#include "core/cache/kv_cache.h"
#include "core/engine/batch.h"
#include "core/engine/engine_options.h"
#include "core/engine/loaded_model.h"
#include "core/engine/seat.h"
#include "core/engine/session_state.h"
#include "core/env/clock.h"
#include "core/env/threads.h"
#include "core/execute/executor.h"
#include "core/request/session.h"
#include "core/schedule/scheduler.h"

namespace tessera {

struct StepStats {
  int64_t elapsed_ns = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generated_tokens = 0;
  bool work_left = false;
};

struct EngineMetrics {
  uint64_t batches = 0, prompt_tokens = 0, generated_tokens = 0;
  uint64_t requests_accepted = 0, requests_finished = 0, batches_failed = 0, evictions = 0;
  uint64_t preemptions = 0, shared_tokens = 0, copied_blocks = 0;
  uint64_t compute_ns = 0;
  uint64_t cache_bytes = 0, scratch_bytes = 0;
  int32_t sessions = 0, requests_running = 0, requests_queued = 0, threads = 0;
  int64_t blocks_total = 0, blocks_free = 0;
  int32_t block_tokens = 0;
  DeviceTimes device;
};

// Wakes the engine's thread. Lives on its own, so that a queue may hold it when the engine is gone.
class WorkSignal final : public RoomListener {
 public:
  void OnRoom() noexcept override { Notify(); }
  void Notify() noexcept;
  uint64_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
  // Until the generation differs from `seen` or `timeout_ns` has passed (negative: no end).
  void Wait(uint64_t seen, int64_t timeout_ns) noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<uint64_t> generation_{0};
};

class Engine : public std::enable_shared_from_this<Engine> {
 public:
  // `backend` has the layout that the model was loaded with; `clock` and `memory` outlive the engine.
  static absl::StatusOr<std::shared_ptr<Engine>> Create(std::shared_ptr<const LoadedModel> model,
                                                        std::shared_ptr<const Backend> backend,
                                                        const EngineOptions& options, Clock* clock,
                                                        MemorySource* memory, Logger log);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const LoadedModel& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }

  absl::StatusOr<std::shared_ptr<Session>> CreateSession(bool keep_logits);
  // The source may have a request: the fork is as of the last commit.
  absl::StatusOr<std::shared_ptr<Session>> Fork(Session& source, bool keep_logits);
  absl::Status Rewind(Session& session, size_t tokens);
  // A saved session (engine_state.cc). `size` gets the bytes that it takes, also with kBufferTooSmall.
  absl::Status Save(Session& session, bool with_cache, absl::Span<uint8_t> state, size_t* size);
  // Everything is checked before anything changes. Without room in the cache, or without `with_cache`, the
  // session has its tokens only and computes them again.
  absl::StatusOr<std::shared_ptr<Session>> Restore(absl::Span<const uint8_t> state, bool with_cache,
                                                   bool keep_logits);
  // The session's blocks go back to the pool; it computes its tokens again when it goes on.
  absl::Status Park(Session& session);
  absl::Status Append(Session& session, absl::Span<const int32_t> tokens);
  absl::StatusOr<uint64_t> Generate(const std::shared_ptr<Session>& session, RequestParams params,
                                    std::shared_ptr<EventQueue> queue, uint64_t tag);
  void Cancel(Session& session, CancelEffect effect) noexcept;
  void ReleaseSession(Session& session) noexcept;
  size_t TokenCount(Session& session) noexcept;
  absl::StatusOr<size_t> CopyTokens(Session& session, size_t first, int32_t* tokens, size_t capacity);
  // `count` gets the vocabulary's size, also with kBufferTooSmall.
  absl::Status CopyLogits(Session& session, float* logits, size_t capacity, size_t* count);

  // budget_ns: 0 the least possible, negative one whole batch. kWrongState on a threaded engine, kBusy when
  // another steps. With `until`, which may be null, it also returns as soon as that queue has something.
  absl::Status Step(int64_t budget_ns, StepStats* stats, EventQueue* until = nullptr);
  // Of a rank that follows: carries out what the leader tells until that closes (OK), or a rank is lost or
  // this engine closed (kLost). kWrongState on any other engine.
  absl::Status Serve();
  // For who steps when there is work: what changes with every submission, cancel, drain and close, and a wait
  // for the next such change, the next deadline or the timeout (negative: none).
  const std::shared_ptr<WorkSignal>& signal() const { return signal_; }
  void WaitForWork(uint64_t seen, int64_t timeout_ns) noexcept;
  EngineMetrics GetMetrics() noexcept;
  // Idempotent; every event is posted when it returns. On the stepping thread itself, and that is inside a
  // callback of the step, the step's end finishes it.
  void Close() noexcept;
  // Waits for nobody: whoever steps finishes the close.
  void CloseSoon() noexcept;
  bool closed() const noexcept { return closing_.load(std::memory_order_acquire); }

 private:
  class StepStop;
  class Lender;
  class Pinned;
  // Queues that became ready while the mutex was held, told when it no longer is. It keeps every queue noted
  // until then: with the last reference the host's `drop` is called, which must find no lock held either.
  class Ready {
   public:
    explicit Ready(size_t capacity) { queues_.reserve(capacity); }
    void Note(const std::shared_ptr<EventQueue>& queue, bool became_ready) noexcept;
    void Tell() noexcept;

   private:
    struct Noted {
      std::shared_ptr<EventQueue> queue;
      bool became_ready;
    };
    std::vector<Noted> queues_;
  };

  Engine(std::shared_ptr<const LoadedModel> model, std::shared_ptr<const Backend> backend,
         const EngineOptions& options, Clock* clock, Logger log, Seat seat);

  bool threaded() const { return !options_.stepped && follower_ == nullptr; }
  void ThreadMain() noexcept;
  bool TakeStep() noexcept;  // false: another thread steps
  void GiveStep() noexcept;
  void WaitForStep() noexcept;
  void FinishClose() noexcept;  // nobody steps any more

  // The stepper's side (engine_step.cc).
  void RunStep(int64_t budget_ns, StepStats* stats, EventQueue* until) noexcept;
  bool RunBatch(StepStop& stop, StepStats* stats);
  bool BeginBatch();
  void CommitOldest(StepStats* stats) noexcept;
  void RollBack(size_t batch, ErrorCode code, absl::string_view static_message) noexcept;
  void RollBackAll(ErrorCode code, absl::string_view static_message) noexcept;
  void Retire(size_t batch) noexcept;
  void Lose() noexcept;
  void EndAll(FinishReason reason, ErrorCode code, absl::string_view static_message) noexcept;
  bool Unwanted() const noexcept;
  void AcceptLocked(const Batch::Entry& entry, StepStats* stats) noexcept;
  void AcceptTokenLocked(Session& session, Request& request, const SampleRow& sample) noexcept;
  // FinishLocked by the stepper, which notes the queue.
  void EndLocked(Session& session, FinishReason reason, ErrorCode code, absl::string_view static_message,
                 bool flush) noexcept;
  bool EvictIdleSessionLocked(const Session* except) noexcept;
  bool ExpireDeadlines() noexcept;

  // Mutex held. Ends the session's request; true: call its queue's CallReady once the mutex is gone.
  bool FinishLocked(Session& session, FinishReason reason, ErrorCode code, absl::string_view static_message,
                    bool flush) noexcept;
  void RetreatLocked(Session& session, size_t computed) noexcept;
  void SettleVoidLocked(Session& session) noexcept;
  void DropLocked(Session& session) noexcept;  // a released session leaves
  absl::Status CheckUsableLocked() const;
  absl::Status CheckIdleLocked(const Session& session) const;
  std::shared_ptr<Session> NewSession(bool keep_logits) const;
  absl::Status OpenLocked(const std::shared_ptr<Session>& session);
  void UpdateDeadlineLocked() noexcept;
  // Keys and values that this process can read: all of them, in the host's memory.
  bool CacheIsHere() const { return options_.ranks.size() == 1 && backend_->in_host_memory(); }
  int64_t LongestTokens() const;                                   // of a sequence in this cache
  absl::Status CheckRoomLocked() const;                            // for one more session
  StateDescription Describe(size_t tokens, int64_t cached) const;  // what a session would be saved as
  // Blocks for a session that is not open yet; false: there are none to be had.
  bool ReceiveLocked(Pinned& pinned, int64_t tokens) noexcept;

  const std::shared_ptr<const LoadedModel> model_;
  const std::shared_ptr<const Backend> backend_;
  const EngineOptions options_;
  Clock* const clock_;
  const Logger log_;
  const std::shared_ptr<WorkSignal> signal_;

  std::mutex mutex_;  // guards what follows, and every Session
  KvCache cache_;
  Scheduler scheduler_;
  std::vector<std::shared_ptr<Session>> sessions_;
  uint64_t next_session_ = 1;
  uint64_t next_request_ = 1;
  uint64_t step_number_ = 0;
  EngineMetrics metrics_;
  std::atomic<int64_t> next_deadline_ns_{0};  // written under the mutex
  bool lost_ = false;  // the device or a rank is gone: nothing can be computed any more
  std::atomic<bool> closing_{false};

  std::mutex step_mutex_;  // guards `stepping_` and `stepper_`; whoever set it owns what follows
  std::condition_variable step_done_;
  bool stepping_ = false;
  pthread_t stepper_ = {};
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<RankFollower> follower_;  // null: sessions are here
  // Changed under the mutex too, which alone lets others read them.
  std::vector<std::unique_ptr<Batch>> flight_;  // planned and not yet ended, the oldest first
  std::vector<std::unique_ptr<Batch>> spare_;   // with `flight_` as many as the executor is deep
  Ready ready_;
  bool close_finished_ = false;

  std::mutex thread_mutex_;
  std::unique_ptr<Thread> thread_;  // threaded mode; it owns a reference to the engine while it runs
};

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_ENGINE_H_
