#include "core/schedule/scheduler.h"

#include <algorithm>

namespace tessera {

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits) {
  waiting_.reserve(static_cast<size_t>(limits.max_requests));
  running_.reserve(static_cast<size_t>(limits.max_requests));
}

void Scheduler::Submit(Session* session) noexcept { waiting_.push_back(session); }

void Scheduler::Remove(Session* session) noexcept {
  if (const auto at = std::find(waiting_.begin(), waiting_.end(), session); at != waiting_.end()) {
    waiting_.erase(at);
    return;
  }
  const auto at = std::find(running_.begin(), running_.end(), session);
  if (at == running_.end()) return;
  promised_blocks_ -= session->request->worst_blocks;
  running_.erase(at);
}

// A session whose cancelled predecessor is still in a batch waits for that batch, and those behind it with
// it: nobody overtakes.
bool Scheduler::CanAdmit(const Session& session) const noexcept {
  return !session.in_flight && promised_blocks_ + session.request->worst_blocks <= limits_.total_blocks;
}

bool Scheduler::HasWork() const noexcept {
  if (!waiting_.empty() && CanAdmit(*waiting_.front())) return true;
  for (const Session* session : running_) {
    if (!session->in_flight && session->pending() != 0 &&
        session->request->queue->HasRoom(*session->request)) {
      return true;
    }
  }
  return false;
}

void Scheduler::Admit() noexcept {
  while (!waiting_.empty()) {
    Session* session = waiting_.front();
    if (!CanAdmit(*session)) return;
    promised_blocks_ += session->request->worst_blocks;
    session->request->admitted = true;
    running_.push_back(session);
    waiting_.erase(waiting_.begin());
  }
}

void Scheduler::AddRows(Session& session, int32_t rows, int64_t now_ns, BatchPlan& plan,
                        std::vector<Session*>& planned) noexcept {
  Request& request = *session.request;
  if (request.started_ns == 0) request.started_ns = now_ns;
  const bool sample = static_cast<size_t>(rows) == session.pending();
  // A decoding sequence's input is what the batch before sampled: a slot, which a device resolves by itself.
  const bool decoding = rows == 1 && request.generated_tokens > 0;
  const int32_t* tokens = decoding ? &kLastToken : session.tokens.data() + session.computed;
  plan.Add(session.id, static_cast<int32_t>(session.computed), {tokens, static_cast<size_t>(rows)}, sample);
  planned.push_back(&session);
}

void Scheduler::Plan(int64_t now_ns, BatchPlan& plan, std::vector<Session*>& planned) noexcept {
  Admit();
  if (running_.empty()) return;
  turn_ = (turn_ + 1) % running_.size();
  for (const bool decoding : {true, false}) {
    for (size_t i = 0; i < running_.size(); ++i) {
      Session& session = *running_[(turn_ + i) % running_.size()];
      if (session.in_flight || session.pending() == 0) continue;
      if ((session.pending() == 1) != decoding) continue;
      if (!plan.HasRoom(1)) return;
      if (!session.request->queue->HasRoom(*session.request)) continue;
      const size_t rows = std::min(session.pending(), static_cast<size_t>(plan.rows_left()));
      AddRows(session, static_cast<int32_t>(rows), now_ns, plan, planned);
    }
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
