// A scheduler over blocks that are counted, and sessions without an engine: what is planned, committed, in
// flight.
#ifndef TESSERA_TESTS_CORE_SCHEDULE_SCHEDULER_FIXTURE_H_
#define TESSERA_TESTS_CORE_SCHEDULE_SCHEDULER_FIXTURE_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "core/schedule/scheduler.h"

namespace tessera {

// Blocks of one token each, counted.
class CountedBlocks final : public BlockLender {
 public:
  int64_t total = 1000;
  std::map<const Session*, int64_t> held;
  std::vector<uint64_t> preempted;  // ids
  bool may_reserve_ahead = true;

  int64_t free() const {
    int64_t used = 0;
    for (const auto& [session, count] : held) used += count;
    return total - used;
  }
  bool Admit(Session& session, absl::Span<Session* const> running, bool must) noexcept override {
    auto need = static_cast<int64_t>(session.pending()) + 1;
    for (const Session* other : running) need += static_cast<int64_t>(other->pending()) + 1;
    return must || free() >= need;
  }
  bool Reserve(Session& session, int32_t rows) noexcept override {
    if (free() < rows) return false;
    held[&session] += rows;
    return true;
  }
  bool MayReserveAhead(const Session&) const noexcept override { return may_reserve_ahead; }
  void Preempt(Session& session) noexcept override {
    held.erase(&session);
    session.computed = 0;
    preempted.push_back(session.id);
  }
};

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() { Use(SchedulerLimits()); }
  // Requests hold their queue, and a queue holds requests whose events wait.
  ~SchedulerTest() override { queue_->Abandon(); }

  void Use(SchedulerLimits limits) {
    limits_ = limits;
    scheduler_ = std::make_unique<Scheduler>(limits);
    plan_ = std::make_unique<BatchPlan>(limits.batch_tokens, limits.batch_sequences);
  }

  // A session with so many tokens pending, submitted.
  Session* Submit(size_t pending, int32_t priority = 0, int64_t deadline_ns = 0, size_t computed = 0) {
    sessions_.push_back(std::make_shared<Session>());
    Session* const session = sessions_.back().get();
    session->id = sessions_.size();
    session->tokens.resize(computed + pending);
    for (size_t i = 0; i < session->tokens.size(); ++i) session->tokens[i] = static_cast<int32_t>(100 + i);
    session->computed = computed;
    RequestParams params;
    params.priority = priority;
    session->request = std::make_shared<Request>(session->id, session->id, params, queue_, 8);
    blocks_.held[session] = static_cast<int64_t>(computed);
    session->request->deadline_ns = deadline_ns;
    session->request->token_limit = 1 << 20;
    scheduler_->Submit(session, step_);
    return session;
  }

  std::vector<uint64_t> Plan() {
    plan_->Begin(++step_);
    planned_.clear();
    scheduler_->Plan(/*now_ns=*/step_ * 10, *plan_, planned_, blocks_);
    plan_->End();
    std::vector<uint64_t> ids;
    EXPECT_EQ(planned_.size(), plan_->sequences().size());
    for (size_t i = 0; i < planned_.size(); ++i) {
      EXPECT_EQ(plan_->sequences()[i].session, planned_[i]->id);
      ids.push_back(planned_[i]->id);
    }
    EXPECT_LE(plan_->row_count(), limits_.batch_tokens);
    return ids;
  }

  // The batch's outcome: what was planned is computed, and who was sampled has a new token.
  void Commit() {
    for (size_t i = 0; i < planned_.size(); ++i) {
      Session& session = *planned_[i];
      const PlanSequence& sequence = plan_->sequences()[i];
      session.computed += static_cast<size_t>(sequence.row_count);
      if (sequence.sample != 0) {
        session.tokens.push_back(7);
        ++session.request->generated_tokens;
      }
    }
  }

  // The batch is in flight: what Batch::Enter notes.
  void Fly() {
    for (size_t i = 0; i < planned_.size(); ++i) {
      const PlanSequence& sequence = plan_->sequences()[i];
      ++planned_[i]->in_flight;
      ++planned_[i]->request->in_batches;
      planned_[i]->ahead += static_cast<size_t>(sequence.row_count);
      if (sequence.sample != 0) ++planned_[i]->samples_ahead;
    }
  }

  void End(Session* session) {
    scheduler_->Remove(session);
    session->request = nullptr;
    blocks_.held.erase(session);
  }

  std::shared_ptr<EventQueue> queue_ = *EventQueue::Create(nullptr);
  CountedBlocks blocks_;
  SchedulerLimits limits_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<BatchPlan> plan_;
  std::vector<std::shared_ptr<Session>> sessions_;
  std::vector<Session*> planned_;
  uint64_t step_ = 0;
};

using Ids = std::vector<uint64_t>;

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_SCHEDULE_SCHEDULER_FIXTURE_H_
