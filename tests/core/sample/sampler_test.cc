// Each rule of sampling on rows small enough to check by eye, and what the sampler promises whatever it is
// given.
#include "core/sample/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();

// A row whose results are poisoned.
SampleRow RowFor(const SamplingParams& params, uint64_t position = 0) {
  SampleRow row;
  row.params = &params;
  row.position = position;
  row.token = -77;
  row.numeric_fault = true;
  row.logprob = -12345.0f;
  row.top_count = -5;
  for (int i = 0; i < kMaxTopLogprobs; ++i) {
    row.top_tokens[i] = -77;
    row.top_logprobs[i] = -12345.0f;
  }
  return row;
}

SampleRow Sampled(const std::vector<float>& logits, const SamplingParams& params, uint64_t position = 0,
                  const std::vector<int32_t>& history = {}) {
  SampleRow row = RowFor(params, position);
  row.history = history.data();
  row.history_count = static_cast<int32_t>(history.size());
  Sampler::Create(static_cast<int32_t>(logits.size()))->Sample(logits.data(), &row);
  return row;
}

std::set<int32_t> TokensDrawn(const std::vector<float>& logits, const SamplingParams& params,
                              int draws = 500) {
  std::set<int32_t> tokens;
  for (int position = 0; position < draws; ++position) tokens.insert(Sampled(logits, params, position).token);
  return tokens;
}

std::vector<float> RandomLogits(int32_t vocabulary, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(vocabulary);
  for (float& logit : logits) logit = normal(generator);
  return logits;
}

SamplingParams Warm() {
  SamplingParams params;
  params.temperature = 1.0f;
  params.seed = 5;
  return params;
}

TEST(Sampler, LeftAfterAnyStepAndBegunAnewItGivesTheSame) {
  SamplingParams params = Warm();
  params.top_p = 0.95f;
  params.min_p = 1e-4f;
  params.repetition_penalty = 1.3f;
  params.penalty_window_tokens = 8;
  params.top_logprobs = 3;
  const std::vector<int32_t> history = {1, 2, 3, 1, 1};
  const std::vector<float> flat(5000, 0.25f), spread = RandomLogits(5000, 4);
  for (const int32_t top_k : {0, 3000}) {
    params.top_k = top_k;
    const SampleRow expected = Sampled(spread, params, 7, history);
    const std::unique_ptr<Sampler> sampler = Sampler::Create(5000);
    for (int steps = 0; steps < 30; ++steps) {
      SampleRow left = RowFor(params), row = RowFor(params, 7);
      left.history = row.history = history.data();
      left.history_count = row.history_count = static_cast<int32_t>(history.size());
      sampler->Begin(flat.data(), &left);
      for (int i = 0; i < steps; ++i) sampler->Advance();
      sampler->Begin(spread.data(), &row);
      int taken = 1;
      while (!sampler->Advance()) ++taken;
      EXPECT_GT(taken, 5) << "too few steps to be short ones";
      EXPECT_EQ(row.token, expected.token);
      EXPECT_EQ(row.logprob, expected.logprob);
      ASSERT_EQ(row.top_count, expected.top_count);
      EXPECT_EQ(std::memcmp(row.top_tokens, expected.top_tokens, 3 * sizeof(int32_t)), 0);
    }
  }
}

TEST(Sampler, GreedyTakesTheLargestLogitAndOfEqualOnesTheLowestId) {
  const SamplingParams greedy;
  EXPECT_EQ(Sampled({1, 3, 2}, greedy).token, 1);
  EXPECT_EQ(Sampled({1, 3, 3, 3}, greedy).token, 1);
  EXPECT_EQ(Sampled({-1, -0.0f, 0.0f}, greedy).token, 1);
  EXPECT_EQ(Sampled({-kLargest}, greedy).token, 0);
  for (const int32_t vocabulary : {1, 7, 64, 65, 127, 128, 1000}) {
    for (int32_t place = 0; place < vocabulary; place += 13) {
      std::vector<float> logits(vocabulary, -2.0f);
      logits[place] = -1.0f;
      logits.back() = std::max(logits.back(), -1.0f);
      ASSERT_EQ(Sampled(logits, greedy).token, place);
    }
  }
}

TEST(Sampler, AnswersNumbersThatAreNotFiniteWithAFaultAndNoToken) {
  SamplingParams params = Warm();
  params.top_logprobs = 3;
  for (const float temperature : {0.0f, 1.0f}) {
    params.temperature = temperature;
    for (const float fault : {kNan, -kNan, kInfinity, -kInfinity}) {
      for (const size_t place : {0, 63, 64, 99}) {
        std::vector<float> logits = RandomLogits(100, 1);
        logits[place] = fault;
        const SampleRow row = Sampled(logits, params);
        EXPECT_TRUE(row.numeric_fault);
        EXPECT_EQ(row.token, -1);
        EXPECT_EQ(row.top_count, 0);
        EXPECT_EQ(row.logprob, 0.0f);
      }
    }
  }
}

