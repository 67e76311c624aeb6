#include "core/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/cpu/reference/reference_backend.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/model_runner.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

using cpu::ActivationMode;
using Logits = std::vector<std::vector<float>>;

constexpr TensorType kWeightTypes[] = {TensorType::kF32,  TensorType::kF16,  TensorType::kBF16,
                                       TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0,
                                       TensorType::kQ4_K, TensorType::kQ6_K};

std::unique_ptr<Backend> CpuOf(ActivationMode mode) {
  CpuBackendOptions options;
  options.activations = mode;
  return MakeCpuBackend(options);
}

// Tokens of sequence `sequence`, the same ones for each count.
std::vector<int32_t> TokensOf(int32_t sequence, int32_t first, int32_t count) {
  std::vector<int32_t> tokens;
  for (int32_t i = first; i < first + count; ++i)
    tokens.push_back((i * 37 + sequence * 101 + i * i % 13) % 300);
  return tokens;
}

// A prompt of one sequence in one step.
Logits RunPrompt(const LoadedTinyModel& model, const Backend& backend, const RunnerOptions& options,
                 int32_t count) {
  ModelRunner runner(&model, &backend, options);
  return runner.Step({{0, TokensOf(0, 0, count)}});
}

struct Difference {
  double worst = 0;     // of all logits
  double relative = 0;  // root of the mean square, over that of the logits themselves
};

Difference Compare(const Logits& a, const Logits& b) {
  Difference difference;
  double errors = 0;
  double squares = 0;
  EXPECT_EQ(a.size(), b.size());
  for (size_t row = 0; row < a.size(); ++row) {
    for (size_t i = 0; i < a[row].size(); ++i) {
      const double error = std::abs(static_cast<double>(a[row][i]) - b[row][i]);
      EXPECT_FALSE(std::isnan(error)) << "row " << row << ", token " << i;
      difference.worst = std::max(difference.worst, error);
      errors += error * error;
      squares += static_cast<double>(b[row][i]) * b[row][i];
    }
  }
  difference.relative = std::sqrt(errors / squares);
  return difference;
}

TEST(CpuBackend, MatchesTheReferenceForEveryWeightType) {
  for (const TensorType type : kWeightTypes) {
    SCOPED_TRACE(InfoOf(type).name);
    const LoadedTinyModel model = LoadTinyModel(TinyOptionsOfType(type));
    const Logits reference = RunPrompt(model, *MakeReferenceBackend(), {}, 70);
    ForEachTarget([&] {
      const Difference exact = Compare(RunPrompt(model, *CpuOf(ActivationMode::kF32), {}, 70), reference);
      RecordProperty(std::string("f32_") + InfoOf(type).name, std::to_string(exact.worst));
      EXPECT_LE(exact.worst, 1e-4);
      const Difference rounded = Compare(RunPrompt(model, *CpuOf(ActivationMode::kInt8), {}, 70), reference);
      RecordProperty(std::string("int8_") + InfoOf(type).name, std::to_string(rounded.relative));
      // Activations rounded to 1/127 of their group's largest: about half a percent of noise for each of the
      // chain's products.
      EXPECT_LE(rounded.worst, 0.8);
      EXPECT_LE(rounded.relative, 0.035);
    });
  }
}

TEST(CpuBackend, MatchesTheReferenceForBiasesHalvesWindowsAndCacheTypes) {
  TinyModelOptions windowed;
  windowed.window_tokens = 20;
  windowed.heads = 6;
  windowed.kv_heads = 2;
  windowed.head_size = 24;
  windowed.hidden = 96;
  for (const TinyModelOptions& tiny : {TinyQwen2Options(), windowed}) {
    const LoadedTinyModel model = LoadTinyModel(tiny);
    for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16, CacheType::kInt8}) {
      RunnerOptions options;
      options.cache_type = type;
      const Logits reference = RunPrompt(model, *MakeReferenceBackend(), options, 70);
      const Logits logits = RunPrompt(model, *CpuOf(ActivationMode::kF32), options, 70);
      // A key near the middle between two values of the cache's type may round either way.
      EXPECT_LE(Compare(logits, reference).worst, type == CacheType::kF32 ? 1e-4 : 3e-2) << tiny.architecture;
    }
  }
}

class CpuBackendBits : public testing::TestWithParam<TensorType> {
 protected:
  const LoadedTinyModel model_ = LoadTinyModel(TinyOptionsOfType(GetParam()));
  const std::unique_ptr<Backend> backend_ = CpuOf(ActivationMode::kInt8);
};

TEST_P(CpuBackendBits, DoNotDependOnHowThePromptWasCut) {
  const Logits whole = RunPrompt(model_, *backend_, {}, 150);
  for (const int32_t step : {1, 7, 64, 149}) {
    ModelRunner runner(&model_, backend_.get(), {});
    Logits parts;
    for (int32_t first = 0; first < 150; first += step) {
      for (auto& row : runner.Step({{0, TokensOf(0, first, std::min(step, 150 - first))}}))
        parts.push_back(row);
    }
    EXPECT_EQ(parts, whole) << "in steps of " << step;
  }
}

