// SmolLM2-135M held against an independent implementation on the same weights: tokens, logits, greedy texts;
// the plain loops, the fast path at full precision, and the fast path as users run it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/goldens/smollm2/goldens.h"
#include "tests/goldens/smollm2/hosted_model.h"

namespace tessera::goldens {
namespace {

// How far a run is from the goldens over one prompt.
struct Distance {
  double logit_error = 0;          // largest, over the top 16 of every step and the sampled vocabulary
  double divergence = 0;           // mean over the full steps of KL(golden || ours), nats
  double probability_error = 0;    // mean over all steps of |p - p'| summed over the golden's top 16
  int64_t other_choices = 0;       // steps whose largest logit is another token's
  double other_choice_margin = 0;  // the golden's largest margin among these
};

double LogSumExp(const std::vector<float>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

Distance Measure(const Goldens& goldens, const Prompt& prompt,
                 const std::vector<std::vector<float>>& logits) {
  Distance distance;
  for (size_t step = 0; step < logits.size(); ++step) {
    const double log_sum_exp = LogSumExp(logits[step]);
    for (size_t k = 0; k < prompt.top_ids[step].size(); ++k) {
      const double ours = logits[step][prompt.top_ids[step][k]], golden = prompt.top_logits[step][k];
      distance.logit_error = std::max(distance.logit_error, std::abs(ours - golden));
      distance.probability_error +=
          std::abs(std::exp(ours - log_sum_exp) - std::exp(golden - prompt.log_sum_exp[step])) /
          static_cast<double>(logits.size());
    }
    const auto choice = std::max_element(logits[step].begin(), logits[step].end()) - logits[step].begin();
    if (choice != prompt.greedy_ids[step]) {
      ++distance.other_choices;
      distance.other_choice_margin = std::max(distance.other_choice_margin, prompt.margin[step]);
    }
  }
  for (const SampledStep& known : prompt.sampled) {
    for (size_t i = 0; i < known.logits.size(); ++i) {
      const double ours = logits[known.step][goldens.sampled_ids[i]];
      distance.logit_error = std::max(distance.logit_error, std::abs(ours - known.logits[i]));
    }
  }
  for (const FullStep& known : prompt.full) {
    const double log_sum_exp = LogSumExp(logits[known.step]);
    double divergence = 0;
    for (size_t id = 0; id < known.log_probs.size(); ++id) {
      divergence +=
          std::exp(known.log_probs[id]) * (known.log_probs[id] - (logits[known.step][id] - log_sum_exp));
    }
    distance.divergence += divergence / static_cast<double>(prompt.full.size());
  }
  return distance;
}

class SmolLm2 : public testing::Test {
 protected:
  static void SetUpTestSuite() { goldens_ = new Goldens(ReadGoldens(TESSERA_GOLDENS)); }
  static void TearDownTestSuite() { delete goldens_; }
  void SetUp() override {
    const char* path = std::getenv("TESSERA_MODEL_SMOLLM2");
    if (path == nullptr)
      GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 is not set; scripts/fetch-model prints the path";
    path_ = path;
  }

  std::vector<Distance> MeasureAll(HostedModel& model, size_t prompts, size_t steps) {
    std::vector<Distance> distances;
    for (size_t i = 0; i < prompts; ++i) {
      const Prompt& prompt = goldens_->prompts[i];
      std::vector<int32_t> tokens = prompt.greedy_ids;
      tokens.resize(steps);
      distances.push_back(Measure(*goldens_, prompt, model.TeacherForced(prompt.ids, tokens)));
      const Distance& d = distances.back();
      std::printf(
          "%-14s logit error %.5f, divergence %.7f, probability error %.5f, %ld other choices (margin "
          "%.4f)\n",
          prompt.name.c_str(), d.logit_error, d.divergence, d.probability_error,
          static_cast<long>(d.other_choices), d.other_choice_margin);
    }
    return distances;
  }

  // Left to itself, a run may leave the golden text only where the golden's margin is at most twice the error
  // that its logits were measured to have.
  void ExpectGreedyTexts(HostedModel& model, const std::vector<Distance>& distances) {
    for (size_t i = 0; i < distances.size(); ++i) {
      const Prompt& prompt = goldens_->prompts[i];
      const std::vector<int32_t> tokens =
          model.Greedy(prompt.ids, static_cast<int64_t>(prompt.greedy_ids.size()));
      ASSERT_EQ(tokens.size(), prompt.greedy_ids.size()) << prompt.name;
      const auto parted =
          std::mismatch(tokens.begin(), tokens.end(), prompt.greedy_ids.begin()).first - tokens.begin();
      if (parted == static_cast<int64_t>(tokens.size())) continue;
      std::printf("%-14s parts at step %ld, where the margin is %.4f\n", prompt.name.c_str(),
                  static_cast<long>(parted), prompt.margin[parted]);
      EXPECT_LE(prompt.margin[parted], 2 * distances[i].logit_error) << prompt.name << " at step " << parted;
    }
  }

  static Goldens* goldens_;
  std::string path_;
};
Goldens* SmolLm2::goldens_ = nullptr;

TEST_F(SmolLm2, TextBecomesTheGoldenTokensAndTheyBecomeTheText) {
  const HostedModel model(path_, {});
  for (const Prompt& prompt : goldens_->prompts) {
    EXPECT_EQ(model.Tokenize(prompt.text), prompt.ids) << prompt.name;
    EXPECT_EQ(model.Detokenize(prompt.ids), prompt.text) << prompt.name;
    EXPECT_EQ(model.Detokenize(prompt.greedy_ids), prompt.greedy_text) << prompt.name;
  }
}

// One short prompt: the plain loops take their time.
TEST_F(SmolLm2, PlainLoopsGiveTheGoldenLogits) {
  HostedModel model(path_, {"reference", "f32", "f32"});
  const Prompt& prompt = goldens_->prompts[3];
  ASSERT_EQ(prompt.name, "raw_short");
  const std::vector<int32_t> tokens(prompt.greedy_ids.begin(), prompt.greedy_ids.begin() + 6);
  const std::vector<std::vector<float>> logits = model.TeacherForced(prompt.ids, tokens);
  for (size_t step = 0; step < tokens.size(); ++step) {
    for (size_t k = 0; k < prompt.top_ids[step].size(); ++k) {
      EXPECT_NEAR(logits[step][prompt.top_ids[step][k]], prompt.top_logits[step][k], 5e-4) << "step " << step;
    }
    EXPECT_NEAR(LogSumExp(logits[step]), prompt.log_sum_exp[step], 5e-4) << "step " << step;
  }
}

TEST_F(SmolLm2, FastPathAtFullPrecisionGivesTheGoldenLogitsAndTexts) {
  HostedModel model(path_, {"cpu", "f32", "f32"});
  const std::vector<Distance> distances = MeasureAll(model, goldens_->prompts.size(), 128);
  for (const Distance& distance : distances) {
    EXPECT_LE(distance.logit_error, 5e-4);
    EXPECT_LE(distance.divergence, 1e-6);
    EXPECT_EQ(distance.other_choices, 0);
  }
  ExpectGreedyTexts(model, distances);
}

// What the cache's type alone costs.
TEST_F(SmolLm2, AnEightBitCacheStaysNearTheGoldens) {
  HostedModel model(path_, {"cpu", "f32", "int8"});
  const std::vector<Distance> distances = MeasureAll(model, goldens_->prompts.size(), 128);
  double divergence = 0;
  for (const Distance& distance : distances) {
    divergence += distance.divergence / static_cast<double>(distances.size());
    EXPECT_LE(distance.other_choice_margin, 2 * distance.logit_error);
  }
  std::printf("mean divergence %.6f nats\n", divergence);
  EXPECT_LE(divergence, 0.0005);
}

TEST_F(SmolLm2, FastPathWithEightBitActivationsStaysNearTheGoldens) {
  HostedModel model(path_, {});
  const std::vector<Distance> distances = MeasureAll(model, goldens_->prompts.size(), 128);
  double divergence = 0;
  for (const Distance& distance : distances) {
    divergence += distance.divergence / static_cast<double>(distances.size());
    EXPECT_LE(distance.other_choice_margin, 2 * distance.logit_error);
  }
  std::printf("mean divergence %.6f nats\n", divergence);
  EXPECT_LE(divergence, 0.003);
  ExpectGreedyTexts(model, distances);
}

}  // namespace
}  // namespace tessera::goldens