TEST(Sampler, AFaultInARowLeavesTheNextOneAsItWouldHaveBeen) {
  const SamplingParams params = Warm();
  const std::vector<float> logits = RandomLogits(100, 2);
  std::vector<float> bad = logits;
  bad[50] = kNan;
  const std::unique_ptr<Sampler> sampler = Sampler::Create(100);
  SampleRow first = RowFor(params, 9);
  SampleRow second = RowFor(params, 9);
  sampler->Sample(bad.data(), &first);
  sampler->Sample(logits.data(), &second);
  EXPECT_FALSE(second.numeric_fault);
  EXPECT_EQ(second.token, Sampled(logits, params, 9).token);
}

TEST(Sampler, EveryTokenForbiddenIsAFault) {
  SamplingParams params;
  params.logit_bias = {{0, -kInfinity}, {1, -kInfinity}};
  for (const float temperature : {0.0f, 1.0f}) {
    params.temperature = temperature;
    EXPECT_TRUE(Sampled({1, 2}, params).numeric_fault);
    EXPECT_EQ(Sampled({1, 2}, params).token, -1);
    EXPECT_EQ(Sampled({1, 2, -50}, params).token, 2);
  }
}

TEST(Sampler, BiasMovesTheChoice) {
  SamplingParams params;
  params.logit_bias = {{0, 1.5f}};
  EXPECT_EQ(Sampled({1, 2}, params).token, 0);
  params.logit_bias = {{1, -kInfinity}};
  EXPECT_EQ(Sampled({1, 2}, params).token, 0);
}

TEST(Sampler, PenaltiesSeeBiasedLogits) {
  // Token 0: -1 + 2 = 1, positive, so it is divided: 0.25. Before the bias it would have been multiplied: -2.
  SamplingParams params;
  params.logit_bias = {{0, 2.0f}};
  params.repetition_penalty = 4.0f;
  EXPECT_EQ(Sampled({-1.0f, 0.2f}, params, 0, {0}).token, 0);
  EXPECT_EQ(Sampled({-1.0f, 0.3f}, params, 0, {0}).token, 1);
}

TEST(Sampler, PenaltiesLookAtTheWindowOnly) {
  SamplingParams params;
  params.presence_penalty = 5.0f;
  params.penalty_window_tokens = 2;
  EXPECT_EQ(Sampled({3, 1}, params, 0, {0, 1, 1}).token, 0);
  EXPECT_EQ(Sampled({3, 1}, params, 0, {1, 0, 1}).token, 0);  // both are in the window
  EXPECT_EQ(Sampled({3, 1, 2}, params, 0, {1, 0, 1}).token, 2);
  EXPECT_EQ(Sampled({3, 1}, params, 0, {1, 0, 0}).token, 1);
}

TEST(Sampler, TopKOfOneIsGreedyAndOfTheWholeVocabularyIsOff) {
  const std::vector<float> logits = RandomLogits(70, 3);
  SamplingParams params = Warm();
  params.temperature = 3.0f;
  const SamplingParams off = params;
  const SamplingParams greedy;
  for (int position = 0; position < 50; ++position) {
    params.top_k = 1;
    EXPECT_EQ(Sampled(logits, params, position).token, Sampled(logits, greedy).token);
    for (const int32_t k : {70, 71, 1'000'000}) {
      params.top_k = k;
      EXPECT_EQ(Sampled(logits, params, position).token, Sampled(logits, off, position).token);
    }
  }
}

TEST(Sampler, TopPOfZeroKeepsTheMostProbableToken) {
  SamplingParams params = Warm();
  params.temperature = 10.0f;
  for (const float top_p : {0.0f, -1.0f, 1e-30f}) {
    params.top_p = top_p;
    EXPECT_EQ(TokensDrawn({1, 2, 3, 3}, params), (std::set<int32_t>{2}));
  }
}

TEST(Sampler, TopPCountsTheTokenThatReachesTheMass) {
  // Probabilities 1/2, 1/4, 1/4.
  const std::vector<float> logits = {std::log(2.0f), 0, 0};
  SamplingParams params = Warm();
  params.top_p = 0.49f;
  EXPECT_EQ(TokensDrawn(logits, params), (std::set<int32_t>{0}));
  params.top_p = 0.51f;
  EXPECT_EQ(TokensDrawn(logits, params), (std::set<int32_t>{0, 1}));
  params.top_p = 0.76f;
  EXPECT_EQ(TokensDrawn(logits, params), (std::set<int32_t>{0, 1, 2}));
}