TEST_P(CpuBackendBits, DoNotDependOnTheNeighbours) {
  const int32_t sequences = 16;
  RunnerOptions options;
  options.threads = 2;
  std::vector<Logits> together(sequences);
  {
    // Prompts of unlike lengths in one step, then single tokens in the next ones.
    ModelRunner runner(&model_, backend_.get(), options);
    for (int32_t turn = 0; turn < 3; ++turn) {
      std::vector<Chunk> chunks;
      for (int32_t s = 0; s < sequences; ++s) {
        const int32_t length = turn == 0 ? 1 + s : 1;
        chunks.push_back({s, TokensOf(s, turn == 0 ? 0 : s + turn, length)});
      }
      const Logits all = runner.Step(chunks);
      size_t row = 0;
      for (int32_t s = 0; s < sequences; ++s) {
        for (size_t i = 0; i < chunks[static_cast<size_t>(s)].tokens.size(); ++i) {
          together[static_cast<size_t>(s)].push_back(all[row++]);
        }
      }
    }
  }
  for (int32_t s = 0; s < sequences; ++s) {
    ModelRunner runner(&model_, backend_.get(), options);
    Logits alone = runner.Step({{s, TokensOf(s, 0, 1 + s)}});
    for (int32_t turn = 1; turn < 3; ++turn) alone.push_back(runner.Step({{s, TokensOf(s, s + turn, 1)}})[0]);
    EXPECT_EQ(alone, together[static_cast<size_t>(s)]) << "sequence " << s;
  }
}

TEST_P(CpuBackendBits, DoNotDependOnTheThreadsOrTheBlocks) {
  const auto run = [&](int32_t threads, int32_t block_tokens) {
    RunnerOptions options;
    options.threads = threads;
    options.block_tokens = block_tokens;
    ModelRunner runner(&model_, backend_.get(), options);
    Logits logits = runner.Step({{0, TokensOf(0, 0, 140)}, {1, TokensOf(1, 0, 3)}});
    for (int32_t turn = 0; turn < 4; ++turn) {
      for (auto& row : runner.Step({{0, TokensOf(0, 140 + turn, 1)}})) logits.push_back(row);
    }
    return logits;
  };
  const Logits expected = run(1, 16);
  EXPECT_EQ(run(2, 16), expected);
  EXPECT_EQ(run(3, 16), expected);
  EXPECT_EQ(run(8, 16), expected);
  EXPECT_EQ(run(2, 1), expected);
  EXPECT_EQ(run(3, 48), expected);
}

INSTANTIATE_TEST_SUITE_P(Types, CpuBackendBits, testing::ValuesIn(kWeightTypes),
                         [](const testing::TestParamInfo<TensorType>& type) {
                           return InfoOf(type.param).name;
                         });

TEST(CpuBackend, SamplesTheLargestLogitOfEachRow) {
  const LoadedTinyModel model = LoadTinyModel({});
  const std::unique_ptr<Backend> backend = CpuOf(ActivationMode::kInt8);
  RunnerOptions options;
  options.threads = 3;
  ModelRunner runner(&model, backend.get(), options);
  const Logits logits = runner.Step({{0, TokensOf(0, 0, 9)}, {4, TokensOf(4, 0, 2)}});
  ASSERT_EQ(runner.samples().size(), 11u);
  for (size_t row = 0; row < 11; ++row) {
    const auto largest = std::max_element(logits[row].begin(), logits[row].end());
    EXPECT_EQ(runner.samples()[row].token, largest - logits[row].begin());
    EXPECT_FALSE(runner.samples()[row].numeric_fault);
  }
}

TEST(CpuBackend, ReportsMemoryThatRunsOutAndLeaksNothing) {
  const LoadedTinyModel model = LoadTinyModel({});
  FailingMemory memory;
  memory.FailAt(1, true);
  BackendLimits limits;
  limits.max_rows = limits.max_samples = limits.max_sequences = 4;
  limits.max_positions = 64;
  limits.block_tokens = 16;
  limits.threads = 2;
  const auto context = CpuOf(ActivationMode::kInt8)->CreateContext(model.spec, limits, nullptr, &memory);
  ASSERT_FALSE(context.ok());
  EXPECT_EQ(CodeOf(context.status()), ErrorCode::kOutOfMemory);
}

TEST(CpuBackend, RefusesAStepBeyondItsLimitsInsteadOfReadingWild) {
  const LoadedTinyModel model = LoadTinyModel({});
  const std::unique_ptr<Backend> backend = CpuOf(ActivationMode::kInt8);
  ModelRunner runner(&model, backend.get(), {});
  Region embed;
  StepView step;
  step.row_count = 257;
  EXPECT_EQ(CodeOf(runner.context()->Execute(embed, {}, step)), ErrorCode::kInternal);
  const int32_t token = model.spec.vocabulary_size;
  step.row_count = 1;
  step.tokens = &token;
  EXPECT_EQ(CodeOf(runner.context()->Execute(embed, {}, step)), ErrorCode::kInternal);
}

}  // namespace
}  // namespace tessera
