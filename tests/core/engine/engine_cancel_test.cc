// Cancel and release, at every point of a request's life: the terminal event at once, the session as it was
// said to be left, and everything after it as if the request had never gone further.
#include <gtest/gtest.h>

#include <thread>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

enum class Point { kQueued, kBeforeFirstStep, kInPrompt, kInFlightPrompt, kInDecode, kInFlightDecode };

struct Case {
  Point point;
  CancelEffect effect;
};

class CancelAt : public testing::TestWithParam<Case> {};

constexpr size_t kPromptTokens = 50;  // chunks of 32 and 18

// Brings the request of tag 1 to the point.
void Bring(EngineHarness& h, Point point) {
  if (point == Point::kBeforeFirstStep || point == Point::kQueued) return;
  if (point == Point::kInFlightPrompt) {
    for (int i = 0; i < 7; ++i) h.Step(0);
    return;
  }
  h.Step();
  if (point == Point::kInPrompt) return;
  for (int i = 0; i < 3; ++i) h.Step();
  if (point == Point::kInDecode) return;
  for (int i = 0; i < 7; ++i) h.Step(0);
}

TEST_P(CancelAt, LeavesTheSessionAsChosenAndItGoesOnLikeAFreshOne) {
  const auto [point, effect] = GetParam();
  for (const bool at_once : {false, true}) {  // go on while the old batch is still in flight
    EngineOptions options = HarnessOptions();
    options.cache_tokens = 128;
    EngineHarness h(options);
    std::shared_ptr<Session> occupant;
    if (point == Point::kQueued) {
      occupant = h.SessionOf(Prompt(9, 10));
      h.Generate(occupant, 9, 100);  // so that the other is not admitted
      h.Step();
    }
    const std::vector<int32_t> prompt = Prompt(1, kPromptTokens);
    const std::shared_ptr<Session> session = h.SessionOf(prompt);
    h.Generate(session, 1, 20);
    Bring(h, point);
    const bool in_flight = point == Point::kInFlightPrompt || point == Point::kInFlightDecode;
    ASSERT_EQ(session->in_flight, in_flight ? 1 : 0);

    h.engine->Cancel(*session, effect);

    h.Drain();  // the terminal event is there without another step
    const ReadEvents& events = h.events.Of(1);
    ASSERT_EQ(events.terminals, 1);
    EXPECT_EQ(events.reason(), FinishReason::kCancelled);
    EXPECT_EQ(events.finished.status, static_cast<int32_t>(ErrorCode::kCancelled));
    const bool decoding = point == Point::kInDecode || point == Point::kInFlightDecode;
    EXPECT_EQ(events.tokens.size(), decoding ? 3u : 0u);
    const std::vector<int32_t> kept = effect == CancelEffect::kKeep ? events.tokens : std::vector<int32_t>();
    EXPECT_EQ(h.TokensAfter(session, kPromptTokens), kept);
    EXPECT_EQ(events.finished.generated_tokens, kept.size());
    if (!at_once) {
      if (occupant != nullptr) h.engine->Cancel(*occupant, CancelEffect::kKeep);
      h.Run();
      EXPECT_EQ(session->in_flight, 0);
      ExpectBlocksConserved(*h.engine,
                            occupant == nullptr ? std::vector{session} : std::vector{session, occupant});
    }
    h.Append(session, Prompt(2, 5));
    const std::vector<int32_t> tokens = h.TokensOf(session);
    h.Generate(session, 2, 8);
    h.Run();
    EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(tokens, 8)) << at_once;
    EXPECT_EQ(h.events.Of(1).terminals, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    EveryPoint, CancelAt,
    testing::Values(Case{Point::kQueued, CancelEffect::kKeep}, Case{Point::kQueued, CancelEffect::kDrop},
                    Case{Point::kBeforeFirstStep, CancelEffect::kKeep},
                    Case{Point::kBeforeFirstStep, CancelEffect::kDrop},
                    Case{Point::kInPrompt, CancelEffect::kKeep}, Case{Point::kInPrompt, CancelEffect::kDrop},
                    Case{Point::kInFlightPrompt, CancelEffect::kKeep},
                    Case{Point::kInFlightPrompt, CancelEffect::kDrop},
                    Case{Point::kInDecode, CancelEffect::kKeep}, Case{Point::kInDecode, CancelEffect::kDrop},
                    Case{Point::kInFlightDecode, CancelEffect::kKeep},
                    Case{Point::kInFlightDecode, CancelEffect::kDrop}));

TEST(EngineCancel, ABatchThatNobodyWantsAnyMoreEndsAtTheNextStopPoint) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, 5);
  h.Step(0);
  h.engine->Cancel(*session, CancelEffect::kKeep);
  const int64_t before = h.simulation->regions();
  EXPECT_FALSE(h.Step().work_left);
  EXPECT_EQ(h.simulation->regions(), before + 1);
  EXPECT_EQ(h.FreeBlocks(), h.TotalBlocks());
}

TEST(EngineCancel, OfOneSessionLeavesTheOthersInItsBatchAlone) {
  EngineHarness h;
  const std::shared_ptr<Session> one = h.SessionOf(Prompt(1, 10)), other = h.SessionOf(Prompt(2, 12));
  h.Generate(one, 1, 10);
  h.Generate(other, 2, 10);
  for (int i = 0; i < 3; ++i) h.Step();
  h.Step(0);
  ASSERT_TRUE(one->in_flight && other->in_flight);
  h.engine->Cancel(*one, CancelEffect::kDrop);
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 12), 10));
}

