// What the engine computes: the same tokens however the work is cut, ordered, interrupted or forgotten.
#include <gtest/gtest.h>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

TEST(Engine, AGeneratedTokenFollowsFromTheWholeSequence) {
  EngineHarness h;
  const std::vector<int32_t> prompt = Prompt(1, 21);
  EXPECT_EQ(h.GenerateAlone(prompt, 12), h.oracle.Continue(prompt, 12));
}

TEST(Engine, APromptInChunksOfAnySizeGivesTheSameTokens) {
  const std::vector<int32_t> prompt = Prompt(2, 50);
  for (const int32_t batch_tokens : {1, 2, 3, 4, 5, 7, 16, 49, 50, 51, 128}) {
    EngineOptions options = HarnessOptions();
    options.batch_tokens = batch_tokens;
    EngineHarness h(options);
    EXPECT_EQ(h.GenerateAlone(prompt, 10), h.oracle.Continue(prompt, 10)) << batch_tokens;
    EXPECT_LE(h.simulation->most_rows(), batch_tokens);
  }
}

TEST(Engine, SixteenSessionsTogetherGetWhatEachGetsAlone) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 16 * 128;
  EngineHarness h(options);
  std::vector<std::shared_ptr<Session>> sessions;
  for (int i = 0; i < 16; ++i) {
    sessions.push_back(h.SessionOf(Prompt(i, 1 + static_cast<size_t>(i) * 5)));
    h.Generate(sessions.back(), static_cast<uint64_t>(i), 40);
  }
  h.Run();
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(h.events.Of(static_cast<uint64_t>(i)).tokens,
              h.oracle.Continue(Prompt(i, 1 + static_cast<size_t>(i) * 5), 40))
        << i;
  }
  EXPECT_EQ(h.simulation->most_sequences(), 16);
  ExpectBlocksConserved(*h.engine, sessions);
}

TEST(Engine, MoreSessionsThanABatchTakesAllComeToTheirEnd) {
  EngineOptions options = HarnessOptions();
  options.batch_sequences = 3;
  options.batch_tokens = 5;
  EngineHarness h(options);
  for (int i = 0; i < 11; ++i) h.Generate(h.SessionOf(Prompt(i, 9)), static_cast<uint64_t>(i), 15);
  h.Run();
  for (int i = 0; i < 11; ++i) {
    EXPECT_EQ(h.events.Of(static_cast<uint64_t>(i)).tokens, h.oracle.Continue(Prompt(i, 9), 15)) << i;
  }
  EXPECT_LE(h.simulation->most_sequences(), 3);
}

TEST(Engine, ASessionThatGoesOnGetsWhatAFreshOneWithItsTokensGets) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(3, 10));
  h.Generate(session, 1, 6);
  h.Run();
  h.Append(session, Prompt(4, 7));
  const std::vector<int32_t> tokens = h.TokensOf(session);
  ASSERT_EQ(tokens.size(), 23u);
  h.Generate(session, 2, 6);
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(tokens, 6));
  // Only what was new was computed: the last generated token and the seven appended.
  EXPECT_EQ(h.events.Of(2).finished.prompt_tokens, 8u);
}

TEST(Engine, GeneratingTwiceWithNothingAppendedGoesOnAtTheEnd) {
  EngineHarness h;
  const std::vector<int32_t> prompt = Prompt(5, 12);
  const std::shared_ptr<Session> session = h.SessionOf(prompt);
  h.Generate(session, 1, 4);
  h.Run();
  h.Generate(session, 2, 4);
  h.Run();
  EXPECT_EQ(h.TokensAfter(session, 12), h.oracle.Continue(prompt, 8));
}

