// Whatever the cache does to save work (shared prefixes, forks, rewinds, preemption), the bits are those of a
// session that computed everything by itself.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

struct Case {
  TensorType type;
  const char* activations;
  const char* cache_type;
  int32_t window_tokens;
};

std::vector<uint8_t> Model(const Case& c) {
  TinyModelOptions options = TinyOptionsOfType(c.type);
  options.window_tokens = c.window_tokens;
  return MakeTinyModel(options);
}

constexpr char kPrompt[] =
    "The quick brown fox jumps over the lazy dog, again and again, until the night comes.";

struct Result {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
  bool operator==(const Result& other) const { return tokens == other.tokens && logits == other.logits; }
};

class SharingTest : public ::testing::TestWithParam<Case> {
 protected:
  SharingTest() : host_(Model(GetParam())), queue_(host_.Queue()) {}

  Handle<tsr_engine> Engine(Options options = {}) {
    return host_.Engine(options.Bool("engine.stepped", true)
                            .Int("engine.threads", 2)
                            .String("engine.cache_type", GetParam().cache_type)
                            .String("engine.activations", GetParam().activations));
  }
  static Options Asked(int64_t count) {
    return Options().Int("request.max_tokens", count).Bool("request.ignore_end", true);
  }
  Result Ask(tsr_engine* engine, tsr_session* session, const std::string& text, int64_t count) {
    Append(session, text);
    Result outcome;
    outcome.tokens = Generate(session, engine, queue_.get(), Asked(count)).tokens;
    outcome.logits = Logits(session);
    return outcome;
  }
  // A session of its own in an engine that shares nothing, given all tokens at once.
  Result Alone(const std::vector<int32_t>& tokens, int64_t count) {
    const Handle<tsr_engine> engine = Engine(Options().Bool("engine.share_prefixes", false));
    const Handle<tsr_session> session = NewSession(engine.get(), true);
    Append(session.get(), tokens);
    Result outcome;
    outcome.tokens = Generate(session.get(), engine.get(), queue_.get(), Asked(count)).tokens;
    outcome.logits = Logits(session.get());
    return outcome;
  }
  static Handle<tsr_session> Fork(tsr_session* session) {
    const Options options = Options().Bool("session.logits", true);
    tsr_session* fork = nullptr;
    EXPECT_EQ(tsr_session_fork(session, options.get(), &fork, nullptr), TSR_STATUS_OK);
    return Handle<tsr_session>(fork);
  }
  static std::vector<int32_t> TokensOf(tsr_session* session) {
    size_t count = 0;
    EXPECT_EQ(tsr_session_token_count(session, &count, nullptr), TSR_STATUS_OK);
    std::vector<int32_t> tokens(count);
    EXPECT_EQ(tsr_session_get_tokens(session, 0, tokens.data(), count, &count, nullptr), TSR_STATUS_OK);
    return tokens;
  }
  static tsr_engine_metrics MetricsOf(tsr_engine* engine) {
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof(metrics);
    EXPECT_EQ(tsr_engine_get_metrics(engine, &metrics, nullptr), TSR_STATUS_OK);
    return metrics;
  }

  Host host_;
  Handle<tsr_queue> queue_;
};

TEST_P(SharingTest, ASharedPrefixGivesTheBitsOfOneComputedAlone) {
  const Handle<tsr_engine> engine = Engine();
  const Handle<tsr_session> first = NewSession(engine.get(), true), second = NewSession(engine.get(), true);
  Ask(engine.get(), first.get(), kPrompt, 3);
  EXPECT_EQ(MetricsOf(engine.get()).shared_tokens, 0u);
  const Result shared = Ask(engine.get(), second.get(), std::string(kPrompt) + " And then?", 8);
  EXPECT_GE(MetricsOf(engine.get()).shared_tokens, 16u);
  EXPECT_EQ(shared, Alone(host_.Tokenize(std::string(kPrompt) + " And then?"), 8));
}

TEST_P(SharingTest, AForkGoesOnWithTheBitsOfAReplayAndLeavesItsSourceAlone) {
  const Handle<tsr_engine> engine = Engine();
  const Handle<tsr_session> source = NewSession(engine.get(), true);
  Ask(engine.get(), source.get(), kPrompt, 7);
  const Handle<tsr_session> fork = Fork(source.get());
  const std::vector<int32_t> base = TokensOf(source.get());
  EXPECT_EQ(TokensOf(fork.get()), base);

  const auto with = [&](const std::string& text) {
    std::vector<int32_t> tokens = base;
    for (const int32_t token : host_.Tokenize(text)) tokens.push_back(token);
    return tokens;
  };
  const Result forked = Ask(engine.get(), fork.get(), " one way", 6);
  const Result original = Ask(engine.get(), source.get(), " the other", 6);
  EXPECT_EQ(forked, Alone(with(" one way"), 6));
  EXPECT_EQ(original, Alone(with(" the other"), 6));
  EXPECT_GT(MetricsOf(engine.get()).copied_blocks, 0u) << "the last block was not full";
}

