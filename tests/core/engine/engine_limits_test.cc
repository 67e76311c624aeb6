// Where a request ends by itself, and what is refused: lengths, stops, contexts, caches, bounds and
// arguments.
#include <gtest/gtest.h>

#include "tests/core/engine/engine_harness.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

TEST(EngineLimits, MaxTokensMinusOneRunsToTheContextsEnd) {
  EngineOptions options = HarnessOptions();
  options.context_tokens = 40;
  EngineHarness h(options);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, -1);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kContext);
  EXPECT_EQ(h.events.Of(1).finished.status, 0);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 30));
  EXPECT_EQ(h.TryGenerate(session, 2, Params(1)), ErrorCode::kLimitExceeded);
  EXPECT_EQ(h.TryGenerate(session, 2, Params(-1)), ErrorCode::kLimitExceeded);
  EXPECT_EQ(CodeOf(h.engine->Append(*session, {5})), ErrorCode::kLimitExceeded);
  // But what is there may still be computed.
  h.Generate(session, 3, 0);
  h.Run();
  EXPECT_EQ(h.events.Of(3).reason(), FinishReason::kLength);
}

TEST(EngineLimits, MaxTokensBeyondTheContextEndThereToo) {
  EngineOptions options = HarnessOptions();
  options.context_tokens = 40;
  for (const int64_t max_tokens : {31l, 1000l, INT64_MAX}) {
    EngineHarness h(options);
    h.Generate(h.SessionOf(Prompt(1, 10)), 1, max_tokens);
    h.Run();
    EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kContext);
    EXPECT_EQ(h.events.Of(1).tokens.size(), 30u);
  }
  EngineHarness h(options);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 30);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kLength);
}

TEST(EngineLimits, WithACacheSmallerThanTheContextMinusOneFillsTheCache) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 32;
  EngineHarness h(options);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, -1);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kContext);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 22));
}

TEST(EngineLimits, ARequestThatTheCacheCanNeverHoldIsRefusedBeforeItRuns) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 32;
  EngineHarness h(options);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  const auto refused = h.engine->Generate(session, Params(23), h.queue, 1);
  EXPECT_EQ(CodeOf(refused.status()), ErrorCode::kLimitExceeded);
  EXPECT_NE(refused.status().message().find("engine.cache_tokens"), absl::string_view::npos);
  h.Generate(session, 2, 22);  // exactly
  h.Run();
  EXPECT_EQ(h.events.Of(2).reason(), FinishReason::kLength);
  EXPECT_EQ(h.events.Of(1).terminals, 0);
}

TEST(EngineLimits, EndTokensEndTheTextUnlessIgnored) {
  constexpr int32_t kEnd = 2;
  for (const bool ignore : {false, true}) {
    EngineHarness h;
    h.simulation->Override([](uint64_t position) { return position == 13 ? kEnd : -1; });
    RequestParams params = Params(8);
    params.ignore_end = ignore;
    const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
    h.Generate(session, 1, params);
    h.Run();
    const ReadEvents& events = h.events.Of(1);
    EXPECT_EQ(events.reason(), ignore ? FinishReason::kLength : FinishReason::kEnd);
    EXPECT_EQ(events.finished.generated_tokens, ignore ? 8u : 4u);
    EXPECT_EQ(events.tokens.size(), ignore ? 8u : 3u);  // the end token is of the session, not of the text
    EXPECT_EQ(h.TokensAfter(session, 10).size(), ignore ? 8u : 4u);
    EXPECT_EQ(h.TokensAfter(session, 13)[0], kEnd);
    if (!ignore) {
      EXPECT_EQ(events.finished.last_token, kEnd);
    }
  }
}

TEST(EngineLimits, AStopTokenEndsTheTextBeforeIt) {
  EngineHarness h;
  h.simulation->Override([](uint64_t position) { return 3 + 'a' + static_cast<int32_t>(position) - 10; });
  RequestParams params = Params(20);
  params.stop_tokens = {3 + 'x', 3 + 'd'};
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, params);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kStop);
  EXPECT_EQ(h.events.Of(1).text, "abc");
  EXPECT_EQ(h.events.Of(1).finished.last_token, 3 + 'd');
}

TEST(EngineLimits, AStopStringAcrossTokensEndsTheTextBeforeIt) {
  EngineHarness h;
  h.simulation->Override([](uint64_t position) { return 3 + 'a' + static_cast<int32_t>(position) - 10; });
  RequestParams params = Params(20);
  params.stop = {"cde", "zz"};
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, params);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kStop);
  EXPECT_EQ(h.events.Of(1).text, "ab");
  EXPECT_EQ(h.events.Of(1).tokens.size(), 5u);  // the tokens that made it are the session's
  EXPECT_EQ(h.TokensAfter(session, 10), h.events.Of(1).tokens);
}