TEST(Engine, AnEvictedIdleSessionRecomputesToTheSameResult) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 64;
  EngineHarness h(options);
  const std::vector<int32_t> prompt = Prompt(6, 40);
  const std::shared_ptr<Session> first = h.SessionOf(prompt);
  h.Generate(first, 1, 4);
  h.Run();
  ASSERT_FALSE(first->blocks[0].empty());

  const std::shared_ptr<Session> second = h.SessionOf(Prompt(7, 40));
  h.Generate(second, 2, 8);
  h.Run();
  EXPECT_EQ(h.engine->GetMetrics().evictions, 1u);
  EXPECT_TRUE(first->blocks[0].empty());

  h.Generate(first, 3, 8);
  h.Run();
  EXPECT_EQ(h.TokensAfter(first, 40), h.oracle.Continue(prompt, 12));
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(7, 40), 8));
  ExpectBlocksConserved(*h.engine, {first, second});
}

TEST(Engine, TheSessionIdleForTheLongestIsEvictedFirst) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 64;
  EngineHarness h(options);
  const std::shared_ptr<Session> older = h.SessionOf(Prompt(1, 20)), newer = h.SessionOf(Prompt(2, 20));
  h.Generate(older, 1, 1);
  h.Run();
  h.Generate(newer, 2, 1);
  h.Run();
  h.Generate(h.SessionOf(Prompt(3, 30)), 3, 1);
  h.Run();
  EXPECT_TRUE(older->blocks[0].empty());
  EXPECT_FALSE(newer->blocks[0].empty());
}

TEST(Engine, ARequestThatWaitsLosesItsBlocksToARunningOneAndRecomputes) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 64;
  EngineHarness h(options);
  const std::vector<int32_t> prompt = Prompt(8, 20);
  const std::shared_ptr<Session> waiting = h.SessionOf(prompt);
  h.Generate(waiting, 1, 2);
  h.Run();
  // The running one may come to need 60 of the 64 tokens, so the other is not admitted beside it.
  h.Generate(h.SessionOf(Prompt(9, 10)), 2, 50);
  h.Generate(waiting, 3, 5);
  h.Run();
  EXPECT_GE(h.engine->GetMetrics().evictions, 1u);
  EXPECT_EQ(h.TokensAfter(waiting, 20), h.oracle.Continue(prompt, 7));
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(9, 10), 50));
}

TEST(Engine, ASampledTokenDependsOnItsSeedAndPositionAlone) {
  EngineHarness h;
  RequestParams params = Params(10);
  params.sampling.temperature = 1;
  params.sampling.seed = 7;
  const std::vector<int32_t> prompt = Prompt(10, 15);
  std::vector<int32_t> expected = prompt;
  for (int i = 0; i < 10; ++i) expected.push_back(h.oracle.NextToken(expected, params.sampling));
  const std::shared_ptr<Session> alone = h.SessionOf(prompt);
  h.Generate(alone, 1, params);
  h.Run();
  EXPECT_EQ(h.TokensOf(alone), expected);

  // Again, in two requests and beside another.
  const std::shared_ptr<Session> again = h.SessionOf(prompt);
  h.Generate(h.SessionOf(Prompt(11, 30)), 2, 20);
  params.max_tokens = 4;
  h.Generate(again, 3, params);
  h.Run();
  params.max_tokens = 6;
  h.Generate(again, 4, params);
  h.Run();
  EXPECT_EQ(h.TokensOf(again), expected);
}

TEST(Engine, PenaltiesSeeTheSessionsLastTokens) {
  EngineHarness h;
  RequestParams params = Params(8);
  params.sampling.presence_penalty = 1;
  params.sampling.penalty_window_tokens = 5;
  std::vector<int32_t> expected = Prompt(12, 3);  // shorter than the window at first
  const std::shared_ptr<Session> session = h.SessionOf(expected);
  for (int i = 0; i < 8; ++i) {
    const size_t window = std::min<size_t>(5, expected.size());
    const std::vector<int32_t> history(expected.end() - static_cast<std::ptrdiff_t>(window), expected.end());
    expected.push_back(h.oracle.NextToken(expected, params.sampling, history));
  }
  h.Generate(session, 1, params);
  h.Run();
  EXPECT_EQ(h.TokensOf(session), expected);
}

