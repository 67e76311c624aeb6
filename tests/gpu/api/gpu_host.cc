#include "tests/gpu/api/gpu_host.h"

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstring>

namespace tessera::host {

void GpuApi::SetUp() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "there is no GPU here";
}

size_t FreeDeviceBytes() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  return free_bytes;
}

Options OnGpu() { return Options().String("model.device", "cuda"); }

TinyModelOptions SmallModel(TensorType type) {
  TinyModelOptions options = TinyOptionsOfType(type);
  options.context_tokens = 1024;
  return options;
}

Options Stepped() {
  return Options()
      .Bool("engine.stepped", true)
      .Int("engine.cache_tokens", 32768)
      .Bool("engine.share_prefixes", false);
}

Options Invariant() { return Stepped().Bool("engine.batch_invariant", true); }

Options ExactCpu() {
  return Stepped().String("engine.activations", "f32").String("engine.cache_type", "f32");
}

Options Greedy(int64_t tokens) {
  return Options()
      .Int("request.max_tokens", tokens)
      .Bool("request.ignore_end", true)
      .Int("request.top_logprobs", 0);
}

std::vector<int32_t> RandomTokens(uint64_t seed, size_t count) {
  std::vector<int32_t> tokens(count);
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (int32_t& token : tokens) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    token = static_cast<int32_t>((state >> 33) % kTinyVocabulary);
  }
  return tokens;
}

tsr_engine_metrics Metrics(tsr_engine* engine) {
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  EXPECT_EQ(tsr_engine_get_metrics(engine, &metrics, nullptr), TSR_STATUS_OK);
  return metrics;
}

std::vector<Answer> AnswerAll(const Host& host, tsr_engine* engine,
                              const std::vector<std::vector<int32_t>>& prompts, const Options& request) {
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  for (size_t i = 0; i < prompts.size(); ++i) {
    sessions.push_back(NewSession(engine));
    Append(sessions.back().get(), prompts[i]);
    EXPECT_EQ(tsr_session_generate(sessions.back().get(), request.get(), queue.get(), i, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  std::map<uint64_t, Answer> ended = Finish(queue.get(), engine, prompts.size());
  std::vector<Answer> answers;
  for (size_t i = 0; i < prompts.size(); ++i) {
    answers.push_back(ended[i]);
    EXPECT_EQ(answers.back().end.status, TSR_STATUS_OK) << answers.back().message;
  }
  return answers;
}

std::vector<Answer> AnswerEach(const Host& host, tsr_engine* engine,
                               const std::vector<std::vector<int32_t>>& prompts, const Options& request) {
  std::vector<Answer> answers;
  for (const std::vector<int32_t>& prompt : prompts) {
    answers.push_back(AnswerAll(host, engine, {prompt}, request).front());
  }
  return answers;
}

void ExpectSameAnswers(const std::vector<Answer>& a, const std::vector<Answer>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].tokens, b[i].tokens) << what << ", answer " << i;
    ASSERT_EQ(a[i].logprobs.size(), b[i].logprobs.size()) << what << ", answer " << i;
    EXPECT_EQ(std::memcmp(a[i].logprobs.data(), b[i].logprobs.data(), a[i].logprobs.size() * sizeof(float)),
              0)
        << what << ", answer " << i;
  }
}

std::vector<std::vector<float>> ForcedLogits(const Host& host, tsr_engine* engine,
                                             const std::vector<int32_t>& prompt,
                                             const std::vector<int32_t>& tokens) {
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> session = NewSession(engine, /*logits=*/true);
  Append(session.get(), prompt);
  std::vector<std::vector<float>> rows;
  for (const int32_t token : tokens) {
    Generate(session.get(), engine, queue.get(), Options().Int("request.max_tokens", 0));
    rows.push_back(Logits(session.get()));
    Append(session.get(), std::vector<int32_t>{token});
  }
  return rows;
}

double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double distance = 0;
  double length = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(actual[i]) - expected[i];
    distance += difference * difference;
    length += static_cast<double>(expected[i]) * expected[i];
  }
  return std::sqrt(distance / length);
}

}  // namespace tessera::host
