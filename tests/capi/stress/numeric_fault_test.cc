// A model that answers one token with NaN or infinity: the sequence that holds it ends with an error, its
// neighbours come out with the same bits, and the blocks that it filled with NaN poison nobody later.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

constexpr int32_t kBadToken = 3 + 'Z';
constexpr int kNeighbours = 4;

// Only the embedding of kBadToken is wrong; the head is another tensor.
std::vector<uint8_t> Model(float wrong, TensorType type) {
  TinyModelOptions options = TinyOptionsOfType(type);
  options.tied_head = false;
  options.embedding_type = TensorType::kF32;
  TinyModel model = BuildTinyModel(options);
  for (GgufWriter::TensorEntry& tensor : model.writer.tensors) {
    if (tensor.name != "token_embd.weight") continue;
    const size_t row_bytes = static_cast<size_t>(options.hidden) * sizeof(float);
    std::memcpy(tensor.bytes.data() + kBadToken * row_bytes + 5 * sizeof(float), &wrong, sizeof(wrong));
  }
  return model.writer.Build();
}

Options EngineOptions(bool stepped, const std::string& activations) {
  return Options()
      .Bool("engine.stepped", stepped)
      .Int("engine.threads", 2)
      .Int("engine.cache_tokens", 256)
      .String("engine.activations", activations);
}

// Nobody may generate the bad token by chance.
Options RequestOptions() {
  return Options()
      .Int("request.max_tokens", 16)
      .Bool("request.ignore_end", true)
      .Int("request.top_logprobs", 2)
      .Ints("sampling.logit_bias_tokens", {kBadToken})
      .Floats("sampling.logit_bias_values", {-std::numeric_limits<double>::infinity()});
}

std::map<uint64_t, Answer> RunSessions(tsr_engine* engine, tsr_queue* queue, bool with_fault) {
  std::vector<Handle<tsr_session>> sessions;
  for (int i = 0; i <= kNeighbours; ++i) {
    const bool bad = i == 2;
    if (bad && !with_fault) continue;
    sessions.push_back(NewSession(engine));
    Append(sessions.back().get(),
           bad ? "the bad Z of the world, and more of it" : "hello number " + std::to_string(i));
    EXPECT_EQ(tsr_session_generate(sessions.back().get(), RequestOptions().get(), queue,
                                   static_cast<uint64_t>(i), nullptr, nullptr),
              TSR_STATUS_OK);
  }
  return Finish(queue, engine, sessions.size());
}

void ExpectSameNeighbours(std::map<uint64_t, Answer> one, std::map<uint64_t, Answer> other) {
  for (uint64_t tag = 0; tag <= kNeighbours; ++tag) {
    if (tag == 2) continue;
    EXPECT_EQ(one[tag].end.reason, TSR_FINISH_LENGTH);
    EXPECT_EQ(one[tag].tokens.size(), 16u);
    EXPECT_EQ(one[tag].tokens, other[tag].tokens);
    EXPECT_EQ(one[tag].text, other[tag].text);
    EXPECT_EQ(one[tag].logprobs, other[tag].logprobs);
  }
}

struct Case {
  bool stepped;
  float wrong;
  TensorType type;
  const char* activations;
  const char* device;
};

class NumericFault : public testing::TestWithParam<Case> {};

TEST_P(NumericFault, EndsItsOwnRequestAndChangesNoBitOfItsNeighbours) {
  const Case& c = GetParam();
  const Host host(Model(c.wrong, c.type), Options().String("model.device", c.device));
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_engine> clean_engine = host.Engine(EngineOptions(c.stepped, c.activations));
  const std::map<uint64_t, Answer> clean = RunSessions(clean_engine.get(), queue.get(), /*with_fault=*/false);

  const Handle<tsr_engine> engine = host.Engine(EngineOptions(c.stepped, c.activations));
  for (int round = 0; round < 3; ++round) {  // later rounds take the blocks that earlier ones left
    std::map<uint64_t, Answer> faulty = RunSessions(engine.get(), queue.get(), /*with_fault=*/true);
    EXPECT_EQ(faulty[2].end.reason, TSR_FINISH_ERROR);
    EXPECT_EQ(faulty[2].end.status, TSR_STATUS_NUMERIC_FAULT);
    EXPECT_TRUE(faulty[2].tokens.empty());
    EXPECT_FALSE(faulty[2].message.empty());
    ExpectSameNeighbours(faulty, clean);
  }
  const std::map<uint64_t, Answer> afterwards = RunSessions(engine.get(), queue.get(), /*with_fault=*/false);
  ExpectSameNeighbours(afterwards, clean);

  if (c.stepped) {
    EXPECT_EQ(tsr_engine_step(engine.get(), -1, nullptr, nullptr), TSR_STATUS_OK);
  }
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  ASSERT_EQ(tsr_engine_get_metrics(engine.get(), &metrics, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
  EXPECT_EQ(metrics.batches_failed, 0u);
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
INSTANTIATE_TEST_SUITE_P(Models, NumericFault,
                         testing::Values(Case{true, kNan, TensorType::kF32, "int8", "cpu"},
                                         Case{false, kNan, TensorType::kF32, "int8", "cpu"},
                                         Case{true, kInfinity, TensorType::kF32, "int8", "cpu"},
                                         Case{true, kNan, TensorType::kQ8_0, "int8", "cpu"},
                                         Case{false, kInfinity, TensorType::kQ8_0, "int8", "cpu"},
                                         Case{true, kNan, TensorType::kQ4_K, "int8", "cpu"},
                                         Case{true, kNan, TensorType::kQ8_0, "f32", "cpu"},
                                         Case{true, -kInfinity, TensorType::kQ6_K, "f32", "cpu"},
                                         Case{true, kNan, TensorType::kF16, "int8", "cpu"},
                                         Case{true, kNan, TensorType::kF32, "int8", "reference"}));

}  // namespace
}  // namespace tessera::host
