// A device that is gone for good: every request is answered, nothing else is accepted, and other engines go
// on.
#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

// (steps in flight, step, region)
class EngineLost : public testing::TestWithParam<std::tuple<int32_t, int64_t, int64_t>> {};

TEST_P(EngineLost, AnswersEveryRequestThatRunsOrWaitsOnce) {
  const auto [depth, step, region] = GetParam();
  EngineOptions options = HarnessOptions();
  options.batch_sequences = 2;
  EngineHarness h(options, depth);
  std::vector<std::shared_ptr<Session>> sessions;
  for (uint64_t tag = 0; tag < 5; ++tag) {
    sessions.push_back(h.SessionOf(Prompt(static_cast<int>(tag), 40)));
    h.Generate(sessions.back(), tag, 12);
  }
  h.simulation->LoseAt(step, region);

  h.Run();

  for (uint64_t tag = 0; tag < 5; ++tag) {
    ASSERT_EQ(h.events.Of(tag).terminals, 1);
    EXPECT_EQ(h.events.Of(tag).reason(), FinishReason::kError);
    EXPECT_EQ(h.events.Of(tag).finished.status, static_cast<int32_t>(ErrorCode::kLost));
    EXPECT_FALSE(h.events.Of(tag).message.empty());
  }
  ExpectBlocksConserved(*h.engine, sessions);
}

TEST_P(EngineLost, AcceptsNoMoreButTokensCanBeReadAndItCanBeClosed) {
  const auto [depth, step, region] = GetParam();
  EngineHarness h(HarnessOptions(), depth);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 60));
  h.Generate(session, 1, 12);
  h.simulation->LoseAt(step, region);
  h.Run();

  EXPECT_EQ(h.TryGenerate(session, 2, Params(3)), ErrorCode::kLost);
  EXPECT_EQ(CodeOf(h.engine->CreateSession(false).status()), ErrorCode::kLost);
  EXPECT_EQ(CodeOf(h.engine->Fork(*session, false).status()), ErrorCode::kLost);
  EXPECT_GE(h.TokensOf(session).size(), 60u);
  EXPECT_FALSE(h.Step().work_left);
  h.engine->ReleaseSession(*session);
  h.engine->Close();
  EXPECT_EQ(h.engine->GetMetrics().blocks_free, h.engine->GetMetrics().blocks_total);
}

INSTANTIATE_TEST_SUITE_P(Points, EngineLost,
                         testing::Combine(testing::Values(1, 2), testing::Values(0, 3),
                                          testing::Values(0, 9, kHarnessRegions - 1)));

TEST(EngineLostAlone, AnotherEngineGoesOn) {
  EngineHarness lost;
  EngineHarness other;
  lost.Generate(lost.SessionOf(Prompt(1, 9)), 1, 4);
  lost.simulation->LoseAt(0, 5);
  lost.Run();
  EXPECT_EQ(other.GenerateAlone(Prompt(1, 9), 4), other.oracle.Continue(Prompt(1, 9), 4));
}

TEST(EngineLostAlone, AThreadedEngineAnswersToo) {
  EngineHarness h(ThreadedOptions());
  h.simulation->LoseAt(2, 3);
  h.Generate(h.SessionOf(Prompt(1, 90)), 1, 4);
  h.events.WaitForEnd(*h.queue, 1);
  EXPECT_EQ(h.events.Of(1).finished.status, static_cast<int32_t>(ErrorCode::kLost));
}

}  // namespace
}  // namespace tessera
