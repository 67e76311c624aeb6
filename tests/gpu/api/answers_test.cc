// What a GPU answers through the public API, held against the CPU's answers to the same prompts: tokens up to
// near ties, logits, draws.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/gpu/api/gpu_host.h"

namespace tessera::host {
namespace {

// A logit's error over the root mean square of its row's.
constexpr double kOutlier = 6;

struct Case {
  const char* name;
  TinyModelOptions model;
  const char* cache_type;  // "": the weights'
  // On the relative error of a row of logits. Random weights of spread 1 multiply a rounding (2^-9 of a BF16,
  // 2^-12 of an F16 in the mean) in each layer; 2 layers make about twenty of it.
  double bound;
};

TinyModelOptions WithWindow(TinyModelOptions options) {
  options.window_tokens = 40;
  return options;
}

TinyModelOptions Qwen2(TensorType type) {
  TinyModelOptions options = TinyQwen2Options();
  options.hidden = options.feed_forward = 256;
  options.heads = 4;
  options.kv_heads = 2;
  options.head_size = 80;
  options.context_tokens = 1024;
  options.embedding_type = options.head_type = options.attention_type = options.feed_forward_type = type;
  return options;
}

std::vector<Case> Cases() {
  return {{"bf16", SmallModel(), "", 0.08},
          {"f16", SmallModel(TensorType::kF16), "", 0.01},
          {"window", WithWindow(SmallModel(TensorType::kF16)), "", 0.01},
          {"qwen2", Qwen2(TensorType::kF16), "", 0.01},
          {"int8", SmallModel(TensorType::kF16), "int8", 0.06}};
}

const std::vector<std::vector<int32_t>>& Prompts() {
  static const std::vector<std::vector<int32_t>> prompts = [] {
    std::vector<std::vector<int32_t>> made;
    for (const size_t size : {1u, 2u, 16u, 31u, 64u, 65u, 200u, 500u})
      made.push_back(RandomTokens(size, size));
    return made;
  }();
  return prompts;
}

class Answers : public GpuApi, public testing::WithParamInterface<Case> {};

// Both devices are led along the GPU's own tokens, so that a near tie at one of them hides nothing behind it.
TEST_P(Answers, AreTheCpusUpToNearTies) {
  const Case& given = GetParam();
  const std::vector<uint8_t> file = MakeTinyModel(given.model);
  const Host gpu(file, OnGpu());
  const Host cpu(file);
  ASSERT_NE(gpu.model(), nullptr);
  Options settings = Stepped();
  if (*given.cache_type != 0) settings.String("engine.cache_type", given.cache_type);
  const Handle<tsr_engine> engine = gpu.Engine(settings);
  const Handle<tsr_engine> exact_engine = cpu.Engine(ExactCpu());

  const std::vector<Answer> answers = AnswerAll(gpu, engine.get(), Prompts(), Greedy(24));

  double worst = 0;
  int near_ties = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "prompt of " << Prompts()[i].size());
    ASSERT_EQ(answers[i].tokens.size(), 24u);
    const auto ours = ForcedLogits(gpu, engine.get(), Prompts()[i], answers[i].tokens);
    const auto exact = ForcedLogits(cpu, exact_engine.get(), Prompts()[i], answers[i].tokens);
    for (size_t step = 0; step < exact.size(); ++step) {
      const std::vector<float>& row = exact[step];
      const double error = RelativeError(ours[step], row);
      EXPECT_LE(error, given.bound) << "step " << step;
      worst = std::max(worst, error);
      const double square = std::inner_product(row.begin(), row.end(), row.begin(), 0.0);
      const double tolerance = 2 * kOutlier * error * std::sqrt(square / static_cast<double>(row.size()));
      const float largest = *std::max_element(row.begin(), row.end());
      const auto token = static_cast<size_t>(answers[i].tokens[step]);
      EXPECT_LE(largest - row[token], tolerance) << "step " << step << ", token " << token;
      near_ties += largest == row[token] ? 0 : 1;
      double sum = 0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit) - largest);
      const double log_probability = row[token] - largest - std::log(sum);
      EXPECT_NEAR(answers[i].logprobs[step], log_probability, tolerance) << "step " << step;
    }
  }
  EXPECT_LT(near_ties, 8 * 24 / 4) << "so many are no near ties";
  RecordProperty("worst_error", std::to_string(worst));
  std::printf("%s: worst relative error %.2e of %.0e, %d near ties of %d\n", given.name, worst, given.bound,
              near_ties, 8 * 24);
}

