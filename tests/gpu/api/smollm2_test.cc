// SmolLM2, whose path TESSERA_MODEL_SMOLLM2 holds, on a GPU: the CPU's text up to near ties, and the same
// bits alone and among 64.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "tests/gpu/api/gpu_host.h"

namespace tessera::host {
namespace {

constexpr const char* kTexts[] = {"Once upon a time",
                                  "<|im_start|>user\nWhat is the capital of France, and what is it known "
                                  "for?<|im_end|>\n<|im_start|>assistant\n",
                                  "#include <vector>\n\n// Returns the sum of the squares.\nint "
                                  "SumOfSquares(const std::vector<int>& values) {\n",
                                  "| n | n^2 |\n|---|-----|\n| 1 | 1 |\n| 2 | 4 |\n",
                                  "The harbour master kept two books. In the first he wrote what the law "
                                  "asked of him: the name of every ship, the "
                                  "hour at which it crossed the bar, the depth of its keel and the weight of "
                                  "its cargo. In the second, which nobody "
                                  "had asked for, he wrote what he saw. On the ninth of March a schooner "
                                  "came in with a mast of green wood, and",
                                  "Bonjour, comment \xc3\xa7"
                                  "a va ? Die Stra\xc3\x9f"
                                  "e ist na\xc3\x9f. \xe4\xbd\xa0\xe5\xa5\xbd:"};
constexpr int64_t kTokens = 200;

// On rows' relative errors. Beside activations the GPU rounds the file's 4-bit weights, to BF16 when it loads
// them: that alone makes 0.005 in the mean, 0.017 in the worst row. Transformers at BF16, whose hidden state
// is rounded too, is off float32 by 0.016 to 0.025 in the mean and 0.087 at the worst on texts like these.
constexpr double kMeanBound = 0.02;
constexpr double kWorstBound = 0.1;
// A logit's error over the root mean square of its row's.
constexpr double kOutlier = 6;

class SmolLm2 : public GpuApi {
 protected:
  void SetUp() override {
    GpuApi::SetUp();
    if (IsSkipped()) return;
    const char* path = std::getenv("TESSERA_MODEL_SMOLLM2");
    if (path == nullptr) GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 names no model file";
    gpu_ = Host::FromFile(path, OnGpu());
    cpu_ = Host::FromFile(path);
    ASSERT_NE(gpu_->model(), nullptr);
    for (const char* text : kTexts) prompts_.push_back(gpu_->Tokenize(text, TSR_TEXT_PARSE_SPECIAL));
  }
  static Options Sized(Options options) { return options.Int("engine.context_tokens", 1024); }

  std::unique_ptr<Host> gpu_, cpu_;
  std::vector<std::vector<int32_t>> prompts_;
};

TEST_F(SmolLm2, SpeaksOnTheGpuAsOnTheCpuUpToNearTies) {
  const Handle<tsr_engine> engine = gpu_->Engine(Sized(Stepped()));
  const Handle<tsr_engine> exact_engine = cpu_->Engine(Sized(ExactCpu()));
  const std::vector<Answer> answers = AnswerAll(*gpu_, engine.get(), prompts_, Greedy(kTokens));
  const std::vector<Answer> texts = AnswerAll(*cpu_, exact_engine.get(), prompts_, Greedy(kTokens));
  int near_ties = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "prompt " << i << ": " << answers[i].text);
    const std::vector<int32_t>& tokens = answers[i].tokens;
    ASSERT_EQ(tokens.size(), static_cast<size_t>(kTokens));
    const auto ours = ForcedLogits(*gpu_, engine.get(), prompts_[i], tokens);
    const auto exact = ForcedLogits(*cpu_, exact_engine.get(), prompts_[i], tokens);
    double worst = 0, sum = 0, widest = 0;
    for (size_t step = 0; step < tokens.size(); ++step) {
      const std::vector<float>& row = exact[step];
      const double error = RelativeError(ours[step], row);
      worst = std::max(worst, error);
      sum += error;
      const double square = std::inner_product(row.begin(), row.end(), row.begin(), 0.0);
      const double tolerance = 2 * kOutlier * error * std::sqrt(square / static_cast<double>(row.size()));
      const double margin =
          *std::max_element(row.begin(), row.end()) - row[static_cast<size_t>(tokens[step])];
      EXPECT_LE(margin, tolerance) << "token " << step;
      widest = std::max(widest, margin);
      near_ties += margin > 0 ? 1 : 0;
    }
    EXPECT_LE(worst, kWorstBound);
    EXPECT_LE(sum / kTokens, kMeanBound);
    const auto parted = std::mismatch(tokens.begin(), tokens.end(), texts[i].tokens.begin());
    std::printf(
        "prompt %zu: %td tokens as on the CPU; relative error %.2e, worst %.2e; widest near tie %.3f\n", i,
        parted.first - tokens.begin(), sum / kTokens, worst, widest);
  }
  EXPECT_LT(near_ties, static_cast<int>(answers.size()) * kTokens / 20);
}

TEST_F(SmolLm2, IsTheSameBitsAloneAndAmong64InBatchInvariantMode) {
  const Handle<tsr_engine> engine = gpu_->Engine(Sized(Invariant()).Int("engine.batch_tokens", 192));
  std::vector<std::vector<int32_t>> crowd;
  for (size_t i = 0; i < 64; ++i) {
    crowd.push_back(prompts_[i % prompts_.size()]);
    if (i >= prompts_.size()) crowd.back().resize(1 + (i * 13) % crowd.back().size());
  }
  const std::vector<Answer> together = AnswerAll(*gpu_, engine.get(), crowd, Greedy(64));
  std::vector<Answer> firsts(together.begin(), together.begin() + static_cast<ptrdiff_t>(prompts_.size()));
  ExpectSameAnswers(firsts, AnswerEach(*gpu_, engine.get(), prompts_, Greedy(64)), "among 64 and alone");
}

}  // namespace
}  // namespace tessera::host
