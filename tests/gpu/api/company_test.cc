// Engines on a GPU in company: many sessions together, forks and shared beginnings, several engines on one
// GPU, one of the CPU beside. In batch-invariant mode none of that may change a bit.
#include <cstring>
#include <thread>

#include "tests/gpu/api/gpu_host.h"

namespace tessera::host {
namespace {

constexpr int kSessions = 64;
constexpr int64_t kTokens = 10;

std::vector<std::vector<int32_t>> ManyPrompts() {
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < kSessions; ++i) prompts.push_back(RandomTokens(100 + i, 1 + (i * i * 7) % 300));
  return prompts;
}

// Every session computes its prompt and then three more tokens, one request each, all together.
std::vector<std::vector<std::vector<float>>> LogitsTogether(
    const Host& host, tsr_engine* engine, const std::vector<std::vector<int32_t>>& prompts) {
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  std::vector<std::vector<std::vector<float>>> logits(prompts.size());
  for (const auto& prompt : prompts) {
    sessions.push_back(NewSession(engine, /*logits=*/true));
    Append(sessions.back().get(), prompt);
  }
  const Options compute = Options().Int("request.max_tokens", 0);
  for (int step = 0; step < 4; ++step) {
    for (size_t i = 0; i < sessions.size(); ++i) {
      EXPECT_EQ(tsr_session_generate(sessions[i].get(), compute.get(), queue.get(), i, nullptr, nullptr),
                TSR_STATUS_OK);
    }
    Finish(queue.get(), engine, sessions.size());
    for (size_t i = 0; i < sessions.size(); ++i) {
      logits[i].push_back(Logits(sessions[i].get()));
      const auto next =
          static_cast<int32_t>((31 * static_cast<size_t>(step) + prompts[i].size()) % kTinyVocabulary);
      Append(sessions[i].get(), std::vector<int32_t>{next});
    }
  }
  return logits;
}

struct Kind {
  const char* name;
  TinyModelOptions model;
  const char* cache_type;
};

TinyModelOptions Headed(TensorType type, int32_t head_size, int32_t window) {
  TinyModelOptions options = SmallModel(type);
  options.head_size = head_size;
  options.window_tokens = window;
  return options;
}

class Company : public GpuApi, public testing::WithParamInterface<Kind> {};

TEST_P(Company, ChangesNoBitInBatchInvariantMode) {
  const Kind& given = GetParam();
  const Host host(MakeTinyModel(given.model), OnGpu());
  const auto engine_of = [&](int64_t batch_tokens) {
    Options settings = Invariant().Int("engine.batch_tokens", batch_tokens);
    if (*given.cache_type != 0) settings.String("engine.cache_type", given.cache_type);
    return host.Engine(settings);
  };
  const std::vector<std::vector<int32_t>> prompts = ManyPrompts();
  const Handle<tsr_engine> engine = engine_of(512);

  const std::vector<Answer> alone = AnswerEach(host, engine.get(), prompts, Greedy(kTokens));
  const std::vector<Answer> together = AnswerAll(host, engine.get(), prompts, Greedy(kTokens));
  ExpectSameAnswers(together, alone, "among 64 and alone");

  // Chunks of prompts mixed with rows that decode; most of the batches are no multiple of anything.
  const Handle<tsr_engine> cutting = engine_of(29);
  ExpectSameAnswers(AnswerAll(host, cutting.get(), prompts, Greedy(kTokens)), alone, "in chunks and alone");

  const auto together_logits = LogitsTogether(host, engine.get(), prompts);
  for (size_t i = 0; i < prompts.size(); i += 5) {
    const auto logits = LogitsTogether(host, engine.get(), {prompts[i]}).front();
    for (size_t step = 0; step < logits.size(); ++step) {
      const std::vector<float>& row = logits[step];
      EXPECT_EQ(std::memcmp(row.data(), together_logits[i][step].data(), row.size() * sizeof(float)), 0)
          << "session " << i << ", a prompt of " << prompts[i].size() << " and " << step << " tokens more";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Gpu, Company,
                         testing::Values(Kind{"bf16", SmallModel(), ""},
                                         Kind{"f16", SmallModel(TensorType::kF16), ""},
                                         Kind{"int8", SmallModel(), "int8"},
                                         Kind{"window", Headed(TensorType::kBF16, 64, 50), ""},
                                         Kind{"heads80", Headed(TensorType::kBF16, 80, 0), ""},
                                         Kind{"heads128", Headed(TensorType::kF16, 128, 0), ""}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(GpuApi, ThreadedEnginesChangeNoBitWhoeverComesWhen) {
  const Host host(MakeTinyModel(SmallModel()), OnGpu());
  const std::vector<std::vector<int32_t>> prompts = ManyPrompts();
  const Handle<tsr_engine> stepped = host.Engine(Invariant());
  const std::vector<Answer> alone = AnswerEach(host, stepped.get(), prompts, Greedy(40));

  const Handle<tsr_engine> threaded = host.Engine(Invariant().Bool("engine.stepped", false));
  ExpectSameAnswers(AnswerAll(host, threaded.get(), prompts, Greedy(40)), alone, "threaded and alone");
}

TEST_F(GpuApi, TwoEnginesOnOneGpuAndOneOnTheCpuAnswerAsEachAlone) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel());
  const Host gpu(file, OnGpu());
  const Host other(MakeTinyModel(SmallModel(TensorType::kF16)), OnGpu());
  const Host cpu(file);
  const std::vector<std::vector<int32_t>> prompts = ManyPrompts();
  const Options threaded = Invariant().Bool("engine.stepped", false);
  struct Party {
    const Host* host;
    Handle<tsr_engine> engine;
    std::vector<Answer> alone, beside;
  };
  std::vector<Party> parties;
  for (const Host* host : {&gpu, &gpu, &other, &cpu})
    parties.push_back({host, host->Engine(threaded), {}, {}});
  for (Party& party : parties) party.alone = AnswerAll(*party.host, party.engine.get(), prompts, Greedy(30));
  ExpectSameAnswers(parties[0].alone, parties[1].alone, "two engines of one model");

  std::vector<std::thread> hosts;
  for (Party& party : parties) {
    hosts.emplace_back(
        [&] { party.beside = AnswerAll(*party.host, party.engine.get(), prompts, Greedy(30)); });
  }
  for (std::thread& host : hosts) host.join();

  for (size_t i = 0; i < parties.size(); ++i) {
    ExpectSameAnswers(parties[i].beside, parties[i].alone, "engine " + std::to_string(i));
  }
  EXPECT_GT(Metrics(parties[0].engine.get()).device_steps, 0u);
  EXPECT_EQ(Metrics(parties[3].engine.get()).device_steps, 0u);
}

// Chains hold all multiprocessors, and their blocks wait for one another: two at once, each with some of the
// multiprocessors, would never end.
TEST_F(GpuApi, EnginesWhoseKernelsNeedTheWholeGpuComputeAtTheSameTime) {
  TinyModelOptions wide = SmallModel();
  wide.hidden = 1024;
  wide.feed_forward = 8192;
  const Host host(MakeTinyModel(wide), OnGpu());
  const Options threaded = Options().Bool("engine.stepped", false);
  const std::vector<std::vector<int32_t>> prompt = {RandomTokens(7, 20)};
  std::vector<Handle<tsr_engine>> engines;
  for (int i = 0; i < 3; ++i) engines.push_back(host.Engine(threaded));
  const std::vector<Answer> alone = AnswerAll(host, engines[0].get(), prompt, Greedy(200));

  std::vector<std::vector<Answer>> beside(engines.size());
  std::vector<std::thread> hosts;
  for (size_t i = 0; i < engines.size(); ++i) {
    hosts.emplace_back([&, i] { beside[i] = AnswerAll(host, engines[i].get(), prompt, Greedy(200)); });
  }
  for (std::thread& thread : hosts) thread.join();

  for (size_t i = 0; i < engines.size(); ++i) {
    ExpectSameAnswers(beside[i], alone, "engine " + std::to_string(i));
  }
}

Handle<tsr_session> Fork(tsr_session* session) {
  tsr_session* fork = nullptr;
  EXPECT_EQ(tsr_session_fork(session, nullptr, &fork, nullptr), TSR_STATUS_OK);
  return Handle<tsr_session>(fork);
}

std::vector<int32_t> Joined(std::vector<int32_t> head, const std::vector<int32_t>& tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

TEST_F(GpuApi, ForksAndSharedBeginningsGoOnAsIfComputedAlone) {
  const Host host(MakeTinyModel(SmallModel()), OnGpu());
  const Handle<tsr_engine> engine = host.Engine(Invariant().Bool("engine.share_prefixes", true));
  const Handle<tsr_engine> unshared = host.Engine(Invariant());
  const Handle<tsr_queue> queue = host.Queue();
  const std::vector<int32_t> beginning = RandomTokens(3, 91);

  const Handle<tsr_session> first = NewSession(engine.get());
  Append(first.get(), beginning);
  const Answer start = Generate(first.get(), engine.get(), queue.get(), Greedy(7));
  const std::vector<int32_t> common = Joined(beginning, start.tokens);

  // Three go on from the middle of one block, each with words of its own; a fourth begins anew, like the
  // others.
  std::vector<Handle<tsr_session>> sessions;
  std::vector<std::vector<int32_t>> whole;
  for (uint64_t i = 0; i < 3; ++i) {
    sessions.push_back(Fork(first.get()));
    Append(sessions.back().get(), RandomTokens(50 + i, 5));
    whole.push_back(Joined(common, RandomTokens(50 + i, 5)));
  }
  sessions.push_back(NewSession(engine.get()));
  whole.push_back(Joined(beginning, RandomTokens(60, 9)));
  Append(sessions.back().get(), whole.back());
  for (size_t i = 0; i < sessions.size(); ++i) {
    ASSERT_EQ(tsr_session_generate(sessions[i].get(), Greedy(20).get(), queue.get(), i, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  std::map<uint64_t, Answer> ended = Finish(queue.get(), engine.get(), sessions.size());

  std::vector<Answer> answers;
  for (size_t i = 0; i < sessions.size(); ++i) answers.push_back(ended[i]);
  ExpectSameAnswers(answers, AnswerEach(host, unshared.get(), whole, Greedy(20)), "forks and alone");
  EXPECT_GT(Metrics(engine.get()).shared_tokens, 0u);
  EXPECT_GT(Metrics(engine.get()).copied_blocks, 0u);

  // Rewound, parked, saved and restored, a session goes on with the same bits too.
  ASSERT_EQ(tsr_session_rewind(first.get(), 60, nullptr), TSR_STATUS_OK);
  ASSERT_EQ(tsr_session_park(first.get(), nullptr), TSR_STATUS_OK);
  size_t size = 0;
  EXPECT_EQ(tsr_session_save(first.get(), nullptr, nullptr, 0, &size, nullptr), TSR_STATUS_BUFFER_TOO_SMALL);
  std::vector<uint8_t> state(size);
  ASSERT_EQ(tsr_session_save(first.get(), nullptr, state.data(), state.size(), &size, nullptr),
            TSR_STATUS_OK);
  tsr_state_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(tsr_state_probe(state.data(), size, &info, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(info.token_count, 60u);
  EXPECT_EQ(info.cached_tokens, 0u);
  tsr_session* restored = nullptr;
  ASSERT_EQ(tsr_session_restore(engine.get(), state.data(), size, nullptr, &restored, nullptr),
            TSR_STATUS_OK);
  const Handle<tsr_session> owned(restored);
  const Answer again = Generate(restored, engine.get(), queue.get(), Greedy(20));
  const std::vector<int32_t> cut(beginning.begin(), beginning.begin() + 60);
  ExpectSameAnswers({again}, AnswerEach(host, unshared.get(), {cut}, Greedy(20)), "restored and alone");
}

// The cache holds a quarter of what all need at once: some are sent back and compute their keys and values
// again.
TEST_F(GpuApi, PreemptedSessionsComputeAgainWithTheSameBits) {
  const Host host(MakeTinyModel(SmallModel()), OnGpu());
  const std::vector<std::vector<int32_t>> prompts = ManyPrompts();
  const Handle<tsr_engine> roomy = host.Engine(Invariant());
  const Handle<tsr_engine> narrow = host.Engine(Invariant().Int("engine.cache_tokens", 2400));
  const std::vector<Answer> answers = AnswerAll(host, narrow.get(), prompts, Greedy(60));
  ExpectSameAnswers(answers, AnswerAll(host, roomy.get(), prompts, Greedy(60)), "preempted and not");
  EXPECT_GT(Metrics(narrow.get()).preemptions, 0u);
  EXPECT_EQ(Metrics(roomy.get()).preemptions, 0u);
}

}  // namespace
}  // namespace tessera::host
