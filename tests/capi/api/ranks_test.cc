// A model divided over ranks, as threads of one process: the same bits as with one, whatever the division.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

struct Division {
  int tensor_parallel;
  int pipeline;
};
constexpr Division kDivisions[] = {{2, 1}, {3, 1}, {4, 1}, {8, 1}, {1, 2}, {1, 4}, {2, 2}, {3, 4}};

std::string NameOf(const Division& division) {
  return std::to_string(division.tensor_parallel) + " tensor ranks, " + std::to_string(division.pipeline) +
         " stages";
}

Options Ranks(const Division& division) {
  return Options()
      .Int("engine.tensor_parallel", division.tensor_parallel)
      .Int("engine.pipeline", division.pipeline)
      .Int("engine.batch_tokens", 24)
      .Int("engine.cache_tokens", 4096)
      .Int("engine.threads", 2);
}

struct Result {
  std::vector<std::vector<int32_t>> tokens;  // [session]
  std::vector<std::vector<float>> logprobs;
  std::vector<std::vector<float>> logits;
};

const std::vector<std::string>& Prompts() {
  static const auto* const prompts = new std::vector<std::string>{
      "a", "The bells rang twice.", "Nobody on the pier thought of the storm that would come at night.",
      "of lamps", "doors were shut and lamps were lit in every window of the long street by the sea"};
  return *prompts;
}

// How session i wants its tokens chosen: greedy, drawn, and drawn with everything that needs the whole
// vocabulary.
Options Asked(size_t session) {
  Options options = Options().Int("request.max_tokens", 9).Bool("request.ignore_end", true);
  if (session % 3 == 1) options.Float("sampling.temperature", 1).Int("sampling.seed", 7);
  if (session % 3 == 2) {
    options.Float("sampling.temperature", 0.8)
        .Float("sampling.top_p", 0.9)
        .Float("sampling.repetition_penalty", 1.2)
        .Ints("sampling.logit_bias_tokens", {100, 101})
        .Floats("sampling.logit_bias_values", {3, -2})
        .Int("request.top_logprobs", 3);
  }
  return options;
}

Result AskAll(const Host& host, const Options& engine_options) {
  const Handle<tsr_engine> engine = host.Engine(engine_options);
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  for (size_t i = 0; i < Prompts().size(); ++i) {
    sessions.push_back(NewSession(engine.get(), /*logits=*/i % 2 == 0));
    Append(sessions.back().get(), Prompts()[i]);
    EXPECT_EQ(tsr_session_generate(sessions[i].get(), Asked(i).get(), queue.get(), i, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  std::map<uint64_t, Answer> answers = Finish(queue.get(), engine.get(), sessions.size());
  Result result;
  for (size_t i = 0; i < sessions.size(); ++i) {
    EXPECT_EQ(answers[i].end.status, TSR_STATUS_OK) << answers[i].message;
    result.tokens.push_back(answers[i].tokens);
    result.logprobs.push_back(answers[i].logprobs);
    result.logits.push_back(i % 2 == 0 ? Logits(sessions[i].get()) : std::vector<float>());
  }
  return result;
}

void ExpectSameBits(const Result& one, const Result& other, const std::string& what) {
  EXPECT_EQ(one.tokens, other.tokens) << what;
  for (size_t i = 0; i < one.logits.size(); ++i) {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() &&
             (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
    };
    EXPECT_TRUE(same(one.logits[i], other.logits[i])) << what << ", logits of session " << i;
    EXPECT_TRUE(same(one.logprobs[i], other.logprobs[i])) << what << ", log-probabilities of session " << i;
  }
}

TinyModelOptions FourLayers(TensorType type) {
  TinyModelOptions options = TinyOptionsOfType(type);
  options.layers = 4;
  return options;
}

void ExpectAnyDivisionGivesTheBitsOfOneRank(const Host& host) {
  const Result alone = AskAll(host, Ranks({1, 1}));
  for (const Division& division : kDivisions)
    ExpectSameBits(alone, AskAll(host, Ranks(division)), NameOf(division));
}

TEST(Ranks, OfEveryWeightTypeGiveTheBitsOfOneRank) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ8_0,
                                TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K, TensorType::kQ6_K}) {
    SCOPED_TRACE(static_cast<int>(type));
    ExpectAnyDivisionGivesTheBitsOfOneRank(Host(MakeTinyModel(FourLayers(type))));
  }
}