TEST(Sampler, TopPIsAPartOfWhatTopKLeft) {
  // Top-k leaves 2/3 and 1/3; of the whole they are 1/2 and 1/4.
  const std::vector<float> logits = {std::log(2.0f), 0, 0};
  SamplingParams params = Warm();
  params.top_k = 2;
  params.top_p = 0.6f;
  EXPECT_EQ(TokensDrawn(logits, params), (std::set<int32_t>{0}));
}

TEST(Sampler, MinPIsRelativeToTheMostProbableToken) {
  const std::vector<float> logits = {std::log(2.0f), 0, 0, std::log(0.5f)};
  SamplingParams params = Warm();
  params.min_p = 0.49f;
  EXPECT_EQ(TokensDrawn(logits, params), (std::set<int32_t>{0, 1, 2}));
  params.min_p = 0.24f;
  EXPECT_EQ(TokensDrawn(logits, params), (std::set<int32_t>{0, 1, 2, 3}));
  for (const float min_p : {1.0f, 7.0f}) {
    params.min_p = min_p;
    EXPECT_EQ(TokensDrawn({2, 1, 2}, params), (std::set<int32_t>{0, 2}));
  }
}

TEST(Sampler, ATinyTemperatureIsGreedyAmongEqualsAndAHugeOneIsEven) {
  SamplingParams params = Warm();
  for (const float temperature : {1e-3f, 1e-20f, std::numeric_limits<float>::denorm_min()}) {
    params.temperature = temperature;
    EXPECT_EQ(TokensDrawn({1, 5, 5, 4}, params), (std::set<int32_t>{1, 2})) << temperature;
  }
  for (const float temperature : {1e6f, kLargest, kInfinity}) {
    params.temperature = temperature;
    EXPECT_EQ(TokensDrawn({1, 5, -5, 4}, params), (std::set<int32_t>{0, 1, 2, 3})) << temperature;
    params.logit_bias = {{2, -kInfinity}};
    EXPECT_EQ(TokensDrawn({1, 5, -5, 4}, params), (std::set<int32_t>{0, 1, 3})) << temperature;
    params.logit_bias.clear();
  }
}

TEST(Sampler, DrawsDependOnSeedAndPositionAndOnNothingElse) {
  const std::vector<float> logits = RandomLogits(500, 4);
  const std::vector<float> others = RandomLogits(500, 5);
  SamplingParams params = Warm();
  params.temperature = 2.0f;
  params.top_p = 0.9f;
  SamplingParams neighbour = params;
  neighbour.seed = 99;
  neighbour.top_k = 7;
  neighbour.frequency_penalty = 1.0f;
  const std::vector<int32_t> history = {1, 2, 3, 3};
  const std::unique_ptr<Sampler> busy = Sampler::Create(500);
  std::set<int32_t> by_position;
  std::set<int32_t> by_seed;
  for (uint64_t position = 0; position < 100; ++position) {
    SampleRow mate = RowFor(neighbour, position);
    mate.history = history.data();
    mate.history_count = 4;
    busy->Sample(others.data(), &mate);
    SampleRow row = RowFor(params, position);
    busy->Sample(logits.data(), &row);
    ASSERT_EQ(row.token, Sampled(logits, params, position).token);
    by_position.insert(row.token);
    SamplingParams seeded = params;
    seeded.seed = position;
    by_seed.insert(Sampled(logits, seeded, 0).token);
  }
  EXPECT_GT(by_position.size(), 20u);
  EXPECT_GT(by_seed.size(), 20u);
}

TEST(Sampler, ReadsLogitsOnlyAndCopiesThemOutBitForBit) {
  SamplingParams params = Warm();
  params.repetition_penalty = 1.3f;
  params.logit_bias = {{3, 2.0f}};
  for (const bool faulty : {false, true}) {
    std::vector<float> logits = RandomLogits(133, 6);
    if (faulty) logits[100] = kNan;
    const std::vector<float> before = logits;
    std::vector<float> copy(134, -12345.0f);
    SampleRow row = RowFor(params);
    const std::vector<int32_t> history = {3, 4};
    row.history = history.data();
    row.history_count = 2;
    row.logits_out = copy.data();
    Sampler::Create(133)->Sample(logits.data(), &row);
    EXPECT_EQ(std::memcmp(logits.data(), before.data(), 133 * sizeof(float)), 0);
    EXPECT_EQ(std::memcmp(copy.data(), before.data(), 133 * sizeof(float)), 0);
    EXPECT_EQ(copy.back(), -12345.0f);
  }
}

