// tsr_queue.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "core/env/clock.h"

namespace tessera::capi {
namespace {

// The engine's records are the header's, field by field.
static_assert(sizeof(tsr_event) == sizeof(EventHead) && offsetof(tsr_event, tag) == offsetof(EventHead, tag));
static_assert(sizeof(tsr_token_logprob) == sizeof(TokenLogprob));
static_assert(sizeof(tsr_event_tokens) == sizeof(TokensRecord));
static_assert(offsetof(tsr_event_tokens, request) == offsetof(TokensRecord, request));
static_assert(offsetof(tsr_event_tokens, token_offset) == offsetof(TokensRecord, token_offset));
static_assert(offsetof(tsr_event_tokens, text_size) == offsetof(TokensRecord, text_size));
static_assert(offsetof(tsr_event_tokens, logprob_offset) == offsetof(TokensRecord, logprob_offset));
static_assert(offsetof(tsr_event_tokens, top_offset) == offsetof(TokensRecord, top_offset));
static_assert(sizeof(tsr_event_finished) == sizeof(FinishedRecord));
static_assert(offsetof(tsr_event_finished, reason) == offsetof(FinishedRecord, reason));
static_assert(offsetof(tsr_event_finished, prompt_tokens) == offsetof(FinishedRecord, prompt_tokens));
static_assert(offsetof(tsr_event_finished, last_token) == offsetof(FinishedRecord, last_token));
static_assert(offsetof(tsr_event_finished, message_offset) == offsetof(FinishedRecord, message_offset));
static_assert(offsetof(tsr_event_finished, queued_ns) == offsetof(FinishedRecord, queued_ns));
static_assert(offsetof(tsr_event_finished, decode_ns) == offsetof(FinishedRecord, decode_ns));
static_assert(kEventTokens == TSR_EVENT_TOKENS && kEventFinished == TSR_EVENT_FINISHED);
static_assert(static_cast<int>(FinishReason::kEnd) == TSR_FINISH_END);
static_assert(static_cast<int>(FinishReason::kStop) == TSR_FINISH_STOP);
static_assert(static_cast<int>(FinishReason::kLength) == TSR_FINISH_LENGTH);
static_assert(static_cast<int>(FinishReason::kContext) == TSR_FINISH_CONTEXT);
static_assert(static_cast<int>(FinishReason::kCancelled) == TSR_FINISH_CANCELLED);
static_assert(static_cast<int>(FinishReason::kDeadline) == TSR_FINISH_DEADLINE);
static_assert(static_cast<int>(FinishReason::kError) == TSR_FINISH_ERROR);
static_assert(static_cast<int>(FinishReason::kClosed) == TSR_FINISH_CLOSED);

class HostReady final : public ReadyListener {
 public:
  explicit HostReady(std::shared_ptr<const CallbackTable> table)
      : table_(std::move(table)), callbacks_(table_->As<tsr_ready_callbacks>()) {}
  void OnReady() noexcept override {
    if (callbacks_.on_ready == nullptr) return;
    const CallbackScope scope;
    callbacks_.on_ready(callbacks_.user);
  }

