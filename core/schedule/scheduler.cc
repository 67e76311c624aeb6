#include "core/schedule/scheduler.h"

#include <algorithm>

namespace tessera {
namespace {

// Of a batch's rows, the part that decoding leaves to prompts.
constexpr int32_t kPromptShare = 8;
// Rows of a chunk below which sharing a batch among prompts costs more than it gives.
constexpr int32_t kLeastChunkRows = 32;

bool Ahead(const Session* one, const Session* other) noexcept {
  const Request& a = *one->request;
  const Request& b = *other->request;
  return a.rank != b.rank ? a.rank < b.rank : a.id < b.id;
}

void InsertByRank(std::vector<Session*>& list, Session* session) noexcept {
  list.insert(std::upper_bound(list.begin(), list.end(), session, Ahead), session);
}

// Its next row is a token that it generated; recomputing after a preemption counts as a prompt.
bool Decoding(const Session& session) noexcept {
  const bool generated = session.request->generated_tokens > 0 || session.samples_ahead > 0;
  return generated && session.pending() == 1;
}

// Its last token, which a batch in flight samples, is expected to be followed by another, and nothing but the
// token's value is wanted for that.
bool GoesOnBehindSample(const Session& session) noexcept {
  const Request& request = *session.request;
  const RequestParams& params = request.params;
  const int64_t generated = static_cast<int64_t>(request.generated_tokens) + session.samples_ahead;
  const auto size = static_cast<int64_t>(session.tokens.size()) + session.samples_ahead;
  const bool more = (params.max_tokens < 0 || generated < params.max_tokens) && size < request.token_limit;
  return more && request.history.capacity() == 0 && session.logits.empty();
}

int32_t RowsForPrompts(const SchedulerLimits& limits) noexcept {
  return std::max(limits.batch_tokens / kPromptShare, 1);
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits) {
  for (std::vector<Session*>* list : {&waiting_, &running_, &decoding_, &prompts_}) {
    list->reserve(static_cast<size_t>(limits.max_requests));
  }
}

void Scheduler::Submit(Session* session, uint64_t batch) noexcept {
  Request& request = *session->request;
  request.rank = static_cast<int64_t>(batch) - kBatchesPerPriority * request.params.priority;
  InsertByRank(waiting_, session);
}

void Scheduler::Remove(Session* session) noexcept {
  for (std::vector<Session*>* list : {&waiting_, &running_}) {
    const auto at = std::find(list->begin(), list->end(), session);
    if (at == list->end()) continue;
    list->erase(at);
    return;
  }
}

// Whether its next rows can be in the next batch, as far as its own state goes.
bool Scheduler::Plannable(const Session& session) const noexcept {
  if (session.in_flight == 0) return session.pending() != 0;
  if (session.in_flight >= limits_.depth || session.request->in_batches != session.in_flight) return false;
  if (session.samples_ahead == 0) return session.pending() != 0;  // the next chunk of its prompt
  return limits_.slots && GoesOnBehindSample(session);
}

bool Scheduler::HasWork() const noexcept {
  for (const Session* session : running_) {
    if (session->in_flight == 0 && session->pending() != 0 &&
        session->request->queue->HasRoom(*session->request)) {
      return true;
    }
  }
  // Paused ones give way; those that compute in a batch come first and are looked at when it ends.
  for (const Session* session : running_) {
    if (session->in_flight != 0) return false;
  }
  for (const Session* session : waiting_) {
    if (session->in_flight == 0 && session->request->queue->HasRoom(*session->request)) return true;
  }
  return false;
}

void Scheduler::NotePauses() noexcept {
  paused_ = 0;
  for (Session* session : running_) {
    Request& request = *session->request;
    request.paused = !request.queue->HasRoom(request);
    if (request.paused) ++paused_;
  }
}

void Scheduler::Preempt(Session* session, BlockLender& lender) noexcept {
  lender.Preempt(*session);
  Request& request = *session->request;
  if (request.paused) --paused_;
  request.admitted = false;
  running_.erase(std::find(running_.begin(), running_.end(), session));
  InsertByRank(waiting_, session);
}

Session* Scheduler::Victim(const Session& session) const noexcept {
  for (const bool paused : {true, false}) {
    for (size_t i = running_.size(); i-- > 0;) {
      Session* const other = running_[i];
      if (other == &session || other->in_flight != 0 || other->request->planned_at > plan_start_) continue;
      if (other->computed == 0 || other->request->paused != paused) continue;  // 0: it holds no blocks
      if (paused || Ahead(&session, other)) return other;
    }
  }
  return nullptr;
}

// True when it runs now.
bool Scheduler::AdmitOne(Session* session, BlockLender& lender) noexcept {
  for (;;) {
    const int32_t active = running() - paused_;
    Session* victim = nullptr;
    if (active >= limits_.max_running) {
      const auto last = std::find_if(running_.rbegin(), running_.rend(),
                                     [](const Session* other) { return !other->request->paused; });
      if ((*last)->in_flight != 0 || !Ahead(session, *last)) return false;
      victim = *last;
    } else {
      if (lender.Admit(*session, running_, /*must=*/false)) break;
      victim = Victim(*session);
      if (victim == nullptr) {
        if (active == 0 && lender.Admit(*session, running_, /*must=*/true)) break;
        return false;
      }
    }
    Preempt(victim, lender);
  }
  session->request->admitted = true;
  session->request->paused = false;
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), session));
  InsertByRank(running_, session);
  return true;
}

