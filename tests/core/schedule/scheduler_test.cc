// What the next batch computes: who is admitted, who comes first, who waits.
#include "core/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace tessera {
namespace {

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

SchedulerLimits InFlight(int32_t depth, bool slots) {
  SchedulerLimits limits;
  limits.batch_tokens = 100;
  limits.depth = depth;
  limits.slots = slots;
  return limits;
}

TEST_F(SchedulerTest, BehindASampleInFlightTheNextRowIsASlot) {
  Use(InFlight(2, true));
  Session* const session = Submit(5);
  Plan();
  Fly();

  ASSERT_EQ(Plan(), Ids{1});

  const PlanSequence& sequence = plan_->sequences()[0];
  EXPECT_EQ(sequence.first_position, 5);
  EXPECT_EQ(sequence.row_count, 1);
  EXPECT_EQ(sequence.sample, 1);
  EXPECT_EQ(plan_->tokens()[0], kLastToken);
  EXPECT_EQ(session->pending(), 1u);
  Fly();
  EXPECT_EQ(Plan(), Ids()) << "two are in flight";
}

TEST_F(SchedulerTest, WithoutSlotsASampleInFlightIsWaitedForButAPromptGoesOn) {
  Use(InFlight(2, false));
  Submit(5);
  Submit(150);
  ASSERT_EQ(Plan(), (Ids{1, 2}));
  Fly();

  ASSERT_EQ(Plan(), Ids{2});

  EXPECT_EQ(plan_->sequences()[0].first_position, 95);
  EXPECT_EQ(plan_->sequences()[0].row_count, 55);
  EXPECT_EQ(plan_->sequences()[0].sample, 1);
}

TEST_F(SchedulerTest, NothingIsPlannedBehindASampleThatEndsTheRequestOrWhoseTokenItsChoiceNeeds) {
  Use(InFlight(2, true));
  const auto planned_ahead = [this](auto&& change) {
    Session* const session = Submit(5);
    session->request->token_limit = 1000;
    change(*session);
    Plan();
    Fly();
    const bool planned = !Plan().empty();
    session->in_flight = 0;
    End(session);
    return planned;
  };
  EXPECT_TRUE(planned_ahead([](Session&) {}));
  EXPECT_FALSE(planned_ahead([](Session& session) { session.request->token_limit = 6; }));
  EXPECT_FALSE(planned_ahead([](Session& session) { session.request->history.reserve(8); }));
  EXPECT_FALSE(planned_ahead([](Session& session) { session.logits.resize(10); }));
  EXPECT_FALSE(planned_ahead([this](Session&) { blocks_.may_reserve_ahead = false; }));
}

TEST_F(SchedulerTest, ARequestBehindACancelledOneInFlightWaitsForItsEnd) {
  Use(InFlight(2, true));
  Session* const session = Submit(5);
  Plan();
  Fly();
  scheduler_->Remove(session);
  session->request = std::make_shared<Request>(9, 9, RequestParams(), queue_, 8);
  scheduler_->Submit(session, step_);
  EXPECT_EQ(Plan(), Ids());
}

TEST_F(SchedulerTest, APipelinesStagesShareTheDecodingSequences) {
  Use(InFlight(3, false));
  for (int i = 0; i < 7; ++i) Submit(1);
  Plan();
  Commit();  // all seven decode from now on
  size_t seen = 0;
  for (const size_t expected : {size_t{3}, size_t{3}, size_t{1}}) {
    EXPECT_EQ(Plan().size(), expected);
    seen += planned_.size();
    Fly();
  }
  EXPECT_EQ(seen, 7u);
  EXPECT_EQ(Plan(), Ids());
}

}  // namespace
}  // namespace tessera
