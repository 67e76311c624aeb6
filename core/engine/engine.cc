// The engine's calls from hosts' threads. The step is in engine_step.cc.
#include "core/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/base/float_control.h"
#include "core/engine/engine_shape.h"

namespace tessera {
namespace {

absl::Status CheckToken(absl::string_view place, int64_t token, int32_t vocabulary) {
  if (token >= 0 && token < vocabulary) return absl::OkStatus();
  return InvalidArgument(place, absl::StrCat("token ", token, " is outside the vocabulary of ", vocabulary));
}

absl::Status CheckParams(const RequestParams& params, int32_t vocabulary) {
  if (params.stop.size() > kMostStopStrings) {
    return InvalidArgument("setting 'request.stop'", absl::StrCat(params.stop.size(), " strings; at most ",
                                                                  kMostStopStrings, " are allowed"));
  }
  for (const std::string& stop : params.stop) {
    if (stop.empty() || stop.size() > kLongestStopBytes) {
      return InvalidArgument(
          "setting 'request.stop'",
          absl::StrCat("a string of ", stop.size(), " bytes; 1 to ", kLongestStopBytes, " are allowed"));
    }
  }
  for (const int32_t token : params.stop_tokens) {
    TSR_RETURN_IF_ERROR(CheckToken("setting 'request.stop_tokens'", token, vocabulary));
  }
  if (params.sampling.logit_bias.size() > static_cast<size_t>(kMaxLogitBiases)) {
    return InvalidArgument("setting 'sampling.logit_bias_tokens'",
                           absl::StrCat(params.sampling.logit_bias.size(), " tokens; at most ",
                                        kMaxLogitBiases, " are allowed"));
  }
  for (const auto& bias : params.sampling.logit_bias) {
    TSR_RETURN_IF_ERROR(CheckToken("setting 'sampling.logit_bias_tokens'", bias.first, vocabulary));
  }
  return absl::OkStatus();
}

SchedulerLimits LimitsOf(const EngineOptions& options, const Executor& executor) {
  SchedulerLimits limits;
  limits.batch_tokens = options.batch_tokens;
  limits.batch_sequences = options.batch_sequences;
  limits.max_requests = options.max_requests;
  limits.max_running = options.max_running;
  limits.depth = executor.depth();
  limits.slots = executor.resolves_slots();
  return limits;
}

}  // namespace

void WorkSignal::Notify() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
  }
  changed_.notify_all();
}

void WorkSignal::Wait(uint64_t seen, int64_t timeout_ns) noexcept {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto changed = [&] { return generation() != seen; };
  if (timeout_ns < 0) {
    changed_.wait(lock, changed);
  } else {
    // Far timeouts are cut, so that the sum with the clock cannot overflow.
    constexpr int64_t kLongestNs = int64_t{1} << 60;
    changed_.wait_for(lock, std::chrono::nanoseconds(std::min(timeout_ns, kLongestNs)), changed);
  }
}

// A queue of many requests is noted as many times: it became ready once, or was polled between.
void Engine::Ready::Note(const std::shared_ptr<EventQueue>& queue, bool became_ready) noexcept {
  if (!queues_.empty() && queues_.back().queue == queue) {
    queues_.back().became_ready |= became_ready;
  } else {
    queues_.push_back({queue, became_ready});  // within the reserved capacity
  }
}

void Engine::Ready::Tell() noexcept {
  for (const Noted& noted : queues_) {
    if (noted.became_ready) noted.queue->CallReady();
  }
  queues_.clear();
}

