// The engine's step: plan, reserve, run, commit. One thread is inside at a time.
#include <algorithm>
#include <new>
#include <utility>

#include "core/base/float_control.h"
#include "core/engine/engine.h"

namespace tessera {

// Ends a run at the budget's end, when the engine closes, or when nobody wants the batch any more; deadlines
// that pass in the meantime end their requests.
class Engine::StepStop final : public StopCondition {
 public:
  StepStop(Engine* engine, int64_t stop_at_ns) : engine_(engine), stop_at_ns_(stop_at_ns) {}
  bool ShouldStop() noexcept override {
    if (engine_->closed()) return true;
    const int64_t now = engine_->clock_->NowNs();
    const int64_t deadline = engine_->next_deadline_ns_.load(std::memory_order_relaxed);
    if (deadline != 0 && now >= deadline) engine_->ExpireDeadlines();
    // A callback of theirs may have closed the engine, or cancelled what the batch is for.
    if (engine_->closed() || engine_->live_entries_.load(std::memory_order_relaxed) == 0) return true;
    return now >= stop_at_ns_;
  }
  bool ShouldPause() noexcept override {
    if (engine_->closed() || engine_->live_entries_.load(std::memory_order_relaxed) == 0) return true;
    const int64_t deadline = engine_->next_deadline_ns_.load(std::memory_order_relaxed);
    const int64_t until = deadline == 0 ? stop_at_ns_ : std::min(deadline, stop_at_ns_);
    return until != INT64_MAX && engine_->clock_->NowNs() >= until;
  }

 private:
  Engine* engine_;
  int64_t stop_at_ns_;
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

void Engine::GiveStep() noexcept {
  std::lock_guard<std::mutex> lock(step_mutex_);
  stepping_ = false;
  step_done_.notify_all();
}

absl::Status Engine::Step(int64_t budget_ns, StepStats* stats) {
  if (!options_.stepped)
    return WrongState("engine", "it has its own thread; 'engine.stepped' makes one without");
  if (closed()) return Closed("engine", "it was closed");
  const std::shared_ptr<Engine> self = shared_from_this();  // a callback may drop the last other owner
  if (!TakeStep()) return Busy("engine", "another thread steps it");
  if (close_finished_) {
    GiveStep();
    return Closed("engine", "it was closed");
  }
  RunStep(budget_ns, stats);
  LetWorkersSleep();
  if (closed()) FinishClose();
  GiveStep();
  return absl::OkStatus();
}

void Engine::ThreadMain() noexcept {
  for (;;) {
    // Read first: what is signalled after this, a close too, ends the wait below.
    const uint64_t seen = signal_->generation();
    if (closed()) break;
    StepStats stats;
    WaitForStep();
    RunStep(-1, &stats);
    if (!stats.work_left) LetWorkersSleep();
    GiveStep();
    if (stats.work_left) continue;
    const int64_t deadline = next_deadline_ns_.load(std::memory_order_relaxed);
    signal_->Wait(seen, deadline == 0 ? -1 : std::max<int64_t>(deadline - clock_->NowNs(), 0));
  }
  WaitForStep();
  FinishClose();
  GiveStep();
}

void Engine::LetWorkersSleep() noexcept {
  if (std::exchange(awake_, false)) context_->EndStep();
}

void Engine::RunStep(int64_t budget_ns, StepStats* stats) noexcept {
  const ScopedFloatControl float_control;
  const int64_t start = clock_->NowNs();
  int64_t stop_at = INT64_MAX;
  if (budget_ns >= 0 && __builtin_add_overflow(start, budget_ns, &stop_at)) stop_at = INT64_MAX;
  try {
    while (RunBatch(stop_at, stats) && budget_ns >= 0 && clock_->NowNs() < stop_at) {
    }
  } catch (const std::bad_alloc&) {
    if (batch_active_) RollBackBatch(ErrorCode::kOutOfMemory, "memory ran out during the batch");
  }
  if (batch_active_) {
    stats->work_left = true;
  } else {
    std::lock_guard<std::mutex> lock(mutex_);
    stats->work_left = !closed() && scheduler_.HasWork();
  }
  stats->elapsed_ns = clock_->NowNs() - start;
}

// One batch, or what the budget allows of it. False: there is nothing to do, or the budget ended inside.
bool Engine::RunBatch(int64_t stop_at_ns, StepStats* stats) {
  if (closed()) return false;
  if (!batch_active_ && !BeginBatch()) return false;
  if (closed())
    return false;  // by a callback that BeginBatch made; what the log needs may be gone with the host
  context_->BeginStep(batch_.view());
  awake_ = true;
  StepStop stop(this, stop_at_ns);
  const int64_t start = clock_->NowNs();
  const absl::StatusOr<bool> done = loop_->Run(stop);
  const int64_t elapsed = clock_->NowNs() - start;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    metrics_.compute_ns += static_cast<uint64_t>(elapsed);
  }
  if (!done.ok()) {
    log_.Write(LogLevel::kError, done.status().message());
    RollBackBatch(CodeOf(done.status()), "the batch failed on its device");
    return true;
  }
  const bool wanted = live_entries_.load(std::memory_order_relaxed) != 0;
  if (!*done && wanted) return false;
  CommitBatch(stats);
  return true;
}

bool Engine::BeginBatch() {
  bool begun = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const int64_t now = clock_->NowNs();
    scheduler_.ForEachExpired(now, [this](Session* session) {
      EndLocked(*session, FinishReason::kDeadline, ErrorCode::kDeadlineExceeded, "", true);
    });
    batch_.Begin(step_number_ + 1);
    scheduler_.Plan(now, batch_.plan(), batch_.planned());
    batch_.plan().End();
    for (size_t i = 0; i < batch_.planned().size(); ++i) {
      Session& session = *batch_.planned()[i];
      const PlanSequence& sequence = batch_.plan().sequences()[i];
      if (ReserveBlocksLocked(session, sequence.first_position + sequence.row_count)) {
        batch_.Enter(i, session.shared_from_this());
        session.logits_valid = false;
      } else {
        // Admission promised these blocks, so this is a defect; the request ends and the others go on.
        EndLocked(session, FinishReason::kError, ErrorCode::kInternal,
                  "the cache broke its promise of blocks", true);
      }
    }
    if (!batch_.empty()) {
      batch_.Seal(cache_);
      ++step_number_;
      live_entries_.store(static_cast<int32_t>(batch_.entries().size()), std::memory_order_relaxed);
      batch_active_ = begun = true;
    }
  }
  ready_.Tell();
  if (begun) loop_->Begin(&batch_.view());
  return begun;
}

