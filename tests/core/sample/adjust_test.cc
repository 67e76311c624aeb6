// Bias and penalties: the definitions, the window, and what becomes of extreme numbers.
#include "core/sample/adjust.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

std::vector<float> Penalised(const SamplingParams& params, const std::vector<int32_t>& history,
                             std::vector<float> logits) {
  std::vector<int32_t> counts(logits.size(), 0);
  ApplyPenalties(params, history.data(), static_cast<int32_t>(history.size()), counts.data(), logits.data(),
                 static_cast<int32_t>(logits.size()));
  EXPECT_EQ(counts, std::vector<int32_t>(logits.size(), 0)) << "counts must be left at zero";
  return logits;
}

std::vector<float> Biased(std::vector<std::pair<int32_t, float>> bias, std::vector<float> logits) {
  SamplingParams params;
  params.logit_bias = std::move(bias);
  ApplyBias(params, logits.data(), static_cast<int32_t>(logits.size()));
  return logits;
}

TEST(Penalties, AreOffByDefaultAndWithoutAWindow) {
  SamplingParams params;
  EXPECT_FALSE(HasPenalties(params));
  params.presence_penalty = 1.0f;
  EXPECT_TRUE(HasPenalties(params));
  params.penalty_window_tokens = 0;
  EXPECT_FALSE(HasPenalties(params));
  params = {};
  params.frequency_penalty = -0.5f;
  EXPECT_TRUE(HasPenalties(params));
  params = {};
  params.repetition_penalty = 1.1f;
  EXPECT_TRUE(HasPenalties(params));
}

TEST(Penalties, RepetitionDividesPositiveLogitsAndMultipliesNegativeOnesOnce) {
  SamplingParams params;
  params.repetition_penalty = 2.0f;
  EXPECT_EQ(Penalised(params, {0, 1, 1, 1, 2}, {3, -3, 0, 5}), (std::vector<float>{1.5f, -6, 0, 5}));
}

TEST(Penalties, FrequencyCountsAndPresenceDoesNot) {
  SamplingParams params;
  params.frequency_penalty = 0.25f;
  params.presence_penalty = 1.0f;
  EXPECT_EQ(Penalised(params, {0, 1, 1, 1}, {2, 2, 2}), (std::vector<float>{0.75f, 0.25f, 2}));
}

TEST(Penalties, RepetitionComesBeforeTheSubtractions) {
  SamplingParams params;
  params.repetition_penalty = 2.0f;
  params.frequency_penalty = 0.5f;
  params.presence_penalty = 0.25f;
  EXPECT_EQ(Penalised(params, {0, 0}, {4}), (std::vector<float>{2 - 1 - 0.25f}));
}

TEST(Penalties, LookAtTheLastTokensOfTheHistoryOnly) {
  SamplingParams params;
  params.frequency_penalty = 1.0f;
  params.penalty_window_tokens = 3;
  const std::vector<int32_t> history = {0, 0, 0, 1, 2, 2};
  EXPECT_EQ(Penalised(params, history, {0, 0, 0}), (std::vector<float>{0, -1, -2}));
  params.penalty_window_tokens = 4;
  EXPECT_EQ(Penalised(params, history, {0, 0, 0}), (std::vector<float>{-1, -1, -2}));
  params.penalty_window_tokens = 1000;
  EXPECT_EQ(Penalised(params, history, {0, 0, 0}), (std::vector<float>{-3, -1, -2}));
  EXPECT_EQ(Penalised(params, {}, {1, 2, 3}), (std::vector<float>{1, 2, 3}));
}

TEST(Penalties, PassOverTokensOutsideTheVocabulary) {
  SamplingParams params;
  params.presence_penalty = 1.0f;
  EXPECT_EQ(Penalised(params, {-1, 2, 1, 1'000'000}, {5, 5}), (std::vector<float>{5, 4}));
}

TEST(Penalties, LeaveForbiddenTokensForbiddenAndOthersFinite) {
  SamplingParams params;
  params.repetition_penalty = 0.5f;
  params.frequency_penalty = -kLargest;
  const std::vector<float> logits = Penalised(params, {0, 1, 1, 2}, {-kInfinity, kLargest, -kLargest});
  EXPECT_EQ(logits[0], -kInfinity);
  EXPECT_EQ(logits[1], kLargest);
  EXPECT_TRUE(std::isfinite(logits[2]));
}

TEST(Bias, IsAddedToItsTokens) {
  EXPECT_EQ(Biased({{0, 1.5f}, {2, -4.0f}}, {1, 1, 1}), (std::vector<float>{2.5f, 1, -3}));
}

TEST(Bias, OfMinusInfinityForbids) {
  EXPECT_EQ(Biased({{1, -kInfinity}}, {1, kLargest}), (std::vector<float>{1, -kInfinity}));
}

TEST(Bias, BeyondTheRangeOfFloatIsCutToIt) {
  EXPECT_EQ(Biased({{0, kLargest}, {1, -kLargest}}, {kLargest, -kLargest}),
            (std::vector<float>{kLargest, -kLargest}));
}

TEST(Bias, PassesOverTokensOutsideTheVocabulary) {
  EXPECT_EQ(Biased({{-1, 9.0f}, {2, 9.0f}, {2'000'000'000, 9.0f}}, {1, 1}), (std::vector<float>{1, 1}));
}

}  // namespace
}  // namespace tessera