INSTANTIATE_TEST_SUITE_P(Gpu, Answers, testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

Options Drawing(int kind, int64_t seed) {
  Options options = Greedy(1).Int("sampling.seed", seed).Float("sampling.temperature", 0.9);
  if (kind == 0) options.Float("sampling.top_p", 0.9);
  if (kind == 1) options.Int("sampling.top_k", 20).Float("sampling.min_p", 0.02);
  if (kind == 2) {
    options.Float("sampling.repetition_penalty", 1.2).Float("sampling.presence_penalty", 0.3);
    options.Float("sampling.frequency_penalty", 0.2);
  }
  if (kind == 3)
    options.Ints("sampling.logit_bias_tokens", {5, 17}).Floats("sampling.logit_bias_values", {4, -90});
  return options;
}

constexpr int kDraws = 480;

// One token each, from prompts that are the same on both.
std::vector<int32_t> Draws(const Host& host, tsr_engine* engine, int64_t first_seed) {
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  std::vector<int32_t> tokens;
  for (int i = 0; i < kDraws; ++i) {
    sessions.push_back(NewSession(engine));
    Append(sessions.back().get(), RandomTokens(static_cast<uint64_t>(i), 3 + static_cast<size_t>(i % 30)));
    const Options request = Drawing(i % 5, first_seed + i);
    EXPECT_EQ(tsr_session_generate(sessions.back().get(), request.get(), queue.get(),
                                   static_cast<uint64_t>(i), nullptr, nullptr),
              TSR_STATUS_OK);
    if (sessions.size() < 60) continue;
    const size_t count = sessions.size();
    for (const auto& [tag, answer] : Finish(queue.get(), engine, count))
      tokens.push_back(answer.tokens.at(0));
    sessions.clear();
  }
  return tokens;
}

TEST_F(GpuApi, DrawsWithASeedAreTheCpusWhereLogitsAgree) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel(TensorType::kF16));
  const Host gpu(file, OnGpu());
  const Host cpu(file);
  const Handle<tsr_engine> engine = gpu.Engine(Stepped());
  const Handle<tsr_engine> exact_engine = cpu.Engine(ExactCpu());

  const std::vector<int32_t> drawn = Draws(gpu, engine.get(), 1);
  const std::vector<int32_t> exact = Draws(cpu, exact_engine.get(), 1);
  const std::vector<int32_t> again = Draws(gpu, engine.get(), 1);
  const std::vector<int32_t> others = Draws(gpu, engine.get(), 1'000'000);

  ASSERT_EQ(drawn.size(), static_cast<size_t>(kDraws));
  int same = 0;
  int same_as_others = 0;
  for (size_t i = 0; i < drawn.size(); ++i) {
    same += drawn[i] == exact[i] ? 1 : 0;
    same_as_others += drawn[i] == others[i] ? 1 : 0;
  }
  // Two distributions whose logits are half a hundredth of 3 apart differ in about a hundredth of their mass,
  // and a draw with the same random number falls there as often.
  EXPECT_GE(same, kDraws * 95 / 100);
  EXPECT_LE(same_as_others, kDraws / 2) << "the seed does nothing";
  EXPECT_EQ(drawn, again);
  std::printf("%d of %d draws are the CPU's\n", same, kDraws);
}

TEST_F(GpuApi, StopsPenaltiesAndTopTokensComeAsFromTheCpu) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel(TensorType::kF16));
  const Host gpu(file, OnGpu());
  const Handle<tsr_engine> engine = gpu.Engine(Invariant());
  const std::vector<int32_t> prompt = RandomTokens(5, 20);
  const Answer whole = AnswerAll(gpu, engine.get(), {prompt}, Greedy(20)).front();
  ASSERT_EQ(whole.tokens.size(), 20u);

  // A stop token ends the text where it comes first; the next step had begun by then.
  const Options stop = Greedy(20).Ints("request.stop_tokens", {whole.tokens[9]});
  const Answer stopped = AnswerAll(gpu, engine.get(), {prompt}, stop).front();
  const auto first = std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[9]);
  EXPECT_EQ(stopped.end.reason, TSR_FINISH_STOP);
  EXPECT_EQ(stopped.end.last_token, whole.tokens[9]);
  EXPECT_EQ(stopped.end.generated_tokens, static_cast<uint32_t>(first - whole.tokens.begin()) + 1);

  // The most probable of the alternatives is the greedy token, with its own log-probability.
  const Answer top =
      AnswerAll(gpu, engine.get(), {prompt}, Greedy(20).Int("request.top_logprobs", 20)).front();
  EXPECT_EQ(top.tokens, whole.tokens);
  ASSERT_EQ(top.top.size(), 20u);
  for (size_t i = 0; i < top.top.size(); ++i) {
    ASSERT_EQ(top.top[i].size(), 20u);
    EXPECT_EQ(top.top[i][0].token, top.tokens[i]);
    EXPECT_EQ(top.top[i][0].logprob, top.logprobs[i]);
    EXPECT_EQ(top.logprobs[i], whole.logprobs[i]);
    for (size_t j = 1; j < 20; ++j) EXPECT_LE(top.top[i][j].logprob, top.top[i][j - 1].logprob);
  }

  // A token that is forbidden never comes.
  const Options forbidden = Greedy(20)
                                .Ints("sampling.logit_bias_tokens", {whole.tokens[0]})
                                .Floats("sampling.logit_bias_values", {-INFINITY});
  const Answer other = AnswerAll(gpu, engine.get(), {prompt}, forbidden).front();
  EXPECT_EQ(std::count(other.tokens.begin(), other.tokens.end(), whole.tokens[0]), 0);
}

}  // namespace
}  // namespace tessera::host