void Scheduler::Admit(BlockLender& lender) noexcept {
  for (size_t i = 0; i < waiting_.size();) {
    Session* const session = waiting_[i];
    // A session whose cancelled predecessor is still in a batch waits for that batch; one that nobody polls,
    // for its host. Others may pass both.
    if (session->in_flight != 0 || !session->request->queue->HasRoom(*session->request)) {
      ++i;
    } else if (!AdmitOne(session, lender)) {
      HoldBehind(*session);
      return;
    }
    // Whoever was preempted stands behind in rank, or is paused: it comes later in this very list.
  }
}

void Scheduler::HoldBehind(const Session& session) noexcept {
  if (held_behind_ == nullptr || Ahead(&session, held_behind_)) held_behind_ = &session;
}

bool Scheduler::Place(Session& session, int32_t rows, Draft& draft) noexcept {
  while (!draft.lender.Reserve(session, rows)) {
    Session* const victim = Victim(session);
    if (victim != nullptr) {
      Preempt(victim, draft.lender);
      continue;
    }
    HoldBehind(session);
    if (rows == 1) return false;
    rows /= 2;
  }
  Request& request = *session.request;
  if (request.started_ns == 0) request.started_ns = draft.now_ns;
  request.planned_at = ++placements_;
  const bool sample = static_cast<size_t>(rows) == session.pending();
  // A decoding sequence's input is what the batch before sampled: a slot, which a device resolves by itself.
  const int32_t* tokens = Decoding(session) ? &kLastToken : session.tokens.data() + session.planned();
  draft.plan.Add(session.id, static_cast<int32_t>(session.planned()), {tokens, static_cast<size_t>(rows)},
                 sample);
  draft.planned.push_back(&session);
  return true;
}

void Scheduler::Plan(int64_t now_ns, BatchPlan& plan, std::vector<Session*>& planned,
                     BlockLender& lender) noexcept {
  plan_start_ = placements_;
  held_behind_ = nullptr;
  NotePauses();
  Admit(lender);
  decoding_.clear();
  prompts_.clear();
  for (Session* session : running_) {
    if (session->request->paused || !Plannable(*session)) continue;
    if (session->in_flight != 0 && !lender.MayReserveAhead(*session)) continue;
    (Decoding(*session) ? decoding_ : prompts_).push_back(session);
  }
  Draft draft{now_ns, plan, planned, lender};
  PlaceFirst(draft);
  PlaceDecoding(draft);
  PlacePrompts(draft);
}