TEST(EngineLimits, TextHeldForAStopStringComesOutWhenTheRequestEndsOtherwise) {
  EngineHarness h;
  h.simulation->Override([](uint64_t position) { return 3 + 'a' + static_cast<int32_t>(position) - 10; });
  RequestParams params = Params(5);
  params.stop = {"defgh"};
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, params);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kLength);
  EXPECT_EQ(h.events.Of(1).text, "abcde");
}

TEST(EngineLimits, AnEmptySessionHasNothingToGenerateFrom) {
  EngineHarness h;
  EXPECT_EQ(h.TryGenerate(h.SessionOf({}), 1, Params(1)), ErrorCode::kWrongState);
}

TEST(EngineLimits, AppendTakesAllOrNothing) {
  EngineOptions options = HarnessOptions();
  options.context_tokens = 16;
  EngineHarness h(options);
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  EXPECT_EQ(CodeOf(h.engine->Append(*session, Prompt(2, 7))), ErrorCode::kLimitExceeded);
  EXPECT_EQ(CodeOf(h.engine->Append(*session, {5, -1})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(h.engine->Append(*session, {5, kHarnessVocabulary})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(h.TokensOf(session), Prompt(1, 10));
  EXPECT_TRUE(h.engine->Append(*session, Prompt(2, 6)).ok());
  EXPECT_TRUE(h.engine->Append(*session, {}).ok());
  EXPECT_EQ(h.engine->TokenCount(*session), 16u);
}

TEST(EngineLimits, WhileARequestRunsItsSessionIsBusyAndThenNotAnyMore) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, 3);
  int32_t token;
  EXPECT_EQ(CodeOf(h.engine->Append(*session, {5})), ErrorCode::kBusy);
  EXPECT_EQ(h.TryGenerate(session, 2, Params(1)), ErrorCode::kBusy);
  EXPECT_EQ(CodeOf(h.engine->CopyTokens(*session, 0, &token, 1).status()), ErrorCode::kBusy);
  EXPECT_EQ(h.engine->TokenCount(*session), 10u);
  h.Step();
  EXPECT_EQ(h.engine->TokenCount(*session), 11u);
  h.Run();
  EXPECT_TRUE(h.engine->Append(*session, {5}).ok());
  EXPECT_EQ(CodeOf(h.engine->CopyTokens(*session, 15, &token, 1).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(*h.engine->CopyTokens(*session, 14, &token, 1), 0u);
  EXPECT_EQ(*h.engine->CopyTokens(*session, 13, &token, 1), 1u);
  EXPECT_EQ(token, 5);
}

TEST(EngineLimits, RequestsBeyondTheBoundAreRefusedUntilOneEnds) {
  EngineOptions options = HarnessOptions();
  options.max_requests = 2;
  EngineHarness h(options);
  const std::shared_ptr<Session> one = h.SessionOf(Prompt(1, 5)), two = h.SessionOf(Prompt(2, 5)),
                                 three = h.SessionOf(Prompt(3, 5));
  h.Generate(one, 1, 2);
  h.Generate(two, 2, 2);
  EXPECT_EQ(h.TryGenerate(three, 3, Params(2)), ErrorCode::kLimitExceeded);
  h.engine->Cancel(*one, CancelEffect::kKeep);
  h.Generate(three, 4, 2);
  h.Run();
  EXPECT_EQ(h.events.Of(3).terminals, 0);
  EXPECT_EQ(h.events.Of(4).tokens, h.oracle.Continue(Prompt(3, 5), 2));
}

TEST(EngineLimits, SessionsBeyondTheBoundAreRefusedUntilOneIsReleased) {
  EngineOptions options = HarnessOptions();
  options.max_sessions = 2;
  EngineHarness h(options);
  const std::shared_ptr<Session> one = h.SessionOf({}), two = h.SessionOf({});
  EXPECT_EQ(CodeOf(h.engine->CreateSession(false).status()), ErrorCode::kLimitExceeded);
  h.engine->ReleaseSession(*one);
  EXPECT_TRUE(h.engine->CreateSession(false).ok());
}

TEST(EngineLimits, ParametersThatCannotBeMeantAreRefused) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 5));
  RequestParams params;
  params.stop.assign(kMostStopStrings + 1, "x");
  EXPECT_EQ(h.TryGenerate(session, 1, params), ErrorCode::kInvalidArgument);
  params.stop = {""};
  EXPECT_EQ(h.TryGenerate(session, 1, params), ErrorCode::kInvalidArgument);
  params.stop = {std::string(kLongestStopBytes + 1, 'x')};
  EXPECT_EQ(h.TryGenerate(session, 1, params), ErrorCode::kInvalidArgument);
  params.stop.clear();
  params.stop_tokens = {kHarnessVocabulary};
  EXPECT_EQ(h.TryGenerate(session, 1, params), ErrorCode::kInvalidArgument);
  params.stop_tokens.clear();
  params.sampling.logit_bias = {{-1, 1.0f}};
  EXPECT_EQ(h.TryGenerate(session, 1, params), ErrorCode::kInvalidArgument);
  params.sampling.logit_bias.clear();
  params.sampling.logit_bias.assign(kMaxLogitBiases + 1, {1, 1.0f});
  EXPECT_EQ(h.TryGenerate(session, 1, params), ErrorCode::kInvalidArgument);
  EXPECT_EQ(h.engine->GetMetrics().requests_accepted, 0u);
  h.Generate(session, 1, 1);  // none of them left the session busy
}

