// Sampling allocates nothing: this program counts every call of operator new.
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "core/sample/sampler.h"
#include "tests/doubles/counted_allocations.h"

namespace tessera {
namespace {

TEST(SampleAllocation, SamplesWithEveryRuleAndAllocatesNothing) {
  constexpr int32_t kVocabulary = 5000;
  std::mt19937 generator(1);
  std::vector<float> logits(kVocabulary);
  for (float& logit : logits) logit = static_cast<float>(generator() % 1000) / 100;
  std::vector<float> copy(kVocabulary);
  std::vector<int32_t> history(300);
  for (int32_t& token : history) token = static_cast<int32_t>(generator() % kVocabulary);
  std::vector<SamplingParams> all;
  for (const float temperature : {0.0f, 0.8f}) {
    for (const int32_t top_k : {0, 40, 3000}) {
      for (const float top_p : {1.0f, 0.9f}) {
        for (const float min_p : {0.0f, 0.1f}) {
          for (const bool adjusts : {false, true}) {
            SamplingParams params;
            params.temperature = temperature;
            params.top_k = top_k;
            params.top_p = top_p;
            params.min_p = min_p;
            params.top_logprobs = adjusts ? 20 : -1;
            if (adjusts) {
              params.frequency_penalty = 0.5f;
              params.penalty_window_tokens = 256;
              params.logit_bias = {{1, -std::numeric_limits<float>::infinity()}, {7, 2.0f}};
            }
            all.push_back(params);
          }
        }
      }
    }
  }
  const std::unique_ptr<Sampler> sampler = Sampler::Create(kVocabulary);
  const int64_t before = CountedAllocations();
  ASSERT_GT(before, 0) << "the count must see allocations";

  int tokens = 0;
  for (const SamplingParams& params : all) {
    for (uint64_t position = 0; position < 20; ++position) {
      SampleRow row;
      row.params = &params;
      row.position = position;
      row.history = history.data();
      row.history_count = static_cast<int32_t>(history.size());
      row.logits_out = copy.data();
      sampler->Sample(logits.data(), &row);
      tokens += row.token >= 0;
    }
  }

  EXPECT_EQ(CountedAllocations(), before);
  EXPECT_EQ(tokens, static_cast<int>(all.size()) * 20);
}

}  // namespace
}  // namespace tessera