TEST_P(SharingTest, AForkWhileARequestRunsSeesTheLastBatch) {
  const Handle<tsr_engine> engine = Engine();
  const Handle<tsr_session> source = NewSession(engine.get(), true);
  Append(source.get(), kPrompt);
  const Options options = Asked(9);
  ASSERT_EQ(tsr_session_generate(source.get(), options.get(), queue_.get(), 1, nullptr, nullptr),
            TSR_STATUS_OK);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(tsr_engine_step(engine.get(), -1, nullptr, nullptr), TSR_STATUS_OK);
  ASSERT_EQ(tsr_engine_step(engine.get(), 0, nullptr, nullptr), TSR_STATUS_OK);  // into the next one
  const Handle<tsr_session> fork = Fork(source.get());
  const std::vector<int32_t> seen = TokensOf(fork.get());
  EXPECT_EQ(seen.size(), host_.Tokenize(kPrompt).size() + 4);
  Result forked;
  Append(fork.get(), std::vector<int32_t>{5});
  ASSERT_EQ(tsr_session_generate(fork.get(), options.get(), queue_.get(), 2, nullptr, nullptr),
            TSR_STATUS_OK);
  std::map<uint64_t, Answer> answers = Finish(queue_.get(), engine.get(), 2);
  forked.tokens = answers[2].tokens;
  forked.logits = Logits(fork.get());
  std::vector<int32_t> replay = seen;
  replay.push_back(5);
  EXPECT_EQ(forked, Alone(replay, 9));
  EXPECT_EQ(answers[1].tokens, Alone(host_.Tokenize(kPrompt), 9).tokens);
}

TEST_P(SharingTest, ARewoundSessionGoesOnAsIfItHadEndedThere) {
  const Handle<tsr_engine> engine = Engine();
  const Handle<tsr_session> session = NewSession(engine.get(), true);
  Ask(engine.get(), session.get(), kPrompt, 20);
  const std::vector<int32_t> all = TokensOf(session.get());
  for (const size_t keep : {all.size() - 1, all.size() - 9, size_t{32}, size_t{5}}) {
    ASSERT_EQ(tsr_session_rewind(session.get(), keep, nullptr), TSR_STATUS_OK);
    EXPECT_EQ(TokensOf(session.get()),
              std::vector<int32_t>(all.begin(), all.begin() + static_cast<long>(keep)));
    const Handle<tsr_session> branch = Fork(session.get());
    std::vector<int32_t> tokens = TokensOf(branch.get());
    for (const int32_t token : host_.Tokenize("!")) tokens.push_back(token);
    EXPECT_EQ(Ask(engine.get(), branch.get(), "!", 5), Alone(tokens, 5)) << keep;
  }
  const Outcome outcome = Try([&](tsr_error** e) { return tsr_session_rewind(session.get(), 6, e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.place, "token_count");
}

TEST_P(SharingTest, PreemptedRequestsGiveTheBitsOfUndisturbedOnes) {
  const Handle<tsr_engine> engine =
      Engine(Options().Int("engine.cache_tokens", 240).Int("engine.batch_tokens", 32));
  std::vector<Handle<tsr_session>> sessions;
  const Options options = Asked(60);
  for (uint64_t i = 0; i < 6; ++i) {
    sessions.push_back(NewSession(engine.get(), true));
    Append(sessions.back().get(), "Number " + std::to_string(i) + " " + kPrompt);
    ASSERT_EQ(tsr_session_generate(sessions.back().get(), options.get(), queue_.get(), i, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  std::map<uint64_t, Answer> answers = Finish(queue_.get(), engine.get(), 6);
  EXPECT_GT(MetricsOf(engine.get()).preemptions, 0u);
  for (uint64_t i = 0; i < 6; ++i) {
    Result outcome;
    outcome.tokens = answers[i].tokens;
    outcome.logits = Logits(sessions[i].get());
    EXPECT_EQ(outcome, Alone(host_.Tokenize("Number " + std::to_string(i) + " " + kPrompt), 60)) << i;
  }
  sessions.clear();
  EXPECT_EQ(tsr_engine_step(engine.get(), -1, nullptr, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(MetricsOf(engine.get()).blocks_free, MetricsOf(engine.get()).blocks_total);
}

INSTANTIATE_TEST_SUITE_P(
    Models, SharingTest,
    ::testing::Values(Case{TensorType::kF32, "f32", "f32", 0}, Case{TensorType::kQ4_1, "int8", "f16", 0},
                      Case{TensorType::kQ4_K, "int8", "bf16", 0}, Case{TensorType::kQ8_0, "int8", "f16", 40},
                      Case{TensorType::kQ4_0, "int8", "int8", 0}, Case{TensorType::kF16, "f32", "int8", 40}));

}  // namespace
}  // namespace tessera::host