bool Engine::ReserveBlocksLocked(Session& session, int64_t tokens) noexcept {
  int32_t added = 0;
  while (!cache_.Grow(session.blocks, tokens, &added)) {
    if (!EvictIdleSessionLocked()) return false;
  }
  return true;
}

// The session idle for the longest loses its blocks; it recomputes them from its tokens when it goes on.
bool Engine::EvictIdleSessionLocked() noexcept {
  Session* oldest = nullptr;
  for (const std::shared_ptr<Session>& session : sessions_) {
    if (session->request != nullptr || session->in_flight || session->blocks[0].empty()) continue;
    if (oldest == nullptr || session->last_used < oldest->last_used) oldest = session.get();
  }
  if (oldest == nullptr) {
    // Requests that wait may hold blocks of an earlier turn, which admission has not promised to anyone.
    for (const std::shared_ptr<Session>& session : sessions_) {
      if (session->request == nullptr || session->request->admitted || session->in_flight) continue;
      if (!session->blocks[0].empty()) oldest = session.get();
    }
  }
  if (oldest == nullptr) return false;
  cache_.Trim(oldest->blocks, 0);
  oldest->computed = 0;
  ++metrics_.evictions;
  return true;
}

void Engine::CommitBatch(StepStats* stats) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Batch::Entry& entry : batch_.entries()) {
      Session& session = *entry.session;
      session.in_flight = false;
      entry.request->in_batch = false;
      session.last_used = step_number_;
      if (session.released) {
        DropLocked(session);
      } else if (entry.request->finished) {  // cancelled meanwhile: its rows are void
        cache_.Trim(session.blocks, static_cast<int64_t>(session.computed));
      } else {
        AcceptLocked(entry, stats);
      }
    }
    ++metrics_.batches;
    batch_active_ = false;
  }
  batch_.Clear();
  ready_.Tell();
}