Engine::Engine(std::shared_ptr<const LoadedModel> model, std::shared_ptr<const Backend> backend,
               const EngineOptions& options, Clock* clock, Logger log, Seat seat)
    : model_(std::move(model)),
      backend_(std::move(backend)),
      options_(options),
      clock_(clock),
      log_(std::move(log)),
      signal_(std::make_shared<WorkSignal>()),
      cache_(std::move(seat.cache)),
      scheduler_(LimitsOf(options_, *seat.executor)),
      executor_(std::move(seat.executor)),
      follower_(std::move(seat.follower)),
      // Between two tellings each request ends once, and one batch's have a token each besides.
      ready_(static_cast<size_t>(options_.max_requests) +
             static_cast<size_t>(options_.batch_sequences) * static_cast<size_t>(executor_->depth() + 1)) {
  const auto depth = static_cast<size_t>(executor_->depth());
  flight_.reserve(depth);
  spare_.reserve(depth);
  for (size_t i = 0; i < depth; ++i) {
    spare_.push_back(
        std::make_unique<Batch>(options_.batch_tokens, options_.batch_sequences, cache_.group_count()));
  }
  sessions_.reserve(static_cast<size_t>(options_.max_sessions));
  metrics_.cache_bytes = seat.cache_bytes;
  metrics_.scratch_bytes = executor_->scratch_bytes();
  metrics_.threads = options_.threads;
  metrics_.blocks_total = cache_.total_blocks();
  metrics_.block_tokens = cache_.block_tokens();
}

Engine::~Engine() = default;

absl::StatusOr<std::shared_ptr<Engine>> Engine::Create(std::shared_ptr<const LoadedModel> model,
                                                       std::shared_ptr<const Backend> backend,
                                                       const EngineOptions& wanted, Clock* clock,
                                                       MemorySource* memory, Logger log) {
  const ScopedFloatControl float_control;  // backends make tables here, of angles for one
  TSR_ASSIGN_OR_RETURN(const EngineShape shape, ShapeEngine(model->spec, wanted));
  const EngineOptions& options = shape.options;
  TSR_ASSIGN_OR_RETURN(Seat seat, TakeSeat(*model, *backend, shape, memory));
  const bool follows = seat.follower != nullptr;
  std::shared_ptr<Engine> engine(
      new Engine(std::move(model), std::move(backend), options, clock, std::move(log), std::move(seat)));
  if (!options.stepped && !follows) {
    std::lock_guard<std::mutex> lock(engine->thread_mutex_);
    TSR_ASSIGN_OR_RETURN(engine->thread_,
                         Thread::Start("tessera-engine", [engine] { engine->ThreadMain(); }));
  }
  return engine;
}

std::shared_ptr<Session> Engine::NewSession(bool keep_logits) const {
  auto session = std::make_shared<Session>();
  session->blocks = cache_.MakeTable(LongestTokens());
  if (keep_logits) session->logits.resize(static_cast<size_t>(model_->spec.vocabulary_size));
  return session;
}

int64_t Engine::LongestTokens() const {
  return std::min<int64_t>(options_.context_tokens, cache_.total_blocks() * cache_.block_tokens());
}

absl::Status Engine::CheckRoomLocked() const {
  TSR_RETURN_IF_ERROR(CheckUsableLocked());
  if (sessions_.size() < static_cast<size_t>(options_.max_sessions)) return absl::OkStatus();
  return LimitExceeded("setting 'engine.max_sessions'",
                       absl::StrCat(options_.max_sessions, " sessions are open"));
}

