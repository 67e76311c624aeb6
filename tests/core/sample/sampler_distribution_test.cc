// Draws over many positions follow the probabilities. Seeds are fixed, so each outcome is too.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/sample/sampler.h"
#include "tests/core/sample/sampling_oracle.h"

namespace tessera {
namespace {

// Chi-square of `draws` draws against the oracle's probabilities, as standard deviations from its mean.
double Score(const std::vector<float>& logits, const SamplingParams& params, int draws) {
  const std::vector<double> expected = SampleDistribution(logits, params, {}).probabilities;
  const std::unique_ptr<Sampler> sampler = Sampler::Create(static_cast<int32_t>(logits.size()));
  std::vector<int> seen(logits.size(), 0);
  for (int position = 0; position < draws; ++position) {
    SampleRow row;
    row.params = &params;
    row.position = position;
    sampler->Sample(logits.data(), &row);
    ++seen[row.token];
  }
  double chi_square = 0;
  double degrees = -1;
  for (size_t token = 0; token < logits.size(); ++token) {
    if (expected[token] == 0) {
      EXPECT_EQ(seen[token], 0) << "token " << token << " was cut";
      continue;
    }
    const double mean = expected[token] * draws;
    chi_square += (seen[token] - mean) * (seen[token] - mean) / mean;
    degrees += 1;
  }
  return (chi_square - degrees) / std::sqrt(2 * std::max(degrees, 1.0));
}

const std::vector<float> kLogits = {0.3f, 2.0f, -1.0f, 1.5f, 1.5f, 0.0f, -2.5f, 2.2f, 0.9f, -0.4f};

TEST(SamplerDistribution, FollowsTheSoftmax) {
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    params.seed = 11;
    EXPECT_LT(std::fabs(Score(kLogits, params, 20'000)), 4.5) << temperature;
  }
}

TEST(SamplerDistribution, FollowsWhatTopKLeaves) {
  SamplingParams params;
  params.temperature = 1.0f;
  params.top_k = 3;  // the third largest is shared by tokens 3 and 4: the lower id stays
  params.seed = 12;
  EXPECT_LT(std::fabs(Score(kLogits, params, 20'000)), 4.5);
}

TEST(SamplerDistribution, FollowsWhatTopPLeaves) {
  SamplingParams params;
  params.temperature = 1.0f;
  params.top_p = 0.8f;
  params.seed = 13;
  EXPECT_LT(std::fabs(Score(kLogits, params, 20'000)), 4.5);
}

TEST(SamplerDistribution, FollowsWhatMinPLeaves) {
  SamplingParams params;
  params.temperature = 1.0f;
  params.min_p = 0.2f;
  params.seed = 14;
  EXPECT_LT(std::fabs(Score(kLogits, params, 20'000)), 4.5);
}

TEST(SamplerDistribution, OverManyEqualLogitsIsEven) {
  SamplingParams params;
  params.temperature = 0.7f;
  params.seed = 15;
  EXPECT_LT(std::fabs(Score(std::vector<float>(300, -3.25f), params, 60'000)), 4.5);
}

}  // namespace
}  // namespace tessera