TEST(EngineLimits, ARequestWhoseEventsNobodyReadsPausesAndOthersGoOn) {
  EngineHarness h;
  const std::shared_ptr<EventQueue> unread = *EventQueue::Create(nullptr);
  RequestParams params = Params(200);
  params.sampling.top_logprobs = kMaxTopLogprobs;  // large records
  const std::shared_ptr<Session> paused = h.SessionOf(Prompt(1, 10));
  ASSERT_TRUE(h.engine->Generate(paused, params, unread, 1).ok());
  while (h.Step().work_left) {
  }
  const size_t before = h.engine->TokenCount(*paused);
  EXPECT_LT(before, 210u);
  EXPECT_GT(before, 10u);

  const std::shared_ptr<Session> other = h.SessionOf(Prompt(2, 10));
  h.Generate(other, 2, 100);
  while (h.Step().work_left) h.Drain();
  h.Drain();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 100));
  EXPECT_EQ(h.engine->TokenCount(*paused), before);

  // Reading makes room; nothing was lost.
  while (!h.events.Ended(1)) {
    h.events.Drain(*unread);
    h.Step();
  }
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 200));
}

TEST(EngineLimits, AQueueThatNobodyWillReadDoesNotHoldItsRequestUp) {
  EngineHarness h;
  const std::shared_ptr<EventQueue> abandoned = *EventQueue::Create(nullptr);
  RequestParams params = Params(200);
  params.sampling.top_logprobs = kMaxTopLogprobs;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  ASSERT_TRUE(h.engine->Generate(session, params, abandoned, 1).ok());
  while (h.Step().work_left) {
  }
  abandoned->Abandon();
  h.Run();
  EXPECT_EQ(h.TokensAfter(session, 10), h.oracle.Continue(Prompt(1, 10), 200));
}

TEST(EngineLimits, WithoutMemoryForItsCacheAnEngineIsRefused) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = int64_t{1} << 62;
  const auto engine =
      Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(std::make_shared<Simulation>()),
                     options, MonotonicClock(), SystemMemory(), Logger());
  EXPECT_EQ(CodeOf(engine.status()), ErrorCode::kInvalidArgument);

  FailingMemory memory;
  memory.FailAt(1);
  const auto starved =
      Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(std::make_shared<Simulation>()),
                     HarnessOptions(), MonotonicClock(), &memory, Logger());
  EXPECT_EQ(CodeOf(starved.status()), ErrorCode::kOutOfMemory);
  EXPECT_NE(starved.status().message().find("KV cache"), absl::string_view::npos);
}

// Steps from now until the request's first token.
int StepsToFirstToken(EngineHarness& h, uint64_t tag) {
  int steps = 0;
  for (; steps < 100 && h.events.Of(tag).tokens.empty(); ++steps) {
    h.Step();
    h.Drain();
  }
  return steps;
}

RequestParams Urgent() {
  RequestParams params = Params(4);
  params.priority = 1;
  return params;
}

// Decoding sequences are in a step in flight whenever a batch is planned: still they give way.
TEST(EngineLimits, AHigherPriorityIsNotKeptOutByStepsInFlight) {
  EngineOptions options = HarnessOptions();
  options.max_running = 2;
  EngineHarness h(options, /*depth=*/2);
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 90);
  h.Generate(h.SessionOf(Prompt(2, 10)), 2, 90);
  for (int i = 0; i < 4; ++i) h.Step();
  h.Generate(h.SessionOf(Prompt(3, 10)), 3, Urgent());
  EXPECT_LE(StepsToFirstToken(h, 3), 4);
  h.Run();
  for (const uint64_t tag : {1, 2}) {
    EXPECT_EQ(h.events.Of(tag).tokens, h.oracle.Continue(Prompt(static_cast<int>(tag), 10), 90));
  }
}

TEST(EngineLimits, AHigherPriorityGetsTheBlocksOfStepsInFlight) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 128;
  options.block_tokens = 16;
  EngineHarness h(options, /*depth=*/2);
  h.Generate(h.SessionOf(Prompt(1, 50)), 1, 60);
  h.Generate(h.SessionOf(Prompt(2, 50)), 2, 60);
  while (h.events.Of(2).tokens.empty()) {
    h.Step();
    h.Drain();
  }
  h.Generate(h.SessionOf(Prompt(3, 100)), 3, Urgent());
  EXPECT_LE(StepsToFirstToken(h, 3), 8);  // four chunks
  h.Run();
  for (const uint64_t tag : {1, 2}) {
    EXPECT_EQ(h.events.Of(tag).tokens, h.oracle.Continue(Prompt(static_cast<int>(tag), 50), 60));
  }
}

}  // namespace
}  // namespace tessera