 private:
  std::shared_ptr<const CallbackTable> table_;
  tsr_ready_callbacks callbacks_;
};

absl::StatusOr<std::unique_ptr<tsr_queue>> MakeQueue(tsr_runtime* runtime, const tsr_options* options) {
  TSR_RETURN_IF_ERROR(CheckPointer(runtime, "runtime"));
  TSR_ASSIGN_OR_RETURN(const Settings* settings, ScopedSettings(options, {"queue."}, "tsr_queue_create"));
  std::unique_ptr<ReadyListener> ready;
  if (settings != nullptr) {
    if (auto table = settings->Callbacks("queue.on_ready"); table != nullptr) {
      ready = std::make_unique<HostReady>(std::move(table));
    }
  }
  auto handle = std::make_unique<tsr_queue>();
  handle->runtime = runtime->core;
  TSR_ASSIGN_OR_RETURN(handle->queue, EventQueue::Create(std::move(ready)));
  RuntimeCore& core = *runtime->core;
  std::lock_guard<std::mutex> lock(core.mutex);
  if (core.closed) return Closed("runtime", "it was closed");
  core.queues.erase(std::remove_if(core.queues.begin(), core.queues.end(),
                                   [](const std::weak_ptr<EventQueue>& queue) { return queue.expired(); }),
                    core.queues.end());
  core.queues.push_back(handle->queue);
  return handle;
}

absl::Status CheckPoll(const tsr_queue* queue, const void* buffer, size_t capacity, const size_t* used) {
  TSR_RETURN_IF_ERROR(CheckPointer(queue, "queue"));
  TSR_RETURN_IF_ERROR(CheckPointer(used, "used"));
  TSR_RETURN_IF_ERROR(CheckRange(buffer, capacity, "buffer"));
  if (reinterpret_cast<uintptr_t>(buffer) % 8 != 0)
    return InvalidArgument("buffer", "it is not aligned to 8 bytes");
  return absl::OkStatus();
}

absl::Status Answer(const EventQueue::PollResult& result, size_t capacity, size_t* used) {
  *used = result.used;
  if (result.busy) return Busy("queue", "another thread polls it");
  if (result.needed != 0) {
    *used = result.needed;
    return Error(ErrorCode::kBufferTooSmall, "buffer",
                 absl::StrCat("the next record has ", result.needed, " bytes, the buffer ", capacity));
  }
  if (result.closed) return Closed("queue", "the runtime was closed and every event was delivered");
  return absl::OkStatus();
}

// Until the queue has something or the timeout is over. Steps a stepped engine; with nothing to compute it
// sleeps until another thread submits, cancels, wakes or closes. kClosed: the engine is, and posts no more.
absl::Status WaitUntilReady(EventQueue& queue, Engine& engine, int64_t timeout_ns) {
  Clock& clock = *MonotonicClock();
  const int64_t start = clock.NowNs();
  for (;;) {
    const uint64_t seen = engine.signal()->generation();  // read first: what comes after this ends the wait
    if (queue.Ready()) return absl::OkStatus();
    if (engine.closed()) {
      engine.Close();  // another thread's may be under way: its last events are awaited
      return queue.Ready() ? absl::OkStatus() : Closed("engine", "it was closed");
    }
    int64_t left = -1;
    if (timeout_ns >= 0) left = std::max<int64_t>(timeout_ns - (clock.NowNs() - start), 0);
    StepStats stats;
    if (engine.options().stepped) {
      const absl::Status status = engine.Step(left < 0 ? INT64_MAX : left, &stats, &queue);
      if (CodeOf(status) == ErrorCode::kClosed) continue;
      TSR_RETURN_IF_ERROR(status);
      if (timeout_ns >= 0) left = std::max<int64_t>(timeout_ns - (clock.NowNs() - start), 0);
    }
    if (left == 0) return absl::OkStatus();
    if (!stats.work_left) engine.WaitForWork(seen, left);
  }
}

}  // namespace
}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_queue_create(tsr_runtime* runtime, const tsr_options* options, tsr_queue** queue,
                            tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(queue, "queue"));
    TSR_ASSIGN_OR_RETURN(std::unique_ptr<tsr_queue> handle, MakeQueue(runtime, options));
    *queue = handle.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_queue_poll(tsr_queue* queue, int64_t timeout_ns, void* buffer, size_t capacity, size_t* used,
                          tsr_error** error) {
  if (used != nullptr) *used = 0;
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPoll(queue, buffer, capacity, used));
    const std::shared_ptr<tessera::EventQueue> core = queue->queue;
    return Answer(core->Poll(timeout_ns, static_cast<uint8_t*>(buffer), capacity), capacity, used);
  });
}

tsr_status tsr_queue_wait(tsr_queue* queue, tsr_engine* engine, int64_t timeout_ns, void* buffer,
                          size_t capacity, size_t* used, tsr_error** error) {
  if (used != nullptr) *used = 0;
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPoll(queue, buffer, capacity, used));
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    const std::shared_ptr<tessera::EventQueue> core = queue->queue;
    const std::shared_ptr<EngineOwner> owner = engine->owner;
    tessera::EventQueue::Poller poller(*core, owner->engine->signal());
    if (!poller.busy()) TSR_RETURN_IF_ERROR(WaitUntilReady(*core, *owner->engine, timeout_ns));
    return Answer(poller.Poll(0, static_cast<uint8_t*>(buffer), capacity), capacity, used);
  });
}

tsr_status tsr_queue_wake(tsr_queue* queue, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(queue, "queue"));
    const std::shared_ptr<tessera::EventQueue> core = queue->queue;  // on_ready may release the handle
    core->Wake();
    return absl::OkStatus();
  });
}

tsr_status tsr_queue_descriptor(tsr_queue* queue, int* descriptor, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(queue, "queue"));
    TSR_RETURN_IF_ERROR(CheckPointer(descriptor, "descriptor"));
    *descriptor = queue->queue->descriptor();
    return absl::OkStatus();
  });
}

void tsr_queue_release(tsr_queue* queue) {
  if (queue == nullptr || Forked()) return;
  queue->queue->Abandon();
  delete queue;
}