absl::Status Engine::OpenLocked(const std::shared_ptr<Session>& session) {
  TSR_RETURN_IF_ERROR(CheckRoomLocked());
  session->id = next_session_++;
  sessions_.push_back(session);  // within the reserved capacity
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Session>> Engine::CreateSession(bool keep_logits) {
  std::shared_ptr<Session> session = NewSession(keep_logits);
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(OpenLocked(session));
  return session;
}

absl::StatusOr<std::shared_ptr<Session>> Engine::Fork(Session& source, bool keep_logits) {
  std::shared_ptr<Session> fork = NewSession(keep_logits);
  std::lock_guard<std::mutex> lock(mutex_);
  fork->tokens = source.tokens;
  TSR_RETURN_IF_ERROR(OpenLocked(fork));
  cache_.Share(source.blocks, static_cast<int64_t>(source.computed), fork->blocks);
  fork->computed = source.computed;
  fork->last_used = source.last_used;
  return fork;
}

absl::Status Engine::Rewind(Session& session, size_t tokens) {
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(CheckIdleLocked(session));
  if (tokens > session.tokens.size()) {
    return InvalidArgument("token_count",
                           absl::StrCat(tokens, "; the session holds ", session.tokens.size(), " tokens"));
  }
  session.tokens.resize(tokens);
  session.logits_valid = false;
  const size_t computed = std::min(session.computed, tokens);
  // A batch that a cancelled request left may still write: its end cuts the rest.
  if (session.in_flight != 0) {
    session.computed = computed;
  } else {
    RetreatLocked(session, computed);
  }
  return absl::OkStatus();
}

absl::Status Engine::CheckUsableLocked() const {
  if (closed()) return Closed("engine", "it was closed");
  if (follower_ != nullptr) {
    return WrongState("engine", absl::StrCat("this is rank ", options_.ranks.rank,
                                             ", which serves; sessions and requests are rank 0's"));
  }
  if (lost_) return Error(ErrorCode::kLost, "engine", "its device or one of its ranks is gone: close it");
  return absl::OkStatus();
}

absl::Status Engine::CheckIdleLocked(const Session& session) const {
  if (closed()) return Closed("engine", "it was closed");
  if (session.request != nullptr) return Busy("session", "a request of it is running");
  return absl::OkStatus();
}

absl::Status Engine::Append(Session& session, absl::Span<const int32_t> tokens) {
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(CheckIdleLocked(session));
  if (tokens.size() > static_cast<size_t>(options_.context_tokens) - session.tokens.size()) {
    return LimitExceeded("session",
                         absl::StrCat("it holds ", session.tokens.size(), " tokens; ", tokens.size(),
                                      " more exceed the context of ", options_.context_tokens));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {  // after their number: it may be anything
    if (tokens[i] < 0 || tokens[i] >= model_->spec.vocabulary_size) {
      return CheckToken(absl::StrCat("tokens[", i, "]"), tokens[i], model_->spec.vocabulary_size);
    }
  }
  session.tokens.insert(session.tokens.end(), tokens.begin(), tokens.end());
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Engine::Generate(const std::shared_ptr<Session>& session, RequestParams params,
                                          std::shared_ptr<EventQueue> queue, uint64_t tag) {
  TSR_RETURN_IF_ERROR(CheckParams(params, model_->spec.vocabulary_size));
  uint64_t id;
  // Held here, since the terminal event's callback may let go of the engine before this call returns.
  const std::shared_ptr<WorkSignal> signal = signal_;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    id = next_request_++;
  }
  auto request = std::make_shared<Request>(tag, id, std::move(params), std::move(queue),
                                           model_->tokenizer->longest_token_bytes());
  request->queue->SetListener(*request, signal_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    TSR_RETURN_IF_ERROR(CheckUsableLocked());
    TSR_RETURN_IF_ERROR(CheckIdleLocked(*session));
    if (session->tokens.empty()) return WrongState("session", "it is empty: append a prompt first");
    if (scheduler_.full()) {
      return LimitExceeded("setting 'engine.max_requests'",
                           absl::StrCat(options_.max_requests, " requests wait or run"));
    }
    const int64_t size = static_cast<int64_t>(session->tokens.size());
    const int64_t wanted = request->params.max_tokens;
    const int64_t cache_tokens = cache_.total_blocks() * cache_.block_tokens();
    const int64_t room = wanted < 0 ? std::min<int64_t>(options_.context_tokens, cache_tokens)
                                    : static_cast<int64_t>(options_.context_tokens);
    if (wanted != 0 && size >= room) {
      return LimitExceeded("session", absl::StrCat("its ", size, " tokens fill the context of ", room));
    }
    const int64_t limit = wanted < 0 ? room : size + std::min(wanted, room - size);
    if (limit > cache_tokens) {
      return LimitExceeded(
          "setting 'engine.cache_tokens'",
          absl::StrCat("the request may need ", limit, " tokens; the cache holds ", cache_tokens));
    }
    session->tokens.reserve(static_cast<size_t>(limit));  // the last thing that can fail
    request->start_tokens = static_cast<size_t>(size);
    if (request->queue->Crowded()) {
      return LimitExceeded("queue", absl::StrCat(kMostUndelivered, " ended requests wait to be polled"));
    }
    request->token_limit = limit;
    request->submitted_ns = clock_->NowNs();
    if (request->params.deadline_ns > 0) {
      if (__builtin_add_overflow(request->submitted_ns, request->params.deadline_ns, &request->deadline_ns)) {
        request->deadline_ns = 0;  // later than the clock can count
      }
    }
    // The last position is computed again when nothing is pending: its logits are wanted.
    session->computed = std::min(session->computed, session->tokens.size() - 1);
    request->start_computed = session->computed;
    session->request = std::move(request);
    scheduler_.Submit(session.get(), step_number_);
    UpdateDeadlineLocked();
    ++metrics_.requests_accepted;
  }
  signal->Notify();
  return id;
}

bool Engine::FinishLocked(Session& session, FinishReason reason, ErrorCode code,
                          absl::string_view static_message, bool flush) noexcept {
  scheduler_.Remove(&session);
  const std::shared_ptr<Request> request = std::move(session.request);
  session.request = nullptr;
  ++metrics_.requests_finished;
  for (size_t i = 0; request->in_batches != 0 && i < flight_.size(); ++i) {
    for (const Batch::Entry& entry : flight_[i]->entries()) {
      if (entry.request == request) flight_[i]->live.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  if (session.in_flight == 0) RetreatLocked(session, session.computed);
  UpdateDeadlineLocked();
  return request->Finish(reason, static_cast<int32_t>(code), static_message, flush, clock_->NowNs());
}

// The session's tokens from `computed` on are not in the cache, or shall not be.
void Engine::RetreatLocked(Session& session, size_t computed) noexcept {
  session.computed = static_cast<size_t>(cache_.Trim(session.blocks, static_cast<int64_t>(computed)));
}

// A batch has ended whose rows of this session count for nothing.
void Engine::SettleVoidLocked(Session& session) noexcept {
  if (session.in_flight != 0) return;  // a later batch still writes
  if (session.released) {
    DropLocked(session);
  } else {
    RetreatLocked(session, session.computed);
  }
}

void Engine::UpdateDeadlineLocked() noexcept {
  next_deadline_ns_.store(scheduler_.NextDeadlineNs(), std::memory_order_relaxed);
}

void Engine::Cancel(Session& session, CancelEffect effect) noexcept {
  std::shared_ptr<EventQueue> queue;
  bool became_ready = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (session.request == nullptr) return;
    queue = session.request->queue;
    if (effect == CancelEffect::kDrop) {
      session.tokens.resize(session.request->start_tokens);
      session.computed = std::min(session.computed, session.tokens.size());
      session.logits_valid = false;
      session.request->generated_tokens = 0;
    }
    became_ready = FinishLocked(session, FinishReason::kCancelled, ErrorCode::kCancelled, "",
                                effect == CancelEffect::kKeep);
  }
  if (became_ready) queue->CallReady();
  signal_->Notify();
}

void Engine::ReleaseSession(Session& session) noexcept {
  std::shared_ptr<EventQueue> queue;
  bool became_ready = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (session.released) return;
    session.released = true;
    if (session.request != nullptr) {
      queue = session.request->queue;
      became_ready = FinishLocked(session, FinishReason::kCancelled, ErrorCode::kCancelled, "", true);
    }
    if (session.in_flight == 0) DropLocked(session);
  }
  if (became_ready) queue->CallReady();
  signal_->Notify();
}

void Engine::DropLocked(Session& session) noexcept {
  cache_.Trim(session.blocks, 0);
  const auto at = std::find_if(sessions_.begin(), sessions_.end(),
                               [&](const std::shared_ptr<Session>& s) { return s.get() == &session; });
  if (at == sessions_.end()) return;
  std::swap(*at, sessions_.back());
  sessions_.pop_back();
}

size_t Engine::TokenCount(Session& session) noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  return session.tokens.size();
}

absl::StatusOr<size_t> Engine::CopyTokens(Session& session, size_t first, int32_t* tokens, size_t capacity) {
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(CheckIdleLocked(session));
  if (first > session.tokens.size()) {
    return InvalidArgument(
        "first", absl::StrCat(first, " is beyond the session's ", session.tokens.size(), " tokens"));
  }
  const size_t count = std::min(capacity, session.tokens.size() - first);
  std::copy_n(session.tokens.data() + first, count, tokens);
  return count;
}

absl::Status Engine::CopyLogits(Session& session, float* logits, size_t capacity, size_t* count) {
  std::lock_guard<std::mutex> lock(mutex_);
  TSR_RETURN_IF_ERROR(CheckIdleLocked(session));
  if (session.logits.empty()) return WrongState("session", "it was created without 'session.logits'");
  if (!session.logits_valid)
    return WrongState("session", "no request has computed logits since the last change");
  *count = session.logits.size();
  if (capacity < session.logits.size()) {
    return Error(ErrorCode::kBufferTooSmall, "logits",
                 absl::StrCat(session.logits.size(), " floats are needed"));
  }
  std::copy(session.logits.begin(), session.logits.end(), logits);
  return absl::OkStatus();
}

EngineMetrics Engine::GetMetrics() noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  EngineMetrics metrics = metrics_;
  metrics.sessions = static_cast<int32_t>(sessions_.size());
  metrics.requests_running = scheduler_.running();
  metrics.requests_queued = scheduler_.waiting();
  metrics.blocks_free = cache_.free_blocks();
  return metrics;
}