TEST(EngineCancel, ASecondCancelAndOneOfAnIdleSessionDoNothing) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.engine->Cancel(*session, CancelEffect::kKeep);
  h.Generate(session, 1, 2);
  h.engine->Cancel(*session, CancelEffect::kKeep);
  h.engine->Cancel(*session, CancelEffect::kDrop);
  h.Drain();
  EXPECT_EQ(h.events.Of(1).terminals, 1);
  EXPECT_EQ(h.TokensOf(session), Prompt(1, 10));
  EXPECT_EQ(h.engine->GetMetrics().requests_finished, 1u);
}

TEST(EngineCancel, TextHeldBackComesOutWhenTokensAreKeptOnly) {
  for (const CancelEffect effect : {CancelEffect::kKeep, CancelEffect::kDrop}) {
    EngineHarness h;
    h.simulation->Override([](uint64_t) { return 3 + 'a'; });
    RequestParams params = Params(20);
    params.stop = {"aaaaaaaaaaaaaaaa"};
    const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 4));
    h.Generate(session, 1, params);
    for (int i = 0; i < 3; ++i) h.Step();
    h.engine->Cancel(*session, effect);
    h.Drain();
    EXPECT_EQ(h.events.Of(1).text, effect == CancelEffect::kKeep ? "aaa" : "");
  }
}

TEST(EngineCancel, AReleasedSessionEndsItsRequestAndGivesItsBlocksBackWithItsBatch) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10)), other = h.SessionOf(Prompt(2, 10));
  h.Generate(session, 1, 5);
  h.Generate(other, 2, 5);
  h.Step(0);
  h.engine->ReleaseSession(*session);
  h.Drain();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kCancelled);
  EXPECT_FALSE(session->blocks[0].empty());  // the batch still writes there
  EXPECT_EQ(h.engine->GetMetrics().sessions, 2);
  h.Run();
  EXPECT_TRUE(session->blocks[0].empty());
  EXPECT_EQ(h.engine->GetMetrics().sessions, 1);
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 5));
  ExpectBlocksConserved(*h.engine, {session, other});
  h.engine->ReleaseSession(*session);  // again: nothing
  EXPECT_EQ(h.engine->GetMetrics().sessions, 1);
}

TEST(EngineCancel, OnAThreadedEngineTheEventDoesNotWaitForTheBatch) {
  for (const CancelEffect effect : {CancelEffect::kKeep, CancelEffect::kDrop}) {
    EngineHarness h(ThreadedOptions());
    const std::vector<int32_t> prompt = Prompt(1, 10);
    const std::shared_ptr<Session> session = h.SessionOf(prompt);
    h.simulation->HoldAt(2, 5);
    h.Generate(session, 1, 50);
    h.simulation->WaitUntilHeld();

    h.engine->Cancel(*session, effect);
    h.events.WaitForEnd(*h.queue, 1);  // while the region has not returned
    const std::vector<int32_t> kept = h.TokensAfter(session, 10);
    EXPECT_EQ(kept.size(), effect == CancelEffect::kKeep ? 2u : 0u);
    h.Append(session, Prompt(2, 6));
    const std::vector<int32_t> tokens = h.TokensOf(session);
    h.Generate(session, 2, 6);
    EXPECT_EQ(h.TryGenerate(session, 3, Params(1)), ErrorCode::kBusy);
    h.simulation->Release();
    h.events.WaitForEnd(*h.queue, 2);
    EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(tokens, 6));
  }
}

TEST(EngineCancel, OnAThreadedEngineALongRegionIsLeftAtItsNextTask) {
  EngineHarness h(ThreadedOptions());
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.simulation->CutRegions(1000);
  h.simulation->HoldAtTask(3500);
  h.Generate(session, 1, 50);
  h.simulation->WaitUntilHeld();
  h.engine->Cancel(*session, CancelEffect::kDrop);
  h.simulation->Release();
  while (h.FreeBlocks() != h.TotalBlocks()) std::this_thread::yield();  // its blocks return with its batch
  EXPECT_EQ(h.simulation->tasks(), 3501);
  h.simulation->CutRegions(1);
  h.Generate(session, 2, 6);
  h.events.WaitForEnd(*h.queue, 2);
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(1, 10), 6));
}

TEST(EngineCancel, WithinARegionOfOneSessionLeavesTheOthersInItsBatchAlone) {
  EngineHarness h;
  h.simulation->CutRegions(4);
  const std::shared_ptr<Session> one = h.SessionOf(Prompt(1, 10)), other = h.SessionOf(Prompt(2, 12));
  h.Generate(one, 1, 10);
  h.Generate(other, 2, 3);
  for (int i = 0; i < 4 * 7 + 2; ++i) h.Step(0);
  ASSERT_TRUE(one->in_flight && other->in_flight);
  h.engine->Cancel(*one, CancelEffect::kDrop);
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 12), 3));
  EXPECT_EQ(h.simulation->tasks(), 3 * 4 * kHarnessRegions);
  ExpectBlocksConserved(*h.engine, {one, other});
}

TEST(EngineCancel, AThreadedEngineForgetsASessionReleasedInFlight) {
  EngineHarness h(ThreadedOptions());
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.simulation->HoldAt(1, 3);
  h.Generate(session, 1, 50);
  h.simulation->WaitUntilHeld();
  h.engine->ReleaseSession(*session);
  h.events.WaitForEnd(*h.queue, 1);
  h.simulation->Release();
  // The next request's end comes after the batch's.
  const std::shared_ptr<Session> next = h.SessionOf(Prompt(2, 10));
  h.Generate(next, 2, 3);
  h.events.WaitForEnd(*h.queue, 2);
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 3));
  EXPECT_EQ(h.engine->GetMetrics().sessions, 1);
}

}  // namespace
}  // namespace tessera