TEST(Ranks, ShareBiasesAndAnUntiedHead) {
  TinyModelOptions options = TinyQwen2Options();
  options.layers = 4;
  options.output_bias = true;
  ExpectAnyDivisionGivesTheBitsOfOneRank(Host(MakeTinyModel(options)));
}

TEST(Ranks, ShareHeadsThatDoNotComeOutEven) {
  TinyModelOptions options;
  options.layers = 4;
  options.heads = 9;
  options.kv_heads = 3;
  options.head_size = 16;
  options.feed_forward = 352;  // no multiple of what a leaf would be
  ExpectAnyDivisionGivesTheBitsOfOneRank(Host(MakeTinyModel(options)));
}

TEST(Ranks, ShareHeadsWhoseBoundariesAreInsideQuantisationBlocks) {
  TinyModelOptions options = FourLayers(TensorType::kQ4_K);
  options.heads = options.kv_heads = 16;
  options.head_size = 80;  // 16 x 80 = 5 x 256
  ExpectAnyDivisionGivesTheBitsOfOneRank(Host(MakeTinyModel(options)));
}

TEST(Ranks, ShareSlidingWindows) {
  TinyModelOptions options = FourLayers(TensorType::kQ8_0);
  options.window_tokens = 20;
  ExpectAnyDivisionGivesTheBitsOfOneRank(Host(MakeTinyModel(options)));
}

TEST(Ranks, AStepMayStopAnywhereAndGoOn) {
  const Host host(MakeTinyModel(FourLayers(TensorType::kQ4_0)));
  const Result alone = AskAll(host, Ranks({1, 1}));
  for (const Division& division : kDivisions) {
    ExpectSameBits(alone, AskAll(host, Ranks(division).Bool("engine.stepped", true)),
                   NameOf(division) + ", stepped");
  }
}

TEST(Ranks, SessionsForkRewindAndShareTheirBeginnings) {
  const Host host(MakeTinyModel(FourLayers(TensorType::kQ8_0)));
  const auto run = [&](const Division& division) {
    const Handle<tsr_engine> engine = host.Engine(Ranks(division));
    const Handle<tsr_queue> queue = host.Queue();
    const Options asked = Asked(0);
    const Handle<tsr_session> session = NewSession(engine.get(), true);
    Append(session.get(), Prompts()[4]);
    Result result;
    result.tokens.push_back(Generate(session.get(), engine.get(), queue.get(), asked).tokens);
    tsr_session* made = nullptr;
    EXPECT_EQ(tsr_session_fork(session.get(), Options().Bool("session.logits", true).get(), &made, nullptr),
              TSR_STATUS_OK);
    const Handle<tsr_session> fork(made);
    EXPECT_EQ(tsr_session_rewind(session.get(), 37, nullptr), TSR_STATUS_OK);
    for (tsr_session* const one : {session.get(), fork.get()}) {
      Append(one, " and then");
      result.tokens.push_back(Generate(one, engine.get(), queue.get(), asked).tokens);
      result.logits.push_back(Logits(one));
    }
    result.logprobs.resize(result.logits.size());
    return result;
  };
  const Result alone = run({1, 1});
  for (const Division& division : kDivisions) ExpectSameBits(alone, run(division), NameOf(division));
}