TEST(Sampler, LogprobsAreThoseOfTheRawLogits) {
  for (const int32_t vocabulary : {1, 5, 64, 300, 5000}) {
    const std::vector<float> logits = RandomLogits(vocabulary, vocabulary);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    const auto expected = [&](int32_t token) { return static_cast<double>(logits[token]) - std::log(sum); };
    SamplingParams params = Warm();
    params.temperature = 0.5f;
    params.top_k = 3;
    params.presence_penalty = 2.0f;
    params.logit_bias = {{0, 4.0f}};
    params.top_logprobs = kMaxTopLogprobs;
    const SampleRow row = Sampled(logits, params, 3, {0, 0});
    EXPECT_NEAR(row.logprob, expected(row.token), 2e-6 * (1 + std::fabs(expected(row.token))));
    ASSERT_EQ(row.top_count, std::min(vocabulary, kMaxTopLogprobs));
    for (int32_t i = 0; i < row.top_count; ++i) {
      EXPECT_NEAR(row.top_logprobs[i], expected(row.top_tokens[i]),
                  2e-6 * (1 + std::fabs(row.top_logprobs[i])));
      if (i > 0) {
        EXPECT_GE(logits[row.top_tokens[i - 1]], logits[row.top_tokens[i]]);
      }
    }
    std::multiset<float, std::greater<float>> sorted(logits.begin(), logits.end());
    EXPECT_EQ(logits[row.top_tokens[0]], *sorted.begin());
    EXPECT_EQ(logits[row.top_tokens[row.top_count - 1]], *std::next(sorted.begin(), row.top_count - 1));
  }
}

TEST(Sampler, LogprobsAreCountedAsAskedAndTiesComeByTheirId) {
  SamplingParams params;
  const std::vector<float> logits = {1, 2, 2, 0, 2};
  params.top_logprobs = -1;
  EXPECT_EQ(Sampled(logits, params).top_count, 0);
  EXPECT_EQ(Sampled(logits, params).logprob, 0.0f);
  params.top_logprobs = 0;
  EXPECT_EQ(Sampled(logits, params).top_count, 0);
  EXPECT_LT(Sampled(logits, params).logprob, 0.0f);
  params.top_logprobs = 4;
  const SampleRow row = Sampled(logits, params);
  ASSERT_EQ(row.top_count, 4);
  EXPECT_EQ(std::vector<int32_t>(row.top_tokens, row.top_tokens + 4), (std::vector<int32_t>{1, 2, 4, 0}));
  EXPECT_EQ(row.top_tokens[4], -77) << "entries beyond the count are left alone";
}

TEST(Sampler, GivesATokenOfTheVocabularyWhateverTheParametersAre) {
  std::mt19937 generator(8);
  const float wild[] = {0.0f, -0.0f, 1.0f,     -1.0f,     1e-38f,    1e38f,      -1e38f,
                        0.5f, 3.0f,  kLargest, -kLargest, kInfinity, -kInfinity, kNan};
  const auto any = [&] { return wild[generator() % std::size(wild)]; };
  const int32_t integers[] = {0, 1, -1, 2, 20, 64, 1000, INT32_MAX, INT32_MIN};
  const auto any_integer = [&] { return integers[generator() % std::size(integers)]; };
  for (int i = 0; i < 20'000; ++i) {
    const int32_t vocabulary = 1 + static_cast<int32_t>(generator() % 130);
    std::vector<float> logits(vocabulary);
    for (float& logit : logits) {
      do {
        logit = generator() % 2 == 0 ? any() : static_cast<float>(generator() % 9);
      } while (!std::isfinite(logit));
    }
    SamplingParams params;
    params.temperature = any();
    params.top_k = any_integer();
    params.top_p = any();
    params.min_p = any();
    params.repetition_penalty = any();
    params.frequency_penalty = any();
    params.presence_penalty = any();
    params.penalty_window_tokens = any_integer();
    params.top_logprobs = static_cast<int32_t>(generator() % 22) - 1;
    for (int32_t token = -1; token < vocabulary; token += 3) params.logit_bias.emplace_back(token, any());
    std::vector<int32_t> history(generator() % 10);
    for (int32_t& token : history) token = static_cast<int32_t>(generator() % 140) - 5;
    const SampleRow row = Sampled(logits, params, generator(), history);
    if (row.numeric_fault) {
      ASSERT_EQ(row.token, -1);
    } else {
      ASSERT_GE(row.token, 0);
      ASSERT_LT(row.token, vocabulary);
    }
  }
}

}  // namespace
}  // namespace tessera