TEST(Engine, MaxTokensZeroComputesThePromptAndGivesItsLogits) {
  EngineHarness h;
  const std::vector<int32_t> prompt = Prompt(13, 40);  // two chunks
  const std::shared_ptr<Session> session = h.SessionOf(prompt, /*logits=*/true);
  h.Generate(session, 1, 0);
  h.Run();
  const ReadEvents& events = h.events.Of(1);
  EXPECT_EQ(events.reason(), FinishReason::kLength);
  EXPECT_EQ(events.finished.prompt_tokens, 40u);
  EXPECT_EQ(events.finished.generated_tokens, 0u);
  EXPECT_EQ(events.finished.last_token, -1);
  EXPECT_EQ(events.token_records, 0);
  EXPECT_EQ(h.TokensOf(session), prompt);
  std::vector<float> logits(kHarnessVocabulary);
  size_t count = 0;
  ASSERT_TRUE(h.engine->CopyLogits(*session, logits.data(), logits.size(), &count).ok());
  EXPECT_EQ(logits, h.oracle.Logits(prompt, kHarnessVocabulary));
  // What was computed so is not computed again: only the last position, for its logits.
  h.Generate(session, 2, 3);
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(prompt, 3));
  EXPECT_EQ(h.events.Of(2).finished.prompt_tokens, 1u);
}

TEST(Engine, LogitsAreThoseThatChoseTheLastToken) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(14, 9), /*logits=*/true);
  std::vector<float> logits(kHarnessVocabulary);
  size_t count = 0;
  EXPECT_EQ(CodeOf(h.engine->CopyLogits(*session, logits.data(), logits.size(), &count)),
            ErrorCode::kWrongState);
  h.Generate(session, 1, 5);
  EXPECT_EQ(CodeOf(h.engine->CopyLogits(*session, logits.data(), logits.size(), &count)), ErrorCode::kBusy);
  h.Run();
  std::vector<int32_t> tokens = h.TokensOf(session);
  tokens.pop_back();
  ASSERT_TRUE(h.engine->CopyLogits(*session, logits.data(), logits.size(), &count).ok());
  EXPECT_EQ(logits, h.oracle.Logits(tokens, kHarnessVocabulary));
  EXPECT_EQ(count, static_cast<size_t>(kHarnessVocabulary));

  count = 0;
  EXPECT_EQ(CodeOf(h.engine->CopyLogits(*session, logits.data(), 10, &count)), ErrorCode::kBufferTooSmall);
  EXPECT_EQ(count, static_cast<size_t>(kHarnessVocabulary));
  const std::shared_ptr<Session> without = h.SessionOf(Prompt(14, 9));
  EXPECT_EQ(CodeOf(h.engine->CopyLogits(*without, logits.data(), logits.size(), &count)),
            ErrorCode::kWrongState);
}

TEST(Engine, LogProbabilitiesAndAlternativesComeWithTheirTokens) {
  EngineHarness h;
  RequestParams params = Params(5);
  params.sampling.top_logprobs = 3;
  h.Generate(h.SessionOf(Prompt(15, 9)), 1, params);
  params.sampling.top_logprobs = 0;
  h.Generate(h.SessionOf(Prompt(16, 9)), 2, params);
  h.Generate(h.SessionOf(Prompt(17, 9)), 3, 5);
  h.Run();
  const ReadEvents& with = h.events.Of(1);
  ASSERT_EQ(with.logprobs.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(with.logprobs[i], -static_cast<float>(with.tokens[i]));
    ASSERT_EQ(with.tops[i].size(), 3u);
    EXPECT_EQ(with.tops[i][2].token, with.tokens[i] + 2);
    EXPECT_EQ(with.tops[i][2].logprob, with.logprobs[i] - 2);
  }
  EXPECT_EQ(h.events.Of(2).logprobs.size(), 5u);
  EXPECT_TRUE(h.events.Of(2).tops[0].empty());
  EXPECT_TRUE(h.events.Of(3).logprobs.empty());
}

}  // namespace
}  // namespace tessera
