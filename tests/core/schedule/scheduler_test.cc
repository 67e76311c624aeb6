// What the next batch computes: who is admitted, who comes first, who waits.
#include "core/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace tessera {
namespace {

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() { Use(SchedulerLimits()); }

  void Use(SchedulerLimits limits) {
    if (limits.total_blocks == 0) limits.total_blocks = 1000;
    limits_ = limits;
    scheduler_ = std::make_unique<Scheduler>(limits);
    plan_ = std::make_unique<BatchPlan>(limits.batch_tokens, limits.batch_sequences);
  }

  // A session with so many tokens pending, submitted.
  Session* Submit(size_t pending, int64_t worst_blocks = 1, int64_t deadline_ns = 0, size_t computed = 0) {
    sessions_.push_back(std::make_shared<Session>());
    Session* const session = sessions_.back().get();
    session->id = sessions_.size();
    session->tokens.resize(computed + pending);
    for (size_t i = 0; i < session->tokens.size(); ++i) session->tokens[i] = static_cast<int32_t>(100 + i);
    session->computed = computed;
    session->request = std::make_shared<Request>(session->id, session->id, RequestParams(), queue_, 8);
    session->request->worst_blocks = worst_blocks;
    session->request->deadline_ns = deadline_ns;
    scheduler_->Submit(session);
    return session;
  }