TEST(Ranks, ACancelledRequestLeavesTheOthersTheirBits) {
  const Host host(MakeTinyModel(FourLayers(TensorType::kQ4_0)));
  const Result alone = AskAll(host, Ranks({1, 1}));
  for (const Division& division : kDivisions) {
    const Handle<tsr_engine> engine = host.Engine(Ranks(division));
    const Handle<tsr_queue> queue = host.Queue();
    for (int round = 0; round < 20; ++round) {
      const Handle<tsr_session> session = NewSession(engine.get());
      Append(session.get(), Prompts()[4]);
      ASSERT_EQ(tsr_session_generate(session.get(), Asked(0).get(), queue.get(), 1, nullptr, nullptr),
                TSR_STATUS_OK);
      EXPECT_EQ(tsr_session_cancel(session.get(), TSR_CANCEL_KEEP, nullptr), TSR_STATUS_OK);
      Finish(queue.get(), engine.get(), 1);
    }
    const Handle<tsr_session> session = NewSession(engine.get());
    Append(session.get(), Prompts()[0]);
    EXPECT_EQ(Generate(session.get(), engine.get(), queue.get(), Asked(0)).tokens, alone.tokens[0]);
  }
}

TEST(Ranks, AnEngineThatIsBusyCanBeClosed) {
  const Host host(MakeTinyModel(FourLayers(TensorType::kQ4_0)));
  for (const Division& division : kDivisions) {
    for (const bool stepped : {false, true}) {
      const Handle<tsr_engine> engine = host.Engine(Ranks(division).Bool("engine.stepped", stepped));
      const Handle<tsr_queue> queue = host.Queue();
      const Handle<tsr_session> session = NewSession(engine.get());
      Append(session.get(), Prompts()[4]);
      ASSERT_EQ(tsr_session_generate(session.get(), Asked(0).get(), queue.get(), 1, nullptr, nullptr),
                TSR_STATUS_OK);
      if (stepped) {
        ASSERT_EQ(tsr_engine_step(engine.get(), 0, nullptr, nullptr), TSR_STATUS_OK);
      }
      EXPECT_EQ(tsr_engine_close(engine.get(), nullptr), TSR_STATUS_OK);
      EXPECT_EQ(Finish(queue.get(), engine.get(), 1)[1].finished, 1);
    }
  }
}

TEST(Ranks, OfARealModelGiveTheBitsOfOneRank) {
  const char* path = std::getenv("TESSERA_MODEL_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 names no model file";
  ExpectAnyDivisionGivesTheBitsOfOneRank(*Host::FromFile(path));
}

TEST(RankSettings, ThatCannotBeMeantAreRefusedByName) {
  const Host host(MakeTinyModel());  // two layers
  const auto refused = [&](const Options& options) {
    return Try([&](tsr_error** error) {
      tsr_engine* engine = nullptr;
      const tsr_status status = tsr_engine_create(host.model(), options.get(), &engine, error);
      tsr_engine_release(engine);
      return status;
    });
  };
  EXPECT_EQ(refused(Options().Int("engine.pipeline", 3)).place, "setting 'engine.pipeline'");
  EXPECT_EQ(refused(Options().Int("engine.rank", 1)).place, "setting 'engine.rank'");
  EXPECT_EQ(refused(Options().Int("engine.tensor_parallel", 2).Int("engine.rank", 1)).place,
            "setting 'engine.rank'");
}

TEST(RankSettings, AnEngineWithSessionsDoesNotServe) {
  const Host host(MakeTinyModel());
  const Handle<tsr_engine> engine = host.Engine();
  EXPECT_EQ(tsr_engine_serve(engine.get(), nullptr), TSR_STATUS_WRONG_STATE);
}

TEST(RankSettings, TheReferenceBackendRunsWholeModelsOnly) {
  const Host host(MakeTinyModel(), Options().String("model.device", "reference"));
  tsr_engine* engine = nullptr;
  EXPECT_EQ(
      tsr_engine_create(host.model(), Options().Int("engine.tensor_parallel", 2).get(), &engine, nullptr),
      TSR_STATUS_UNSUPPORTED);
}

}  // namespace
}  // namespace tessera::host
