// The CPU backend on ranks that share layers and in stages: the bits of an engine without ranks, for every
// degree, and one end for all where a rank fails.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "core/base/status.h"
#include "core/cpu/cpu_backend.h"
#include "core/cpu/reference/reference_backend.h"
#include "tests/core/cpu/rank_runner.h"

namespace tessera {
namespace {

struct NamedModel {
  const char* name;
  TinyModelOptions options;
};

// Eight KV groups, 4-bit blocks of 32, six leaves of the down projection, a window.
TinyModelOptions EightGroups() {
  TinyModelOptions options;
  options.hidden = 256;
  options.heads = options.kv_heads = 8;
  options.head_size = 32;
  options.feed_forward = 1536;
  options.window_tokens = 20;
  options.embedding_type = TensorType::kQ8_0;
  options.attention_type = options.feed_forward_type = TensorType::kQ4_1;
  return options;
}

// Three KV groups, biases, own head, a last leaf of an odd size.
TinyModelOptions ThreeGroups() {
  TinyModelOptions options;
  options.architecture = "qwen2";
  options.layers = 3;
  options.hidden = 96;
  options.heads = 6;
  options.kv_heads = 3;
  options.head_size = 32;
  options.feed_forward = 1312;
  options.tied_head = false;
  options.qkv_bias = options.output_bias = true;
  options.embedding_type = TensorType::kBF16;
  options.head_type = options.attention_type = TensorType::kQ8_0;
  options.feed_forward_type = TensorType::kQ4_0;
  return options;
}

// Heads of 80: every boundary between leaves of the output projection is inside a block of 256.
TinyModelOptions Straddling(TensorType type) {
  TinyModelOptions options;
  options.hidden = 256;
  options.heads = 16;
  options.kv_heads = 4;
  options.head_size = 80;
  options.rotary_dimensions = 64;
  options.feed_forward = 2048;
  options.output_bias = true;
  options.embedding_type = options.attention_type = options.feed_forward_type = type;
  return options;
}

const std::vector<NamedModel>& Models() {
  static const auto* const models = new std::vector<NamedModel>{
      {"Plain", {}},  // one leaf of each sum: all but one rank idle
      {"EightGroups", EightGroups()},
      {"ThreeGroups", ThreeGroups()},
      {"StraddlingQ4K", Straddling(TensorType::kQ4_K)},
      {"StraddlingQ6K", Straddling(TensorType::kQ6_K)},
      {"StraddlingF16", Straddling(TensorType::kF16)},
  };
  return *models;
}

std::vector<int32_t> TokensOf(int32_t sequence, int32_t first, int32_t count) {
  std::vector<int32_t> tokens;
  for (int32_t i = first; i < first + count; ++i) {
    tokens.push_back((i * 37 + sequence * 101 + i * i % 13) % kTinyVocabulary);
  }
  return tokens;
}

// Prompts, prompts beside decoding, decoding.
std::vector<std::vector<RankChunk>> Steps() {
  return {{{0, TokensOf(0, 0, 41)}},
          {{0, TokensOf(0, 41, 1)}, {1, TokensOf(1, 0, 23)}},
          {{2, TokensOf(2, 0, 3)}, {0, TokensOf(0, 42, 1)}, {1, TokensOf(1, 23, 1)}},
          {{0, TokensOf(0, 43, 1)}}};
}

void ExpectSame(const RankResult& a, const RankResult& b) {
  for (const RankResult* result : {&a, &b}) {
    for (const absl::Status& status : result->statuses) ASSERT_TRUE(status.ok()) << status;
  }
  ASSERT_EQ(a.samples.size(), b.samples.size());
  for (size_t row = 0; row < a.samples.size(); ++row) {
    const SampleRow& one = a.samples[row];
    const SampleRow& two = b.samples[row];
    ASSERT_GE(one.token, 0) << row;
    ASSERT_EQ(one.token, two.token) << row;
    ASSERT_FALSE(one.numeric_fault || two.numeric_fault);
    ASSERT_EQ(one.logprob, two.logprob) << row;
    ASSERT_EQ(one.top_count, two.top_count);
    for (int32_t i = 0; i < one.top_count; ++i) {
      ASSERT_EQ(one.top_tokens[i], two.top_tokens[i]);
      ASSERT_EQ(one.top_logprobs[i], two.top_logprobs[i]);
    }
    ASSERT_EQ(a.logits[row].size(), b.logits[row].size());
    for (size_t i = 0; i < a.logits[row].size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(a.logits[row][i]), std::bit_cast<uint32_t>(b.logits[row][i])) << row;
    }
  }
}

std::unique_ptr<Backend> CpuOf(cpu::ActivationMode mode) {
  CpuBackendOptions options;
  options.activations = mode;
  return MakeCpuBackend(options);
}

class Ranks : public testing::TestWithParam<size_t> {
 protected:
  const std::vector<uint8_t> file_ = MakeTinyModel(Models()[GetParam()].options);

