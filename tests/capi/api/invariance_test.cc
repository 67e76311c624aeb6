// A sequence's logits do not depend on its neighbours, on how its prompt was cut, or on the number of
// threads.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

constexpr int kSessions = 16;
constexpr int kSteps = 8;

struct Trace {
  std::vector<int32_t> tokens;
  std::vector<std::vector<float>> logits;  // [step][vocabulary]
};

// Every session generates kSteps tokens, one request a token, so that its logits can be read each time.
std::vector<Trace> Run(const Host& host, const std::vector<std::string>& prompts,
                       const Options& engine_options) {
  const Handle<tsr_engine> engine = host.Engine(engine_options);
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  for (const std::string& prompt : prompts) {
    sessions.push_back(NewSession(engine.get(), /*logits=*/true));
    Append(sessions.back().get(), prompt);
  }
  std::vector<Trace> traces(prompts.size());
  const Options one = Options().Int("request.max_tokens", 1).Bool("request.ignore_end", true);
  for (int step = 0; step < kSteps; ++step) {
    for (size_t i = 0; i < sessions.size(); ++i) {
      EXPECT_EQ(tsr_session_generate(sessions[i].get(), one.get(), queue.get(), i, nullptr, nullptr),
                TSR_STATUS_OK);
    }
    std::map<uint64_t, Answer> answers = Finish(queue.get(), engine.get(), sessions.size());
    for (size_t i = 0; i < sessions.size(); ++i) {
      traces[i].tokens.push_back(answers[i].end.last_token);
      traces[i].logits.push_back(Logits(sessions[i].get()));
    }
  }
  return traces;
}

void ExpectSameBits(const Trace& a, const Trace& b, const std::string& what) {
  EXPECT_EQ(a.tokens, b.tokens) << what;
  ASSERT_EQ(a.logits.size(), b.logits.size());
  for (size_t step = 0; step < a.logits.size(); ++step) {
    ASSERT_EQ(a.logits[step].size(), b.logits[step].size());
    EXPECT_EQ(
        std::memcmp(a.logits[step].data(), b.logits[step].data(), a.logits[step].size() * sizeof(float)), 0)
        << what << ", step " << step;
  }
}

std::vector<std::string> Prompts(size_t longest) {
  std::vector<std::string> prompts;
  const std::string text =
      "The sea was calm when the boat left, and nobody on the pier thought of the storm that would come at "
      "night. "
      "In the village the bells rang twice; children ran home, doors were shut, lamps were lit in every "
      "window.";
  for (int i = 0; i < kSessions; ++i) {
    const size_t first = static_cast<size_t>(i) * 5;
    prompts.push_back(text.substr(first, 1 + (static_cast<size_t>(i) * 37) % longest));
  }
  return prompts;
}

// All together with two threads, against each alone with one; then chunked finely with three.
void CheckInvariance(const Host& host, size_t longest, const std::string& activations,
                     const std::string& cache_type = "f16") {
  const std::vector<std::string> prompts = Prompts(longest);
  const auto options = [&](int threads, int rows) {
    return Options()
        .Bool("engine.stepped", true)
        .String("engine.activations", activations)
        .String("engine.cache_type", cache_type)
        .Int("engine.threads", threads)
        .Int("engine.batch_tokens", rows)
        .Int("engine.cache_tokens", 8192);
  };
  const std::vector<Trace> together = Run(host, prompts, options(2, 256));
  const std::vector<Trace> one_thread = Run(host, prompts, options(1, 256));
  const std::vector<Trace> chunked = Run(host, prompts, options(3, 7));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<Trace> alone = Run(host, {prompts[i]}, options(1, 256));
    const std::string name = "session " + std::to_string(i);
    ExpectSameBits(together[i], alone[0], name + " among 16 and alone");
    ExpectSameBits(together[i], one_thread[i], name + " with two threads and one");
    ExpectSameBits(together[i], chunked[i], name + " whole and in chunks of 7");
  }
}

TEST(Invariance, TinyModelsLogitsAreTheSameBitsInAnyCompany) {
  for (const TensorType type : {TensorType::kF32, TensorType::kBF16, TensorType::kQ8_0, TensorType::kQ4_1}) {
    TinyModelOptions model;
    model.attention_type = type;
    model.feed_forward_type = type;
    const Host host(MakeTinyModel(model));
    CheckInvariance(host, 90, "int8");
    CheckInvariance(host, 90, "f32");
  }
}

TEST(Invariance, TinyModelsLogitsAreTheSameBitsInAnyCompanyForEveryCacheType) {
  TinyModelOptions model;
  model.head_size = 48;  // an 8-bit row of one group and a half
  model.hidden = 96;
  const Host host(MakeTinyModel(model));
  for (const char* cache_type : {"f32", "bf16", "int8"}) CheckInvariance(host, 90, "f32", cache_type);
}

TEST(Invariance, RealModelsLogitsAreTheSameBitsInAnyCompany) {
  const char* path = std::getenv("TESSERA_MODEL_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 names no model file";
  CheckInvariance(*Host::FromFile(path), 200, "int8");
}

}  // namespace
}  // namespace tessera::host