  std::vector<uint64_t> Plan() {
    plan_->Begin(++step_);
    planned_.clear();
    scheduler_->Plan(/*now_ns=*/step_ * 10, *plan_, planned_);
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

  void End(Session* session) {
    scheduler_->Remove(session);
    session->request = nullptr;
  }

  std::shared_ptr<EventQueue> queue_ = *EventQueue::Create(nullptr);
  SchedulerLimits limits_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<BatchPlan> plan_;
  std::vector<std::shared_ptr<Session>> sessions_;
  std::vector<Session*> planned_;
  uint64_t step_ = 0;
};

using Ids = std::vector<uint64_t>;

TEST_F(SchedulerTest, WithoutRequestsItsPlanIsEmpty) {
  EXPECT_FALSE(scheduler_->HasWork());
  EXPECT_EQ(Plan(), Ids());
  EXPECT_EQ(scheduler_->NextDeadlineNs(), 0);
}

TEST_F(SchedulerTest, APromptIsPlannedWholeAndItsLastRowIsSampled) {
  Session* const session = Submit(5);
  EXPECT_TRUE(scheduler_->HasWork());
  EXPECT_EQ(Plan(), Ids{1});
  const PlanSequence& sequence = plan_->sequences()[0];
  EXPECT_EQ(sequence.row_count, 5);
  EXPECT_EQ(sequence.first_position, 0);
  EXPECT_EQ(sequence.sample, 1);
  EXPECT_EQ(std::vector<int32_t>(plan_->tokens().begin(), plan_->tokens().end()), session->tokens);
  EXPECT_EQ(session->request->started_ns, 10);
}

TEST_F(SchedulerTest, ALongPromptComesInChunksAndOnlyTheLastIsSampled) {
  SchedulerLimits limits;
  limits.batch_tokens = 4;
  Use(limits);
  Submit(10);
  for (const int32_t position : {0, 4, 8}) {
    ASSERT_EQ(Plan(), Ids{1});
    const PlanSequence& sequence = plan_->sequences()[0];
    EXPECT_EQ(sequence.first_position, position);
    EXPECT_EQ(sequence.row_count, position == 8 ? 2 : 4);
    EXPECT_EQ(sequence.sample, position == 8 ? 1 : 0);
    EXPECT_EQ(plan_->tokens()[0], 100 + position);
    Commit();
  }
}

TEST_F(SchedulerTest, ADecodingSequencesInputIsASlotNotAValue) {
  Submit(3);
  Plan();
  Commit();
  ASSERT_EQ(Plan(), Ids{1});
  EXPECT_EQ(plan_->tokens()[0], kLastToken);
  EXPECT_EQ(plan_->sequences()[0].first_position, 3);
}

TEST_F(SchedulerTest, ASingleTokenThatTheHostAppendedIsAValue) {
  Submit(1, 1, 0, /*computed=*/6);
  ASSERT_EQ(Plan(), Ids{1});
  EXPECT_EQ(plan_->tokens()[0], 106);
}

TEST_F(SchedulerTest, DecodingSequencesComeBeforePromptsWhichShareWhatIsLeft) {
  SchedulerLimits limits;
  limits.batch_tokens = 8;
  Use(limits);
  Session* const decoding = Submit(2);
  Plan();
  Commit();
  Submit(5);
  Submit(5);
  Plan();
  EXPECT_EQ(planned_[0], decoding);
  ASSERT_EQ(planned_.size(), 3u);
  EXPECT_EQ(plan_->sequences()[0].row_count, 1);
  EXPECT_EQ(plan_->sequences()[1].row_count, 5);
  EXPECT_EQ(plan_->sequences()[2].row_count, 2);
  EXPECT_EQ(plan_->sequences()[2].sample, 0);
}

TEST_F(SchedulerTest, ANewRequestJoinsTheNextBatchOfThoseThatRun) {
  Submit(4);
  Plan();
  Commit();
  Submit(4);
  EXPECT_EQ(Plan().size(), 2u);
}

TEST_F(SchedulerTest, AdmitsByTheWorstCaseOfBlocksAndNobodyOvertakes) {
  SchedulerLimits limits;
  limits.total_blocks = 10;
  Use(limits);
  Session* const first = Submit(1, 6);
  Submit(1, 5);
  Submit(1, 1);  // would fit, but stands behind
  EXPECT_EQ(Plan(), Ids{1});
  EXPECT_EQ(scheduler_->running(), 1);
  EXPECT_EQ(scheduler_->waiting(), 2);
  End(first);
  EXPECT_EQ(Plan().size(), 2u);
  EXPECT_EQ(scheduler_->waiting(), 0);
}

TEST_F(SchedulerTest, AWaitingRequestThatIsRemovedLetsTheNextOneIn) {
  SchedulerLimits limits;
  limits.total_blocks = 10;
  Use(limits);
  Submit(1, 6);
  Session* const large = Submit(1, 5);
  Submit(1, 4);
  EXPECT_EQ(Plan(), Ids{1});
  End(large);
  EXPECT_EQ(Plan().size(), 2u);
  Session stranger;
  scheduler_->Remove(&stranger);  // nothing happens
  EXPECT_EQ(scheduler_->running(), 2);
}

TEST_F(SchedulerTest, ASessionWhosePredecessorIsStillInABatchWaitsForIt) {
  Session* const session = Submit(3);
  session->in_flight = true;
  Submit(2);
  EXPECT_FALSE(scheduler_->HasWork());
  EXPECT_EQ(Plan(), Ids());
  session->in_flight = false;
  EXPECT_TRUE(scheduler_->HasWork());
  EXPECT_EQ(Plan().size(), 2u);
}

TEST_F(SchedulerTest, WithMoreSequencesThanABatchTakesEachComesToItsTurn) {
  SchedulerLimits limits;
  limits.batch_sequences = 3;
  Use(limits);
  for (int i = 0; i < 8; ++i) Submit(1);
  std::map<uint64_t, int> planned;
  for (int step = 0; step < 80; ++step) {
    const Ids ids = Plan();
    EXPECT_EQ(ids.size(), 3u);
    EXPECT_EQ(std::set<uint64_t>(ids.begin(), ids.end()).size(), 3u);
    for (const uint64_t id : ids) ++planned[id];
    Commit();
  }
  for (const auto& [id, times] : planned) EXPECT_EQ(times, 30) << id;
}

TEST_F(SchedulerTest, LongPromptsTakeTurns) {
  SchedulerLimits limits;
  limits.batch_tokens = 4;
  Use(limits);
  Submit(40);
  Submit(40);
  std::map<uint64_t, int> planned;
  for (int step = 0; step < 10; ++step) {
    for (const uint64_t id : Plan()) ++planned[id];
    Commit();
  }
  EXPECT_EQ(planned[1], 5);
  EXPECT_EQ(planned[2], 5);
}

TEST_F(SchedulerTest, ARequestWithoutRoomForItsEventsIsNotPlanned) {
  Session* const starved = Submit(1);
  Submit(1);
  TokenOutput output;
  output.tag = 1;
  output.has_token = true;
  while (queue_->HasRoom(*starved->request)) queue_->PostToken(*starved->request, output);
  EXPECT_EQ(Plan(), Ids{2});
  End(sessions_[1].get());
  EXPECT_FALSE(scheduler_->HasWork());
  EXPECT_EQ(Plan(), Ids());
  std::vector<uint64_t> buffer(1000);
  queue_->Poll(0, reinterpret_cast<uint8_t*>(buffer.data()), 8000);
  EXPECT_TRUE(scheduler_->HasWork());
  EXPECT_EQ(Plan(), Ids{1});
}

TEST_F(SchedulerTest, IsFullAtItsBound) {
  SchedulerLimits limits;
  limits.max_requests = 2;
  limits.total_blocks = 1;
  Use(limits);
  Submit(1);
  EXPECT_FALSE(scheduler_->full());
  Session* const waiting = Submit(1);
  EXPECT_TRUE(scheduler_->full());
  Plan();
  EXPECT_TRUE(scheduler_->full());  // running ones count
  End(waiting);
  EXPECT_FALSE(scheduler_->full());
}

TEST_F(SchedulerTest, KnowsTheEarliestDeadlineAndFindsThoseThatPassed) {
  SchedulerLimits limits;
  limits.total_blocks = 2;
  Use(limits);
  Submit(1, 1, 500);
  Submit(1, 1, 0);
  Submit(1, 1, 300);  // not admitted
  Plan();
  EXPECT_EQ(scheduler_->waiting(), 1);
  EXPECT_EQ(scheduler_->NextDeadlineNs(), 300);
  Ids found;
  const auto end = [&](Session* session) {
    found.push_back(session->id);
    End(session);
  };
  scheduler_->ForEachExpired(299, end);
  EXPECT_EQ(found, Ids());
  scheduler_->ForEachExpired(300, end);
  EXPECT_EQ(found, Ids{3});
  EXPECT_EQ(scheduler_->NextDeadlineNs(), 500);
  scheduler_->ForEachExpired(1000, end);
  EXPECT_EQ(found, (Ids{3, 1}));
  EXPECT_EQ(scheduler_->NextDeadlineNs(), 0);
}

TEST_F(SchedulerTest, WhenAllExpireAtOnceEachIsFoundOnce) {
  for (int i = 0; i < 5; ++i) Submit(1, 1, 100);
  Plan();
  for (int i = 0; i < 3; ++i) Submit(1, 1, 100);
  std::set<uint64_t> found;
  scheduler_->ForEachExpired(100, [&](Session* session) {
    EXPECT_TRUE(found.insert(session->id).second);
    End(session);
  });
  EXPECT_EQ(found.size(), 8u);
}

}  // namespace
}  // namespace tessera
