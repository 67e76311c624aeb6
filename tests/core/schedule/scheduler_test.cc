// What the next batch computes: who is admitted, who comes first, who waits.
#include "core/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "tests/core/schedule/scheduler_fixture.h"

namespace tessera {
namespace {

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
  Submit(1, 0, 0, /*computed=*/6);
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

TEST_F(SchedulerTest, APromptThatDoesNotFitWaitsAndNobodyOvertakes) {
  blocks_.total = 10;
  Session* const first = Submit(6);
  Submit(8);
  Submit(1);  // would fit, but stands behind
  EXPECT_EQ(Plan(), Ids{1});
  Commit();
  EXPECT_EQ(Plan(), Ids{1});
  EXPECT_EQ(scheduler_->running(), 1);
  EXPECT_EQ(scheduler_->waiting(), 2);
  End(first);
  EXPECT_EQ(Plan(), Ids{2});
}

TEST_F(SchedulerTest, AWaitingRequestThatIsRemovedLetsTheNextOneIn) {
  blocks_.total = 10;
  Submit(5);
  Session* const large = Submit(8);
  Submit(2);
  EXPECT_EQ(Plan(), Ids{1});
  Commit();
  End(large);
  EXPECT_EQ(Plan().size(), 2u);
  Session stranger;
  scheduler_->Remove(&stranger);  // nothing happens
  EXPECT_EQ(scheduler_->running(), 2);
}

TEST_F(SchedulerTest, WhenBlocksRunOutTheLastInRankGivesWayAndComesBack) {
  blocks_.total = 12;
  Submit(3);
  Submit(3);
  Submit(5);
  ASSERT_EQ(Plan(), (Ids{1, 2}));  // the third would leave no block to those that run
  Commit();
  for (int step = 0; step < 3; ++step) {
    ASSERT_EQ(Plan(), (Ids{1, 2}));
    Commit();
  }
  EXPECT_EQ(blocks_.free(), 0);
  EXPECT_EQ(Plan(), Ids{1});
  EXPECT_EQ(blocks_.preempted, Ids{2});
  EXPECT_FALSE(sessions_[1]->request->admitted);
  Commit();
  End(sessions_[0].get());
  EXPECT_EQ(Plan(), Ids{2});
  EXPECT_EQ(plan_->sequences()[0].row_count, 7) << "its prompt and what it had generated, again";
  EXPECT_EQ(plan_->sequences()[0].first_position, 0);
  EXPECT_EQ(plan_->sequences()[0].sample, 1);
  EXPECT_EQ(plan_->tokens()[6], 7) << "a value: no batch before has sampled it";
}

TEST_F(SchedulerTest, AHigherPriorityGoesFirstAndTakesBlocksFromALower) {
  blocks_.total = 12;
  Submit(5);
  ASSERT_EQ(Plan(), Ids{1});
  Commit();
  Submit(2, /*priority=*/-1);
  Submit(8, /*priority=*/1);
  EXPECT_EQ(Plan(), Ids{3});
  EXPECT_EQ(blocks_.preempted, Ids{1});
  EXPECT_EQ(scheduler_->waiting(), 2);
}

TEST_F(SchedulerTest, AHigherPriorityTakesTheLastRunningSlotToo) {
  SchedulerLimits limits;
  limits.max_running = 2;
  Use(limits);
  Submit(1);
  Submit(1);
  ASSERT_EQ(Plan().size(), 2u);
  Commit();
  Submit(1);
  EXPECT_EQ(Plan(), (Ids{1, 2})) << "of one priority, the later waits";
  Commit();
  Submit(1, /*priority=*/2);
  const Ids ids = Plan();
  EXPECT_EQ(std::set<uint64_t>(ids.begin(), ids.end()), (std::set<uint64_t>{1, 4}));
}

TEST_F(SchedulerTest, PriorityIsWorthAFixedNumberOfBatchesSoThatNobodyStarves) {
  SchedulerLimits limits;
  limits.max_running = 1;
  limits.batch_sequences = 1;
  Use(limits);
  Session* const low = Submit(1, /*priority=*/-1);
  int64_t waited = 0;
  for (; waited < 3 * kBatchesPerPriority && low->computed == 0; ++waited) {
    if (scheduler_->waiting() < 3) Submit(1, /*priority=*/0);  // a never-ending stream
    Plan();
    Commit();
    if (!planned_.empty() && planned_[0] != low) End(planned_[0]);
  }
  EXPECT_GE(waited, kBatchesPerPriority - 1);
  EXPECT_LE(waited, kBatchesPerPriority + 8);
}

TEST_F(SchedulerTest, PromptsAdvanceBesideAnyNumberOfDecodingSequences) {
  SchedulerLimits limits;
  limits.batch_sequences = 8;
  limits.batch_tokens = 8;
  limits.max_running = 32;
  Use(limits);
  for (int i = 0; i < 20; ++i) Submit(1);
  for (int step = 0; step < 40; ++step) {
    Plan();
    Commit();
  }
  Session* const prompt = Submit(12);
  for (int step = 0; step < 12; ++step) {
    Plan();
    Commit();
  }
  EXPECT_GE(prompt->computed, 12u) << "a row a batch at least";
}

TEST_F(SchedulerTest, APausedRequestGivesWayWhateverItsRank) {
  blocks_.total = 10;
  Session* const paused = Submit(6);
  ASSERT_EQ(Plan(), Ids{1});
  Commit();
  TokenOutput output;
  output.tag = 1;
  output.has_token = true;
  while (queue_->HasRoom(*paused->request)) queue_->PostToken(*paused->request, output);
  Submit(8);
  EXPECT_EQ(Plan(), Ids{2});
  EXPECT_EQ(blocks_.preempted, Ids{1});
  Commit();
  EXPECT_EQ(Plan(), Ids{2}) << "and it is not let in again before it is polled";
  Commit();
  std::vector<uint64_t> buffer(4000);
  while (!queue_->HasRoom(*paused->request)) {
    queue_->Poll(0, reinterpret_cast<uint8_t*>(buffer.data()), 32000);
  }
  End(sessions_[1].get());
  EXPECT_EQ(Plan(), Ids{1});
}

TEST_F(SchedulerTest, TheFirstInRankAdvancesWithEveryBatchHoweverSmall) {
  SchedulerLimits limits;
  limits.batch_tokens = 1;
  Use(limits);
  Session* const first = Submit(5);
  for (int i = 0; i < 5; ++i) Submit(1);
  for (int step = 0; step < 8; ++step) {
    ASSERT_EQ(Plan(), Ids{1});
    Commit();
  }
  EXPECT_EQ(first->computed, 8u);
}

TEST_F(SchedulerTest, ASessionWhosePredecessorIsStillInABatchWaitsForIt) {
  Session* const session = Submit(3);
  session->in_flight = 1;
  Submit(2);
  EXPECT_TRUE(scheduler_->HasWork());
  EXPECT_EQ(Plan(), Ids{2}) << "others may pass";
  session->in_flight = 0;
  EXPECT_EQ(Plan().size(), 2u);
}

TEST_F(SchedulerTest, WithMoreSequencesThanABatchTakesEachComesToItsTurn) {
  SchedulerLimits limits;
  limits.batch_sequences = 3;
  Use(limits);
  for (int i = 0; i < 8; ++i) Submit(1);
  for (int step = 0; step < 40; ++step) {
    Plan();
    Commit();
  }
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

TEST_F(SchedulerTest, LongPromptsShareABatchInRank) {
  SchedulerLimits limits;
  limits.batch_tokens = 100;
  Use(limits);
  Submit(200);
  Submit(200);
  Submit(10);
  ASSERT_EQ(Plan(), (Ids{1, 2, 3}));
  EXPECT_EQ(plan_->sequences()[0].row_count, 33);
  EXPECT_EQ(plan_->sequences()[1].row_count, 33);
  EXPECT_EQ(plan_->sequences()[2].row_count, 10);
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
  limits.max_running = 1;
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
  limits.max_running = 2;
  Use(limits);
  Submit(1, 0, 500);
  Submit(1, 0, 0);
  Submit(1, 0, 300);  // not admitted
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
  for (int i = 0; i < 5; ++i) Submit(1, 0, 100);
  Plan();
  for (int i = 0; i < 3; ++i) Submit(1, 0, 100);
  std::set<uint64_t> found;
  scheduler_->ForEachExpired(100, [&](Session* session) {
    EXPECT_TRUE(found.insert(session->id).second);
    End(session);
  });
  EXPECT_EQ(found.size(), 8u);
}

}  // namespace
}  // namespace tessera