void Engine::Close() noexcept {
  closing_.store(true, std::memory_order_release);
  signal_->Notify();
  if (follower_ != nullptr) follower_->Abort();
  {
    std::lock_guard<std::mutex> lock(step_mutex_);
    // In a callback of a step: whoever steps finishes the close when the step returns.
    if (stepping_ && pthread_equal(stepper_, pthread_self()) != 0) return;
  }
  {
    std::lock_guard<std::mutex> lock(thread_mutex_);
    thread_.reset();  // joins
  }
  WaitForStep();
  FinishClose();
  GiveStep();
}

void Engine::CloseSoon() noexcept {
  closing_.store(true, std::memory_order_release);
  signal_->Notify();
  if (follower_ != nullptr) follower_->Abort();
  if (threaded()) return;
  if (TakeStep()) GiveStep();  // else the step's end does it
}

void Engine::EndAll(FinishReason reason, ErrorCode code, absl::string_view static_message) noexcept {
  for (;;) {
    std::shared_ptr<EventQueue> queue;
    bool became_ready = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto at = std::find_if(sessions_.begin(), sessions_.end(),
                                   [](const std::shared_ptr<Session>& s) { return s->request != nullptr; });
      if (at == sessions_.end()) return;
      queue = (*at)->request->queue;
      became_ready = FinishLocked(**at, reason, code, static_message, true);
    }
    if (became_ready) queue->CallReady();
  }
}

void Engine::FinishClose() noexcept {
  if (std::exchange(close_finished_, true)) return;
  executor_->Drop();
  RollBackAll(ErrorCode::kClosed, "");
  executor_->Rest();
  EndAll(FinishReason::kClosed, ErrorCode::kClosed, "");
  executor_.reset();
  if (follower_ != nullptr) follower_->Leave();
  std::lock_guard<std::mutex> lock(mutex_);
  for (const std::shared_ptr<Session>& session : sessions_) {
    cache_.Trim(session->blocks, 0);
    session->computed = 0;
  }
  cache_.Free();
}

}  // namespace tessera