// Not whom an earlier placing has preempted, nor whom this plan has already, nor whom somebody waits for.
bool Scheduler::MayPlace(const Session& session) const noexcept {
  if (session.in_flight != 0 && held_behind_ != nullptr && Ahead(held_behind_, &session)) return false;
  return session.request->admitted && session.request->planned_at <= plan_start_;
}

// Where a pipeline's stages each have a batch, decoding sequences are spread over as many batches: one batch
// with all of them would leave the other stages idle.
int32_t Scheduler::MostDecoding() const noexcept {
  if (limits_.depth == 1 || limits_.slots) return limits_.batch_sequences;
  int32_t decoding = 0;
  for (const Session* session : running_) {
    if (!session->request->paused && session->request->generated_tokens > 0) ++decoding;
  }
  return std::max((decoding + limits_.depth - 1) / limits_.depth, 1);
}

// A prompt that is first in rank must not find all blocks taken by those behind it.
void Scheduler::PlaceFirst(Draft& draft) noexcept {
  if (prompts_.empty() || (!decoding_.empty() && Ahead(decoding_[0], prompts_[0]))) return;
  if (!MayPlace(*prompts_[0])) return;
  const int32_t left = limits_.batch_tokens - static_cast<int32_t>(decoding_.size());
  const int32_t share = std::max(kLeastChunkRows, left / static_cast<int32_t>(prompts_.size()));
  const int32_t most = std::min({share, std::max(left, RowsForPrompts(limits_)), draft.plan.rows_left()});
  Place(*prompts_[0], static_cast<int32_t>(std::min(prompts_[0]->pending(), static_cast<size_t>(most))),
        draft);
}

void Scheduler::PlaceDecoding(Draft& draft) noexcept {
  if (decoding_.empty()) return;
  const bool prompts = std::any_of(prompts_.begin(), prompts_.end(),
                                   [this](const Session* session) { return MayPlace(*session); });
  int32_t left =
      std::min(draft.plan.rows_left() - (prompts ? RowsForPrompts(limits_) : 0),
               limits_.batch_sequences - static_cast<int32_t>(draft.planned.size()) - (prompts ? 1 : 0));
  left = std::min(left, MostDecoding());
  if (draft.planned.empty()) left = std::max(left, 1);  // one of them is the first in rank
  if (static_cast<int32_t>(decoding_.size()) > left) {  // they take turns
    std::sort(decoding_.begin(), decoding_.end(), [](const Session* a, const Session* b) {
      return a->request->planned_at < b->request->planned_at;
    });
  }
  for (Session* session : decoding_) {
    if (left <= 0) return;
    if (MayPlace(*session) && Place(*session, 1, draft)) --left;
  }
}

void Scheduler::PlacePrompts(Draft& draft) noexcept {
  auto count = static_cast<int32_t>(std::count_if(
      prompts_.begin(), prompts_.end(), [this](const Session* session) { return MayPlace(*session); }));
  for (Session* session : prompts_) {
    if (!MayPlace(*session)) continue;
    if (!draft.plan.HasRoom(1)) return;
    const int32_t share = std::max(kLeastChunkRows, draft.plan.rows_left() / std::max(count, 1));
    --count;
    const int32_t most = std::min(share, draft.plan.rows_left());
    Place(*session, static_cast<int32_t>(std::min(session->pending(), static_cast<size_t>(most))), draft);
  }
}

int64_t Scheduler::NextDeadlineNs() const noexcept {
  int64_t next = 0;
  for (const std::vector<Session*>* list : {&waiting_, &running_}) {
    for (const Session* session : *list) {
      const int64_t deadline = session->request->deadline_ns;
      if (deadline != 0 && (next == 0 || deadline < next)) next = deadline;
    }
  }
  return next;
}

}  // namespace tessera