  void ExpectTheSameBits(const Backend& backend, const RankOptions& options, bool slices = false) {
    RankOptions alone;
    alone.cache_type = options.cache_type;
    RankRunner whole(file_, backend, alone);
    RankRunner ranks(file_, backend, options);
    ranks.Slice(slices);
    for (const std::vector<RankChunk>& chunks : Steps()) {
      ASSERT_NO_FATAL_FAILURE(ExpectSame(whole.Step(chunks), ranks.Step(chunks)));
    }
  }
};

TEST_P(Ranks, OfEveryDegreeGiveTheSameBits) {
  const std::unique_ptr<Backend> backend = CpuOf(cpu::ActivationMode::kInt8);
  for (const int32_t degree : {2, 3, 4, 5, 8}) {
    SCOPED_TRACE(degree);
    RankOptions options;
    options.ranks = degree;
    ExpectTheSameBits(*backend, options);
  }
}

TEST_P(Ranks, WithExactActivationsUnlikeSharesThreadsAndSlicesGiveTheSameBits) {
  const std::unique_ptr<Backend> backend = CpuOf(cpu::ActivationMode::kF32);
  RankOptions options;
  options.ranks = 3;
  options.shares = {5, 1, 2};
  options.threads = 2;
  options.cache_type = CacheType::kF16;
  ExpectTheSameBits(*backend, options);
  ExpectTheSameBits(*backend, options, true);
}

TEST_P(Ranks, InStagesGiveTheSameBits) {
  const std::unique_ptr<Backend> backend = CpuOf(cpu::ActivationMode::kInt8);
  for (const int32_t degree : {1, 2}) {
    RankOptions options;
    options.ranks = degree;
    options.stages = 2;
    ExpectTheSameBits(*backend, options);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Ranks, testing::Range(size_t{0}, size_t{6}),
                         [](const auto& info) { return std::string(Models()[info.param].name); });

TEST(RankFailure, InAnyRegionEndsTheStepForAllAtOneOperationAndTheNextStepIsWell) {
  const std::vector<uint8_t> file = MakeTinyModel(ThreeGroups());
  const std::unique_ptr<Backend> backend = CpuOf(cpu::ActivationMode::kInt8);
  RankOptions options;
  RankRunner whole(file, *backend, options);
  options.ranks = 3;
  RankRunner ranks(file, *backend, options);
  const std::vector<RankChunk> chunks = {{0, TokensOf(0, 0, 9)}, {1, TokensOf(1, 0, 2)}};
  const RankResult expected = whole.Step(chunks);
  for (int32_t region = 0; region < ranks.regions(); ++region) {
    for (const bool after : {false, true}) {
      for (int32_t rank = 0; rank < 3; ++rank) {
        SCOPED_TRACE("rank " + std::to_string(rank) + ", region " + std::to_string(region) +
                     (after ? ", after its exchange" : ""));
        ranks.FailAt(rank, region, after);
        const RankResult result = ranks.Step(chunks);
        ranks.Forget(chunks);
        ranks.FailNever();
        const bool failed = !result.statuses[static_cast<size_t>(rank)].ok();
        const bool last = region + 1 == ranks.regions();
        for (int32_t r = 0; r < 3; ++r) {
          const absl::Status& status = result.statuses[static_cast<size_t>(r)];
          // After the step's last exchange there is none to tell the others by.
          const ErrorCode code = !failed         ? ErrorCode::kOk
                                 : r == rank     ? ErrorCode::kNumericFault
                                 : last && after ? ErrorCode::kOk
                                                 : ErrorCode::kLost;
          ASSERT_EQ(CodeOf(status), code) << r << ": " << status;
          ASSERT_EQ(ranks.group(0).last_operation(r), ranks.group(0).last_operation(0));
        }
        ASSERT_NO_FATAL_FAILURE(ExpectSame(expected, ranks.Step(chunks)));
        ranks.Forget(chunks);
      }
    }
  }
}

TEST(RankFailure, ANumericFaultIsTheRowsOwnOnAnyRank) {
  TinyModelOptions options = ThreeGroups();
  options.head_type = TensorType::kF32;
  TinyModel model = BuildTinyModel(options);
  const auto parsed = GgufFile::Read(FileOf(model.bytes));
  ASSERT_TRUE(parsed.ok());
  const GgufTensor* head = (*parsed)->FindTensor("output.weight");
  ASSERT_NE(head, nullptr);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int32_t token : {0, 150, kTinyVocabulary - 1}) {  // on the first, some middle and the last rank
    std::vector<uint8_t> file = model.bytes;
    std::memcpy(file.data() + head->file_offset + static_cast<size_t>(token) * 96 * sizeof(float), &infinity,
                sizeof(infinity));
    RankOptions ranks;
    ranks.ranks = 4;
    RankRunner runner(file, *CpuOf(cpu::ActivationMode::kInt8), ranks);
    const RankResult result = runner.Step({{0, TokensOf(0, 0, 4)}});
    for (const SampleRow& sample : result.samples) {
      EXPECT_TRUE(sample.numeric_fault) << token;
      EXPECT_EQ(sample.token, -1);
    }
  }
}

TEST(RankMemory, IsAboutOneShareOfTheWeights) {
  const std::vector<uint8_t> file = MakeTinyModel(EightGroups());
  const std::unique_ptr<Backend> backend = CpuOf(cpu::ActivationMode::kInt8);
  RankOptions options;
  const size_t whole = RankRunner(file, *backend, options).weight_bytes(0);
  options.ranks = 2;
  const RankRunner ranks(file, *backend, options);
  for (int32_t rank = 0; rank < 2; ++rank) {
    EXPECT_LT(ranks.weight_bytes(rank), whole * 52 / 100);
    EXPECT_EQ(ranks.spec(rank).cache_groups[0].kv_heads, 4);
  }
}

TEST(RankReference, RunsStagesAndRefusesToShareLayers) {
  const std::vector<uint8_t> file = MakeTinyModel(EightGroups());
  const auto reference = MakeReferenceBackend();
  RankRunner whole(file, *reference, {});
  RankOptions stages;
  stages.stages = 2;
  RankRunner two(file, *reference, stages);
  for (const std::vector<RankChunk>& chunks : Steps()) {
    ASSERT_NO_FATAL_FAILURE(ExpectSame(whole.Step(chunks), two.Step(chunks)));
  }
  ShardRequest request;
  request.ranks = 2;
  const auto model = LoadModel(FileOf(file), *reference, SystemMemory(), nullptr, &request);
  ASSERT_TRUE(model.ok());
  const BackendLimits limits{1, 1, 1, 16, 16, CacheType::kF32, 1};
  EXPECT_EQ(CodeOf(reference->CreateContext((*model)->spec, limits, nullptr, SystemMemory()).status()),
            ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tessera
