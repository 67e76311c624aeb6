// The batch as a transaction: planned, handed to the executor, committed or rolled back. Whoever steps calls
// these.
#include <algorithm>
#include <utility>

#include "core/engine/engine.h"

namespace tessera {

// What the scheduler borrows blocks from: the cache, and idle sessions when it is full.
class Engine::Lender final : public BlockLender {
 public:
  Lender(Engine* engine, Batch* batch) : engine_(engine), batch_(batch) {}
  bool Admit(Session& session, absl::Span<Session* const> running, bool must) noexcept override {
    KvCache& cache = engine_->cache_;
    engine_->RetreatLocked(session, session.computed);
    if (session.computed == 0) {
      session.computed = static_cast<size_t>(cache.Adopt(session.blocks, session.tokens));
      engine_->metrics_.shared_tokens += session.computed;
    }
    int64_t need = Lacking(session);
    for (const Session* other : running) need += Lacking(*other);
    while (cache.free_blocks() < need) {
      if (!engine_->EvictIdleSessionLocked(&session)) return must;
    }
    return true;
  }
  bool Reserve(Session& session, int32_t rows) noexcept override {
    const auto first = static_cast<int64_t>(session.planned());
    while (!engine_->cache_.Extend(session.blocks, first, first + rows, &batch_->copies())) {
      if (!engine_->EvictIdleSessionLocked(&session)) return false;
    }
    return true;
  }
  // A table remembers one replaced block a group, until its batch has ended.
  bool MayReserveAhead(const Session& session) const noexcept override {
    return !engine_->cache_.NeedsCopy(session.blocks, static_cast<int64_t>(session.planned()));
  }
  void Preempt(Session& session) noexcept override {
    engine_->RetreatLocked(session, 0);
    ++session.request->preemptions;
    ++engine_->metrics_.preemptions;
  }

 private:
  // Blocks for what is left of its tokens and one more.
  int64_t Lacking(const Session& session) const {
    const KvCache& cache = engine_->cache_;
    return cache.BlocksFor(static_cast<int64_t>(session.tokens.size()) + 1) -
           static_cast<int64_t>(session.blocks[0].size());
  }
  Engine* engine_;
  Batch* batch_;
};

// Plans a batch and hands it to the executor. False: there is nothing to plan.
bool Engine::BeginBatch() {
  Batch& batch = *spare_.back();
  bool begun = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const int64_t now = clock_->NowNs();
    scheduler_.ForEachExpired(now, [this](Session* session) {
      EndLocked(*session, FinishReason::kDeadline, ErrorCode::kDeadlineExceeded, "", true);
    });
    batch.Begin(step_number_ + 1);
    Lender lender(this, &batch);
    scheduler_.Plan(now, batch.plan(), batch.planned(), lender);
    batch.plan().End();
    for (size_t i = 0; i < batch.planned().size(); ++i) {
      Session& session = *batch.planned()[i];
      batch.Enter(i, session.shared_from_this());
      session.logits_valid = false;
    }
    if (!batch.empty()) {
      batch.Seal(cache_);
      ++step_number_;
      metrics_.copied_blocks += batch.copies().size();
      flight_.push_back(std::move(spare_.back()));
      spare_.pop_back();
      begun = true;
    }
  }
  ready_.Tell();
  if (!begun) return false;
  const absl::Status status = executor_->Begin(&batch.view());
  if (!status.ok()) {
    log_.Write(LogLevel::kError, status.message());
    if (executor_->lost()) {
      Lose();
      return false;
    }
    RollBack(flight_.size() - 1, CodeOf(status), "the batch could not be begun");
  }
  return true;
}

// The session idle for the longest loses its blocks; it recomputes them from its tokens when it goes on.
bool Engine::EvictIdleSessionLocked(const Session* except) noexcept {
  Session* oldest = nullptr;
  for (const std::shared_ptr<Session>& session : sessions_) {
    if (session->request != nullptr || session->in_flight != 0 || session->blocks.empty()) continue;
    if (oldest == nullptr || session->last_used < oldest->last_used) oldest = session.get();
  }
  if (oldest == nullptr) {
    // Requests that wait may hold blocks of an earlier turn.
    for (const std::shared_ptr<Session>& session : sessions_) {
      if (session->request == nullptr || session->request->admitted || session->in_flight != 0) continue;
      if (session.get() != except && !session->blocks.empty()) oldest = session.get();
    }
  }
  if (oldest == nullptr) return false;
  RetreatLocked(*oldest, 0);
  ++metrics_.evictions;
  return true;
}

void Engine::CommitOldest(StepStats* stats) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Batch::Entry& entry : flight_.front()->entries()) {
      Session& session = *entry.session;
      Batch::Leave(entry);
      session.last_used = step_number_;
      if (entry.request->finished || session.released) {  // ended meanwhile: its rows are void
        SettleVoidLocked(session);
      } else {
        AcceptLocked(entry, stats);
      }
    }
    ++metrics_.batches;
  }
  Retire(0);
}

// The batch's own requests end; others never notice.
void Engine::RollBack(size_t batch, ErrorCode code, absl::string_view static_message) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Batch::Entry& entry : flight_[batch]->entries()) {
      Session& session = *entry.session;
      Batch::Leave(entry);
      SettleVoidLocked(session);
      if (!session.released && !entry.request->finished && code != ErrorCode::kClosed) {
        EndLocked(session, FinishReason::kError, code, static_message, true);
      }
    }
    ++metrics_.batches_failed;
  }
  Retire(batch);
}

void Engine::RollBackAll(ErrorCode code, absl::string_view static_message) noexcept {
  while (!flight_.empty()) RollBack(0, code, static_message);
}

// Whatever computes is gone for good: every request is answered, and no other accepted.
void Engine::Lose() noexcept {
  constexpr absl::string_view kMessage = "the engine's device or one of its ranks is gone";
  {
    std::lock_guard<std::mutex> lock(mutex_);
    lost_ = true;
  }
  executor_->Drop();
  RollBackAll(ErrorCode::kLost, kMessage);
  EndAll(FinishReason::kError, ErrorCode::kLost, kMessage);
}

void Engine::Retire(size_t batch) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    spare_.push_back(std::move(flight_[batch]));
    flight_.erase(flight_.begin() + static_cast<std::ptrdiff_t>(batch));
  }
  spare_.back()->Clear();
  ready_.Tell();
}

void Engine::AcceptLocked(const Batch::Entry& entry, StepStats* stats) noexcept {
  Session& session = *entry.session;
  Request& request = *entry.request;
  if (entry.sample != nullptr && entry.sample->numeric_fault) {
    // What it wrote to the cache may be NaN too, in this batch and in those before.
    const size_t sound = std::min(session.computed, request.start_computed);
    cache_.Disown(session.blocks, static_cast<int64_t>(sound));
    session.computed = sound;
    SettleVoidLocked(session);
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
  cache_.Settle(session.blocks, session.tokens, static_cast<int64_t>(session.computed));
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

}  // namespace tessera
