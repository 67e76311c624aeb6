// Regions left between any two tasks and gone on with: the same bits as in one go, and no task that is long.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/cpu/cpu_backend.h"
#include "tests/core/cpu/model_runner.h"

namespace tessera {
namespace {

using cpu::ActivationMode;

// Leaves after every task, or after every `period` of them.
class PauseEach final : public PauseSource {
 public:
  explicit PauseEach(int64_t period) : period_(period) {}
  bool ShouldPause() noexcept override { return (asked_.fetch_add(1) + 1) % period_ == 0; }

 private:
  const int64_t period_;
  std::atomic<int64_t> asked_{0};
};

struct Outcome {
  std::vector<std::vector<float>> logits;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // of the tokens, then of their alternatives
  int64_t slices = 0;
};

std::vector<int32_t> TokensOf(int32_t sequence, int32_t count) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) tokens.push_back((i * 41 + sequence * 97 + i * i % 17) % 300);
  return tokens;
}

// Prompts of two sequences, one of them in two steps, then a token for each.
Outcome RunSteps(const LoadedTinyModel& model, const Backend& backend, const RunnerOptions& options,
                 const SamplingParams& params, int32_t prompt_tokens, PauseSource* pause) {
  ModelRunner runner(&model, &backend, options);
  runner.SampleBy(params);
  Outcome outcome;
  const auto step = [&](const std::vector<Chunk>& chunks) {
    for (auto& row : runner.Step(chunks, pause)) outcome.logits.push_back(std::move(row));
    outcome.slices += runner.slices();
    for (const SampleRow& sample : runner.samples()) {
      EXPECT_FALSE(sample.numeric_fault);
      outcome.tokens.push_back(sample.token);
      outcome.logprobs.push_back(sample.logprob);
      outcome.logprobs.insert(outcome.logprobs.end(), sample.top_logprobs,
                              sample.top_logprobs + sample.top_count);
      outcome.tokens.insert(outcome.tokens.end(), sample.top_tokens, sample.top_tokens + sample.top_count);
    }
  };
  step({{0, TokensOf(0, prompt_tokens)}, {1, TokensOf(1, 3)}});
  step({{1, TokensOf(2, 40)}});
  step({{0, {7}}, {1, {9}}});
  step({{0, {11}}});
  return outcome;
}

void ExpectSame(const Outcome& cut, const Outcome& whole) {
  ASSERT_EQ(cut.logits.size(), whole.logits.size());
  for (size_t row = 0; row < cut.logits.size(); ++row) {
    const size_t bytes = whole.logits[row].size() * sizeof(float);
    ASSERT_EQ(std::memcmp(cut.logits[row].data(), whole.logits[row].data(), bytes), 0) << "row " << row;
  }
  EXPECT_EQ(cut.tokens, whole.tokens);
  EXPECT_EQ(cut.logprobs, whole.logprobs);
}

SamplingParams Drawn() {
  SamplingParams params;
  params.temperature = 1.2f;
  params.top_p = 0.9f;
  params.min_p = 0.001f;
  params.seed = 3;
  params.top_logprobs = 4;
  return params;
}

std::unique_ptr<Backend> CpuOf(ActivationMode mode) {
  CpuBackendOptions options;
  options.activations = mode;
  return MakeCpuBackend(options);
}

struct Case {
  std::string name;
  TinyModelOptions model;
  CacheType cache = CacheType::kF16;
  int32_t prompt_tokens = 70;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ4_0,
                                TensorType::kQ4_1, TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kQ6_K}) {
    cases.push_back({InfoOf(type).name, TinyOptionsOfType(type)});
    cases.back().model.attention_type = type == TensorType::kF32 ? TensorType::kQ8_0 : type;
  }
  cases.push_back({"Biases", TinyQwen2Options(), CacheType::kF32});
  Case window{"Window", {}, CacheType::kBF16};
  window.model.window_tokens = 20;
  cases.push_back(window);
  // Several parts of attention's context, and of every product.
  Case large{"Large", {}, CacheType::kF16, 700};
  large.model.layers = 1;
  large.model.hidden = large.model.feed_forward = 512;
  large.model.heads = 8;
  large.model.kv_heads = 1;
  large.model.head_size = 128;
  large.model.context_tokens = 1024;
  large.model.attention_type = large.model.feed_forward_type = TensorType::kQ4_1;
  cases.push_back(large);
  return cases;
}