void Engine::RollBackBatch(ErrorCode code, absl::string_view static_message) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Batch::Entry& entry : batch_.entries()) {
      Session& session = *entry.session;
      session.in_flight = false;
      entry.request->in_batch = false;
      cache_.Trim(session.blocks, static_cast<int64_t>(session.computed));
      if (session.released) {
        DropLocked(session);
      } else if (!entry.request->finished && code != ErrorCode::kClosed) {
        EndLocked(session, FinishReason::kError, code, static_message, true);
      }
    }
    ++metrics_.batches_failed;
    batch_active_ = false;
  }
  batch_.Clear();
  ready_.Tell();
}

void Engine::AcceptLocked(const Batch::Entry& entry, StepStats* stats) noexcept {
  Session& session = *entry.session;
  Request& request = *entry.request;
  if (entry.sample != nullptr && entry.sample->numeric_fault) {
    // What it wrote to the cache may be NaN too: none of it counts as computed.
    EndLocked(session, FinishReason::kError, ErrorCode::kNumericFault,
              "the model produced NaN or infinite logits", true);
    return;
  }
  if (request.generated_tokens == 0) {
    request.prompt_tokens += static_cast<uint32_t>(entry.row_count);
    stats->prompt_tokens += static_cast<uint64_t>(entry.row_count);
    metrics_.prompt_tokens += static_cast<uint64_t>(entry.row_count);
  }
  session.computed += static_cast<size_t>(entry.row_count);
  if (entry.sample == nullptr) return;
  session.logits_valid = !session.logits.empty();
  if (request.params.max_tokens == 0) {
    EndLocked(session, FinishReason::kLength, ErrorCode::kOk, "", true);
    return;
  }
  ++stats->generated_tokens;
  ++metrics_.generated_tokens;
  AcceptTokenLocked(session, request, *entry.sample);
}

void Engine::AcceptTokenLocked(Session& session, Request& request, const SampleRow& sample) noexcept {
  const Tokenizer& tokenizer = *model_->tokenizer;
  session.tokens.push_back(sample.token);  // capacity was reserved when the request was accepted
  if (request.generated_tokens++ == 0) request.first_token_ns = clock_->NowNs();
  request.last_token = sample.token;

  const absl::Span<const int32_t> ends = tokenizer.end_tokens();
  const std::vector<int32_t>& stops = request.params.stop_tokens;
  const bool end = !request.params.ignore_end && std::binary_search(ends.begin(), ends.end(), sample.token);
  const bool stop = std::find(stops.begin(), stops.end(), sample.token) != stops.end();
  if (end || stop) {
    EndLocked(session, end ? FinishReason::kEnd : FinishReason::kStop, ErrorCode::kOk, "", true);
    return;
  }

  TokenLogprob top[kMaxTopLogprobs];
  for (int32_t i = 0; i < sample.top_count; ++i) top[i] = {sample.top_tokens[i], sample.top_logprobs[i]};
  TokenOutput output;
  output.tag = request.tag;
  output.request = request.id;
  output.has_token = true;
  output.token = sample.token;
  output.has_logprob = request.params.sampling.top_logprobs >= 0;
  output.logprob = sample.logprob;
  output.top = {top, static_cast<size_t>(sample.top_count)};
  output.text = request.text.Push(tokenizer.TokenBytes(sample.token, /*render_special=*/false));
  if (request.queue->PostToken(request, output)) ready_.Note(request.queue, true);

  if (request.text.stopped()) {
    EndLocked(session, FinishReason::kStop, ErrorCode::kOk, "", false);
  } else if (request.params.max_tokens >= 0 && request.generated_tokens >= request.params.max_tokens) {
    EndLocked(session, FinishReason::kLength, ErrorCode::kOk, "", true);
  } else if (static_cast<int64_t>(session.tokens.size()) >= request.token_limit) {
    EndLocked(session, FinishReason::kContext, ErrorCode::kOk, "", true);
  }
}

void Engine::EndLocked(Session& session, FinishReason reason, ErrorCode code,
                       absl::string_view static_message, bool flush) noexcept {
  const std::shared_ptr<EventQueue> queue = session.request->queue;
  ready_.Note(queue, FinishLocked(session, reason, code, static_message, flush));
}

void Engine::ExpireDeadlines() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    scheduler_.ForEachExpired(clock_->NowNs(), [this](Session* session) {
      EndLocked(*session, FinishReason::kDeadline, ErrorCode::kDeadlineExceeded, "", true);
    });
  }
  ready_.Tell();
}

}  // namespace tessera
