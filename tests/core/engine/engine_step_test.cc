// A host that steps the engine itself: budgets, who may step, and what a step tells.
#include <gtest/gtest.h>

#include <thread>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

TEST(EngineStep, ABudgetOfNothingComputesOneRegionAndTheNextStepGoesOn) {
  EngineHarness h;
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 3);
  for (int64_t region = 1; region <= 3 * kHarnessRegions; ++region) {
    EXPECT_EQ(h.Step(0).work_left, region < 3 * kHarnessRegions);
    EXPECT_EQ(h.simulation->regions(), region);
  }
  EXPECT_FALSE(h.Step(0).work_left);
  EXPECT_EQ(h.simulation->regions(), 3 * kHarnessRegions);
  h.Drain();
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 3));
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kLength);
}

TEST(EngineStep, AnyBudgetsGiveTheSameTokens) {
  for (const int64_t budget : {1, 2, 5, 17, 18, 19, 100, 100000}) {
    EngineHarness h;
    h.simulation->TakeTime(&h.clock, 1);
    for (int i = 0; i < 4; ++i) h.Generate(h.SessionOf(Prompt(i, 20)), static_cast<uint64_t>(i), 10);
    while (h.Step(budget).work_left) h.Drain();
    h.Drain();
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(h.events.Of(static_cast<uint64_t>(i)).tokens, h.oracle.Continue(Prompt(i, 20), 10)) << budget;
    }
  }
}

TEST(EngineStep, ABudgetEndsAtTheFirstStopPointBehindIt) {
  EngineHarness h;
  h.simulation->TakeTime(&h.clock, 10);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 3);
  EXPECT_EQ(h.Step(35).elapsed_ns, 40);
  EXPECT_EQ(h.simulation->regions(), 4);
  EXPECT_EQ(h.Step(10 * kHarnessRegions).elapsed_ns, 10 * kHarnessRegions);  // into the second batch
  EXPECT_EQ(h.simulation->steps(), 2);
  h.Step(INT64_MAX);
  EXPECT_EQ(h.simulation->regions(), 3 * kHarnessRegions);
}

TEST(EngineStep, ABudgetEndsWithinALongRegion) {
  EngineHarness h;
  h.simulation->TakeTime(&h.clock, 10);
  h.simulation->CutRegions(100);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 3);
  int64_t tasks = 0;
  for (int step = 0; step < 50; ++step) {
    EXPECT_EQ(h.Step(35).elapsed_ns, 40);
    EXPECT_EQ(h.simulation->tasks(), tasks += 4);
  }
  EXPECT_EQ(h.simulation->regions(), 2);
  while (h.Step(77).work_left) h.Drain();
  h.Drain();
  EXPECT_EQ(h.simulation->tasks(), 3 * 100 * kHarnessRegions);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 3));
}

TEST(EngineStep, ABudgetOfNothingComputesTheLeastThatTheBackendCanBeLeftAfter) {
  EngineHarness h;
  h.simulation->CutRegions(5);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 3);
  for (int64_t task = 1; task <= 3 * 5 * kHarnessRegions; ++task) {
    EXPECT_EQ(h.Step(0).work_left, task < 3 * 5 * kHarnessRegions);
    EXPECT_EQ(h.simulation->tasks(), task);
  }
  h.Drain();
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 3));
}

TEST(EngineStep, ANegativeBudgetComputesOneBatch) {
  EngineHarness h;
  h.Generate(h.SessionOf(Prompt(1, 40)), 1, 2);
  StepStats stats = h.Step(-1);
  EXPECT_EQ(stats.prompt_tokens, 32u);
  EXPECT_EQ(stats.generated_tokens, 0u);
  EXPECT_TRUE(stats.work_left);
  stats = h.Step(-5);
  EXPECT_EQ(stats.prompt_tokens, 8u);
  EXPECT_EQ(stats.generated_tokens, 1u);
  stats = h.Step(-1);
  EXPECT_EQ(stats.prompt_tokens, 0u);
  EXPECT_EQ(stats.generated_tokens, 1u);
  EXPECT_FALSE(stats.work_left);
  EXPECT_EQ(h.simulation->steps(), 3);
}

TEST(EngineStep, WithNothingToDoComputesNothing) {
  EngineHarness h;
  for (const int64_t budget : {int64_t{-1}, int64_t{0}, int64_t{1000}}) {
    const StepStats stats = h.Step(budget);
    EXPECT_FALSE(stats.work_left);
    EXPECT_EQ(stats.generated_tokens, 0u);
  }
  EXPECT_EQ(h.simulation->regions(), 0);
}

TEST(EngineStep, DecodingSessionsGoOnWhileAPromptIsComputedInChunks) {
  EngineHarness h;
  const std::shared_ptr<Session> decoding = h.SessionOf(Prompt(1, 5));
  h.Generate(decoding, 1, 50);
  h.Step();
  h.Generate(h.SessionOf(Prompt(2, 100)), 2, 5);
  for (size_t i = 0; i < 3; ++i) {
    const StepStats stats = h.Step();
    EXPECT_EQ(stats.generated_tokens, 1u);
    EXPECT_EQ(stats.prompt_tokens, 31u);
    EXPECT_EQ(h.engine->TokenCount(*decoding), 7 + i);
  }
  h.Run();
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 5), 50));
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 100), 5));
}

TEST(EngineStep, ASecondStepperIsTurnedAway) {
  EngineHarness h;
  h.simulation->HoldAt(0, 3);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 3);
  std::thread stepper([&h] { h.Step(-1); });
  h.simulation->WaitUntilHeld();
  StepStats stats;
  EXPECT_EQ(CodeOf(h.engine->Step(-1, &stats)), ErrorCode::kBusy);
  // Everything else is answered while the region does not return.
  const std::shared_ptr<Session> other = h.SessionOf(Prompt(2, 10));
  h.Generate(other, 2, 3);
  h.engine->Cancel(*other, CancelEffect::kKeep);
  h.Drain();
  EXPECT_TRUE(h.events.Ended(2));
  h.simulation->Release();
  stepper.join();
  h.Run();
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 3));
}

TEST(EngineStep, AThreadedEngineIsNotStepped) {
  EngineHarness h(ThreadedOptions());
  StepStats stats;
  EXPECT_EQ(CodeOf(h.engine->Step(-1, &stats)), ErrorCode::kWrongState);
}

TEST(EngineStep, TheBackendHearsWhereTheHostsThreadComesAndGoes) {
  EngineHarness h;
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 2);
  h.Step(0);
  EXPECT_EQ(h.simulation->begin_steps(), 1);
  EXPECT_EQ(h.simulation->end_steps(), 1);  // the thread is handed back in the middle of a batch
  h.Step(-1);
  EXPECT_EQ(h.simulation->begin_steps(), 2);
  EXPECT_EQ(h.simulation->end_steps(), 2);
  h.Run();
  const int64_t ends = h.simulation->end_steps();
  h.Step(-1);  // nothing to do
  EXPECT_EQ(h.simulation->end_steps(), ends);
}

}  // namespace
}  // namespace tessera