class Slices : public testing::TestWithParam<Case> {};

TEST_P(Slices, GiveTheSameBitsWhereverTheyWereCut) {
  const Case& c = GetParam();
  const LoadedTinyModel model = LoadTinyModel(c.model);
  for (const ActivationMode mode : {ActivationMode::kInt8, ActivationMode::kF32}) {
    const std::unique_ptr<Backend> backend = CpuOf(mode);
    for (const int32_t threads : {1, 2, 5}) {
      SCOPED_TRACE(testing::Message() << threads << " threads, mode " << static_cast<int>(mode));
      RunnerOptions options;
      options.threads = threads;
      options.cache_type = c.cache;
      options.max_rows = options.max_positions = 1024;
      options.max_sequences = 2;
      for (const SamplingParams& params : {SamplingParams(), Drawn()}) {
        const Outcome whole = RunSteps(model, *backend, options, params, c.prompt_tokens, nullptr);
        PauseEach every(1);
        const Outcome cut = RunSteps(model, *backend, options, params, c.prompt_tokens, &every);
        ExpectSame(cut, whole);
        // Each row's norms, products, rotation and sample, at the least.
        if (threads == 1) {
          EXPECT_GT(cut.slices, 5 * c.prompt_tokens);
        }
        PauseEach some(13);
        ExpectSame(RunSteps(model, *backend, options, params, c.prompt_tokens, &some), whole);
        if (HasFatalFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Slices, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& c) { return c.param.name; });

// Counts tasks.
class NeverPause final : public PauseSource {
 public:
  bool ShouldPause() noexcept override {
    asked.fetch_add(1);
    return false;
  }
  std::atomic<int64_t> asked{0};
};

TEST(Slice, WithoutAPauseARegionIsOneSlice) {
  const LoadedTinyModel model = LoadTinyModel({});
  const std::unique_ptr<Backend> backend = CpuOf(ActivationMode::kInt8);
  for (const int32_t threads : {1, 3}) {
    RunnerOptions options;
    options.threads = threads;
    ModelRunner runner(&model, backend.get(), options);
    NeverPause never;
    runner.Step({{0, TokensOf(0, 50)}}, &never);
    EXPECT_EQ(runner.slices(), static_cast<int64_t>(BuildRegions(model.spec).size()));
  }
}

// A region can be left between tasks only: a large one must have many, with one thread too.
TEST(Slice, LongRegionsAreManyTasks) {
  TinyModelOptions options;
  options.layers = 1;
  options.hidden = 1024;
  options.heads = 16;
  options.kv_heads = 4;
  options.head_size = 64;
  options.feed_forward = 2048;
  options.attention_type = options.feed_forward_type = TensorType::kQ4_0;
  const LoadedTinyModel model = LoadTinyModel(options);
  const std::unique_ptr<Backend> backend = CpuOf(ActivationMode::kInt8);
  RunnerOptions runner_options;
  ModelRunner runner(&model, backend.get(), runner_options);
  NeverPause whole;
  runner.Step({{0, TokensOf(0, 250)}}, &whole);
  // Rows: embed, two norms, two preparations, rotation, head's norm, samples; products of 12 million terms at
  // most.
  const int64_t products = int64_t{250} * 1024 * (1024 + 2 * 256 + 1024 + 3 * 2048);
  EXPECT_GE(whole.asked.load(), 8 * 250 + products / (12 << 20));
}

}  // namespace
}  // namespace tessera
