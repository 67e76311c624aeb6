// Deadlines, on a clock that the test moves.
#include <gtest/gtest.h>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

RequestParams Until(int64_t deadline_ns, int64_t max_tokens = 20) {
  RequestParams params = Params(max_tokens);
  params.deadline_ns = deadline_ns;
  return params;
}

void ExpectDeadline(EngineHarness& h, uint64_t tag) {
  ASSERT_EQ(h.events.Of(tag).terminals, 1);
  EXPECT_EQ(h.events.Of(tag).reason(), FinishReason::kDeadline);
  EXPECT_EQ(h.events.Of(tag).finished.status, static_cast<int32_t>(ErrorCode::kDeadlineExceeded));
}

TEST(EngineDeadline, InTheQueueEndsARequestThatNeverRan) {
  EngineOptions options = HarnessOptions();
  options.max_running = 1;
  EngineHarness h(options);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 50);
  const std::shared_ptr<Session> queued = h.SessionOf(Prompt(2, 10));
  h.Generate(queued, 2, Until(1000));
  h.Step();
  h.clock.Advance(999);
  h.Step();
  h.Drain();
  EXPECT_FALSE(h.events.Ended(2));
  h.clock.Advance(1);
  h.Step();
  h.Drain();
  ExpectDeadline(h, 2);
  EXPECT_EQ(h.events.Of(2).finished.queued_ns, 1000);
  EXPECT_EQ(h.events.Of(2).finished.prompt_ns, 0);
  h.Run();
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 50));
  h.Generate(queued, 3, 4);
  h.Run();
  EXPECT_EQ(h.events.Of(3).tokens, h.oracle.Continue(Prompt(2, 10), 4));
}

TEST(EngineDeadline, BetweenAPromptsChunksKeepsWhatWasComputed) {
  EngineHarness h;
  const std::vector<int32_t> prompt = Prompt(1, 50);
  const std::shared_ptr<Session> session = h.SessionOf(prompt);
  h.Generate(session, 1, Until(1000));
  h.Step();
  h.clock.Advance(1000);
  h.Step();
  h.Drain();
  ExpectDeadline(h, 1);
  EXPECT_EQ(h.events.Of(1).finished.prompt_tokens, 32u);
  h.Generate(session, 2, 4);
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(prompt, 4));
  EXPECT_EQ(h.events.Of(2).finished.prompt_tokens, 18u);
}

TEST(EngineDeadline, WhileDecodingKeepsTheTokensUntilThen) {
  EngineHarness h;
  h.simulation->TakeTime(&h.clock, 1);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, Until(5 * kHarnessRegions + 3));  // in the sixth step
  h.Run();
  ExpectDeadline(h, 1);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 5));
  EXPECT_EQ(h.TokensAfter(session, 10), h.events.Of(1).tokens);
  const FinishedRecord& finished = h.events.Of(1).finished;
  EXPECT_EQ(finished.queued_ns, 0);
  EXPECT_EQ(finished.prompt_ns, kHarnessRegions);
  EXPECT_EQ(finished.decode_ns, 4 * kHarnessRegions + 3);
  // The step was left where the deadline passed, for nobody wanted it any more.
  EXPECT_EQ(h.simulation->regions(), 5 * kHarnessRegions + 3);
  ExpectBlocksConserved(*h.engine, {session});
}

TEST(EngineDeadline, WithinALongRegionEndsTheRequestThere) {
  EngineHarness h;
  h.simulation->TakeTime(&h.clock, 1);
  h.simulation->CutRegions(100);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, Until(250));
  EXPECT_FALSE(h.Step().work_left);
  h.Drain();
  ExpectDeadline(h, 1);
  EXPECT_EQ(h.simulation->tasks(), 250);
  ExpectBlocksConserved(*h.engine, {session});
  // Of another one's neighbour: the batch goes on with what is left of it.
  h.Generate(h.SessionOf(Prompt(2, 10)), 2, Until(250));
  h.Generate(h.SessionOf(Prompt(3, 10)), 3, 1);
  EXPECT_FALSE(h.Step().work_left);
  h.Drain();
  ExpectDeadline(h, 2);
  EXPECT_EQ(h.events.Of(3).tokens, h.oracle.Continue(Prompt(3, 10), 1));
  EXPECT_EQ(h.simulation->tasks(), 250 + 100 * kHarnessRegions);
}

TEST(EngineDeadline, OfOneRequestDoesNotStopTheBatchOfTheOthers) {
  EngineHarness h;
  h.simulation->TakeTime(&h.clock, 1);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, Until(3 * kHarnessRegions - 5));
  h.Generate(h.SessionOf(Prompt(2, 10)), 2, 10);
  h.Run();
  ExpectDeadline(h, 1);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 2));
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 10));
  EXPECT_EQ(h.simulation->regions(), 10 * kHarnessRegions);
}

TEST(EngineDeadline, WhileADeviceComputesEndsTheRequestThereAndTheStepGoesOn) {
  EngineHarness h(HarnessOptions(), /*depth=*/2);
  h.simulation->TakeTime(&h.clock, 1);
  int64_t ended_at = 0;
  h.simulation->BeforeRegion([&](const Simulation::Call&) {
    h.Drain();
    if (h.events.Ended(1) && ended_at == 0) ended_at = h.simulation->regions();
  });
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, Until(kHarnessRegions + 5));
  h.Generate(h.SessionOf(Prompt(2, 10)), 2, 3);
  h.Step();
  h.Step();
  EXPECT_EQ(ended_at, kHarnessRegions + 6);
  EXPECT_EQ(h.simulation->regions(), 2 * kHarnessRegions);
  h.Drain();
  ExpectDeadline(h, 1);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 1));
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 2));
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 3));
  h.simulation->BeforeRegion(nullptr);
}

TEST(EngineDeadline, ThatIsFartherThanTheClockCountsNeverComes) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, Until(INT64_MAX, 3));
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kLength);
}

TEST(EngineDeadline, OnAThreadedEngineFarAwayLetsItSleepUntilTheNextRequest) {
  EngineHarness h(ThreadedOptions());
  RequestParams starving = Until(INT64_MAX - h.clock.NowNs() - 1, 200);
  starving.sampling.top_logprobs = kMaxTopLogprobs;
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, starving);
  // The second queue's request is served while the first one's pauses for want of room.
  const std::shared_ptr<EventQueue> other = *EventQueue::Create(nullptr);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(2, 10));
  ASSERT_TRUE(h.engine->Generate(session, Params(100), other, 2).ok());
  h.events.WaitForEnd(*other, 2);
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 100));
  h.events.WaitForEnd(*h.queue, 1);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 200));
}

TEST(EngineDeadline, EndsARequestThatPausesForWantOfRoom) {
  EngineHarness h;
  RequestParams params = Until(1000, 200);
  params.sampling.top_logprobs = kMaxTopLogprobs;
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, params);
  while (h.Step().work_left) {
  }
  h.clock.Advance(1000);
  h.Step();
  h.Drain();
  ExpectDeadline(h, 1);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), h.events.Of(1).tokens.size()));
}

}  // namespace
}  // namespace tessera
