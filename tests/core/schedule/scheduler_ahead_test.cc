// What may be planned while batches are in flight: behind a sample, behind a chunk, or not at all.
#include "tests/core/schedule/scheduler_fixture.h"

namespace tessera {
namespace {

using SchedulerAhead = SchedulerTest;

SchedulerLimits InFlight(int32_t depth, bool slots) {
  SchedulerLimits limits;
  limits.batch_tokens = 100;
  limits.depth = depth;
  limits.slots = slots;
  return limits;
}

TEST_F(SchedulerAhead, BehindASampleInFlightTheNextRowIsASlot) {
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

TEST_F(SchedulerAhead, WithoutSlotsASampleInFlightIsWaitedForButAPromptGoesOn) {
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

TEST_F(SchedulerAhead, NothingIsPlannedBehindASampleThatEndsTheRequestOrWhoseTokenItsChoiceNeeds) {
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

TEST_F(SchedulerAhead, ARequestBehindACancelledOneInFlightWaitsForItsEnd) {
  Use(InFlight(2, true));
  Session* const session = Submit(5);
  Plan();
  Fly();
  scheduler_->Remove(session);
  session->request = std::make_shared<Request>(9, 9, RequestParams(), queue_, 8);
  scheduler_->Submit(session, step_);
  EXPECT_EQ(Plan(), Ids());
}

TEST_F(SchedulerAhead, APipelinesStagesShareTheDecodingSequences) {
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
