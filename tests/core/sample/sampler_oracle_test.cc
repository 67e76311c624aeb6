// The sampler against the plain oracle: random logits, random parameters, many draws.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/sample/random.h"
#include "core/sample/sampler.h"
#include "tests/core/sample/each_target.h"
#include "tests/core/sample/sampling_oracle.h"

namespace tessera {
namespace {

// Single precision moves a probability by about 1e-6 of itself for logits of this size; decisions closer than
// this may go either way.
constexpr double kUndecided = 2e-5;

struct Case {
  std::vector<float> logits;
  SamplingParams params;
  std::vector<int32_t> history;
};

float UniformFloat(std::mt19937& generator, float from, float to) {
  return std::uniform_real_distribution<float>(from, to)(generator);
}

// Every rule is on in about half of the cases. `equal_logits`: multiples of a half, so that ties abound, and
// no adjustment that would break them up.
Case RandomCase(int32_t vocabulary, bool equal_logits, std::mt19937& generator) {
  const auto coin = [&generator] { return generator() % 2 == 0; };
  Case test;
  std::normal_distribution<float> normal(0.0f, UniformFloat(generator, 0.5f, 5.0f));
  test.logits.resize(vocabulary);
  for (float& logit : test.logits) {
    logit = normal(generator);
    if (equal_logits) logit = std::round(logit * 2) / 2;
  }
  SamplingParams& params = test.params;
  params.seed = generator();
  params.temperature = equal_logits ? 1.0f : UniformFloat(generator, 0.2f, 2.0f);
  if (coin()) params.top_k = 1 + static_cast<int32_t>(generator() % (vocabulary + 5));
  if (coin()) params.top_k = 1 + static_cast<int32_t>(generator() % 20);
  if (coin()) params.top_p = UniformFloat(generator, 0.05f, 0.999f);
  if (coin()) params.min_p = UniformFloat(generator, 0.001f, 0.5f);
  test.history.resize(generator() % 200);
  for (int32_t& token : test.history) token = static_cast<int32_t>(generator() % vocabulary);
  params.penalty_window_tokens = static_cast<int32_t>(generator() % 100);
  if (coin() && !equal_logits) params.repetition_penalty = UniformFloat(generator, 0.8f, 1.5f);
  if (coin() && !equal_logits) params.frequency_penalty = UniformFloat(generator, -0.3f, 0.8f);
  if (coin()) params.presence_penalty = equal_logits ? 0.5f : UniformFloat(generator, -0.5f, 1.5f);
  if (coin()) {
    for (int32_t token = 0; token < vocabulary; token += 1 + static_cast<int32_t>(generator() % 10)) {
      const float bias = equal_logits ? 1.0f : UniformFloat(generator, -3.0f, 3.0f);
      params.logit_bias.emplace_back(token,
                                     generator() % 4 == 0 ? -std::numeric_limits<float>::infinity() : bias);
    }
    // One token stays open, so that there is always something to draw.
    if (!params.logit_bias.empty()) params.logit_bias.front().second = 0.0f;
  }
  return test;
}

std::string Describe(const Case& test) {
  const SamplingParams& params = test.params;
  return absl::StrCat("vocabulary ", test.logits.size(), " temperature ", params.temperature, " top_k ",
                      params.top_k, " top_p ", params.top_p, " min_p ", params.min_p, " repetition ",
                      params.repetition_penalty, " frequency ", params.frequency_penalty, " presence ",
                      params.presence_penalty, " window ", params.penalty_window_tokens, " biases ",
                      params.logit_bias.size(), " seed ", params.seed);
}

// Draws many positions of one case and compares each that single precision can decide. Adds to the counts.
void CompareDraws(const Case& test, int draws, int* compared, int* undecided) {
  const OracleAnswer answer = SampleDistribution(test.logits, test.params, test.history);
  if (answer.closest_cut < kUndecided) {
    *undecided += draws;
    return;
  }
  const std::unique_ptr<Sampler> sampler = Sampler::Create(static_cast<int32_t>(test.logits.size()));
  for (int position = 0; position < draws; ++position) {
    const OracleDraw expected = DrawOf(answer.probabilities, UniformDraw(test.params.seed, position));
    if (expected.margin < kUndecided) {
      ++*undecided;
      continue;
    }
    SampleRow row;
    row.params = &test.params;
    row.position = position;
    row.history = test.history.data();
    row.history_count = static_cast<int32_t>(test.history.size());
    sampler->Sample(test.logits.data(), &row);
    ASSERT_FALSE(row.numeric_fault) << Describe(test);
    ASSERT_EQ(row.token, expected.token) << Describe(test) << " position " << position;
    ++*compared;
  }
}

class SamplerOracle : public EachTarget {};

TEST_P(SamplerOracle, ChoosesTheOraclesTokenForEveryDraw) {
  std::mt19937 generator(20);
  int compared = 0;
  int undecided = 0;
  for (int i = 0; i < 600; ++i) {
    const int32_t vocabulary = 1 + static_cast<int32_t>(generator() % (i % 10 == 0 ? 3000 : 200));
    const Case test = RandomCase(vocabulary, /*equal_logits=*/false, generator);
    CompareDraws(test, 20, &compared, &undecided);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(compared, 10 * undecided) << "the bound leaves too much out";
}

TEST_P(SamplerOracle, ChoosesTheOraclesTokenAmongEqualLogits) {
  std::mt19937 generator(21);
  int compared = 0;
  int undecided = 0;
  for (int i = 0; i < 600; ++i) {
    const int32_t vocabulary = 1 + static_cast<int32_t>(generator() % 300);
    const Case test = RandomCase(vocabulary, /*equal_logits=*/true, generator);
    CompareDraws(test, 20, &compared, &undecided);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(compared, 10 * undecided) << "the bound leaves too much out";
}

TEST_P(SamplerOracle, GreedyChoosesTheLargestAdjustedLogit) {
  std::mt19937 generator(22);
  int compared = 0;
  for (int i = 0; i < 500; ++i) {
    Case test = RandomCase(1 + static_cast<int32_t>(generator() % 500), i % 2 == 0, generator);
    test.params.temperature = 0;
    const std::vector<double> adjusted = AdjustedLogits(test.logits, test.params, test.history);
    const auto largest = std::max_element(adjusted.begin(), adjusted.end());
    double second = -std::numeric_limits<double>::infinity();
    for (const double logit : adjusted) second = logit < *largest ? std::max(second, logit) : second;
    if (*largest - second < kUndecided) continue;
    SampleRow row;
    row.params = &test.params;
    row.history = test.history.data();
    row.history_count = static_cast<int32_t>(test.history.size());
    Sampler::Create(static_cast<int32_t>(test.logits.size()))->Sample(test.logits.data(), &row);
    ASSERT_EQ(row.token, largest - adjusted.begin()) << Describe(test);
    ++compared;
  }
  EXPECT_GT(compared, 450);
}

TEST_P(SamplerOracle, AgreesOverAWholeVocabularyWithEveryCut) {
  std::mt19937 generator(23);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  Case test;
  test.logits.resize(49152);
  for (float& logit : test.logits) logit = normal(generator);
  int compared = 0;
  int undecided = 0;
  for (const float temperature : {0.3f, 1.0f, 5.0f}) {
    for (const int32_t top_k : {0, 1, 40, 1000, 40000}) {
      for (const float top_p : {1.0f, 0.95f, 0.3f}) {
        for (const float min_p : {0.0f, 0.05f}) {
          test.params.temperature = temperature;
          test.params.top_k = top_k;
          test.params.top_p = top_p;
          test.params.min_p = min_p;
          CompareDraws(test, 5, &compared, &undecided);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_GT(compared, 150) << undecided << " were undecided";
}

TSR_FOR_EACH_TARGET(SamplerOracle);

}  // namespace
}  // namespace tessera
