// The CUDA module from end to end, by its table: a tiny model's logits and tokens, steps in flight, and what
// happens when calls of the device fail.
#include <thread>

#include "core/base/status.h"
#include "tests/gpu/module_runner.h"
#include "tests/gpu/tiny_model.h"

namespace tessera::gpu {
namespace {

using Blocks = std::vector<std::vector<int32_t>>;  // [groups]

// Block ids of a sequence, scattered over the pool: `index` of `sequences` that share it.
Blocks ScatteredBlocks(const RunnerOptions& options, int32_t groups, int32_t index, int32_t sequences) {
  Blocks blocks(static_cast<size_t>(groups));
  for (int32_t group = 0; group < groups; ++group) {
    for (int32_t id = index; id < options.blocks; id += sequences) {
      blocks[static_cast<size_t>(group)].push_back(options.blocks - 1 - id);
    }
  }
  return blocks;
}

std::vector<int32_t> RandomTokens(int32_t count, int32_t vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
  }
  return tokens;
}

int32_t Largest(const std::vector<float>& values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

struct Conversation {
  std::vector<int32_t> tokens;  // those computed, and the one sampled last
  size_t computed = 0;
  Blocks blocks;
  std::vector<std::vector<float>> logits;  // behind each token from index `first_logits` on
  size_t first_logits = 0;
};

// The next `count` tokens of each conversation, in one step; then one is sampled behind those that have no
// more.
void Advance(ModuleRunner* runner, std::vector<Conversation>* conversations,
             const std::vector<int32_t>& counts) {
  StepBuilder builder(runner->groups());
  std::vector<Conversation*> sampled;
  const size_t vocabulary = static_cast<size_t>(runner->description().vocabulary_size);
  for (size_t i = 0; i < conversations->size(); ++i) {
    if (counts[i] == 0) continue;
    Conversation& conversation = (*conversations)[i];
    const auto first = conversation.tokens.begin() + static_cast<int64_t>(conversation.computed);
    builder.Add({first, first + counts[i]}, static_cast<int32_t>(conversation.computed), conversation.blocks);
    conversation.computed += static_cast<size_t>(counts[i]);
    if (conversation.computed < conversation.tokens.size()) continue;
    if (conversation.logits.empty()) conversation.first_logits = conversation.computed - 1;
    conversation.logits.emplace_back(vocabulary, NAN);
    builder.Sample()->logits_out = conversation.logits.back().data();
    sampled.push_back(&conversation);
  }
  ASSERT_TRUE(runner->Run(builder.Step())) << runner->message();
  ASSERT_TRUE(runner->Finish()) << runner->message();
  for (size_t i = 0; i < sampled.size(); ++i) {
    const tsr_device_sample& result = builder.result(i);
    EXPECT_EQ(result.numeric_fault, 0);
    EXPECT_EQ(result.token, Largest(sampled[i]->logits.back()));
    sampled[i]->tokens.push_back(result.token);
  }
}

void ExpectLogitsOf(const TinyModel& model, const Conversation& conversation, double bound) {
  const std::vector<int32_t> computed(conversation.tokens.begin(), conversation.tokens.end() - 1);
  const auto expected = model.Logits(computed, conversation.first_logits);
  ASSERT_EQ(expected.size(), conversation.logits.size());
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = RelativeError(conversation.logits[i], expected[i]);
    EXPECT_LT(error, bound) << "behind token " << conversation.first_logits + i;
    worst = std::max(worst, error);
  }
  std::printf("largest error of logits: %.2e of %.2e\n", worst, bound);
}

struct ModelCase {
  const char* name;
  TinyShape shape;
  RunnerOptions options;
  bool f16 = false;
  double bound = 0.04;
};
std::ostream& operator<<(std::ostream& stream, const ModelCase& model_case) {
  return stream << model_case.name;
}

class ModuleModelTest : public GpuTest, public ::testing::WithParamInterface<ModelCase> {};

// Prompts that come in chunks beside sequences that decode already.
TEST_P(ModuleModelTest, PromptsInChunksAndDecodedTokensHaveTheLogitsOfPlainLoops) {
  const TinyModel model(GetParam().shape, GetParam().f16, 11);
  ModuleRunner runner(model, GetParam().options);
  ASSERT_TRUE(runner.Start()) << runner.message();
  std::vector<Conversation> conversations(3);
  const int32_t lengths[] = {37, 5, 1};
  for (int32_t i = 0; i < 3; ++i) {
    conversations[i].tokens = RandomTokens(lengths[i], GetParam().shape.vocabulary, 100 + i);
    conversations[i].blocks = ScatteredBlocks(GetParam().options, runner.groups(), i, 3);
  }

  for (const std::vector<int32_t>& counts :
       std::vector<std::vector<int32_t>>{{16, 0, 0}, {1, 3, 1}, {17, 2, 1}, {3, 1, 1}}) {
    ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, counts));
  }
  for (int i = 0; i < 12; ++i) ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, {1, 1, 1}));
  for (int i = 0; i < 3; ++i) ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, {1, 0, 0}));

  for (const Conversation& conversation : conversations) {
    ExpectLogitsOf(model, conversation, GetParam().bound);
  }
  tsr_device_times times = {};
  runner.table().times(runner.context(), &times);
  EXPECT_EQ(times.steps, 19u);
  EXPECT_GT(times.device_ns, 0u);
}

std::vector<ModelCase> ModelCases() {
  std::vector<ModelCase> cases;
  const auto add = [&cases](const char* name, auto&& change) {
    ModelCase model_case;
    model_case.name = name;
    change(model_case);
    cases.push_back(model_case);
  };
  add("bf16", [](ModelCase&) {});
  add("f16", [](ModelCase& c) {
    c.f16 = true;
    c.options.cache_type = CacheType::kF16;
    c.bound = 0.01;
  });
  add("f16_int8_cache", [](ModelCase& c) {
    c.f16 = true;
    c.options.cache_type = CacheType::kInt8;
    c.bound = 0.05;
  });
  add("own_products", [](ModelCase& c) { c.options.library = false; });
  add("joined_own_products", [](ModelCase& c) {
    c.options.library = false;
    c.options.joined = true;
  });
  add("joined", [](ModelCase& c) { c.options.joined = true; });
  add("no_overlap", [](ModelCase& c) { c.options.overlap = false; });
  add("no_graphs", [](ModelCase& c) { c.options.graphs = false; });
  add("batch_invariant", [](ModelCase& c) { c.options.batch_invariant = true; });
  add("biases_and_halves", [](ModelCase& c) {
    c.shape.biases = true;
    c.shape.halves = true;
  });
  add("windows", [](ModelCase& c) {
    c.shape.layers = 3;
    c.shape.window_tokens = 12;
  });
  add("odd_sizes", [](ModelCase& c) {
    c.shape.hidden = 90;
    c.shape.feed_forward = 77;
    c.shape.vocabulary = 301;
    c.shape.head_size = 22;
    c.shape.rotary_dimensions = 12;
    c.shape.heads = 3;
    c.shape.kv_heads = 1;
    c.options.block_tokens = 5;
    c.options.blocks = 200;
  });
  add("one_sequence_at_a_time", [](ModelCase& c) {
    c.options.depth = 1;
    c.options.max_rows = 37;
    c.options.max_sequences = 3;
    c.options.max_samples = 3;
  });
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Models, ModuleModelTest, ::testing::ValuesIn(ModelCases()),
                         [](const auto& info) { return std::string(info.param.name); });

class ModuleGpuTest : public GpuTest {};

// One sequence's tokens, each sampled by a step whose input is the token before. `ahead`: a step is run
// before the one that samples its input has ended.
std::vector<int32_t> Generate(ModuleRunner* runner, int32_t count, bool ahead, float repetition_penalty) {
  const RunnerOptions& options = runner->options();
  const Blocks blocks = ScatteredBlocks(options, runner->groups(), 0, 1);
  std::vector<int32_t> known = RandomTokens(7, runner->description().vocabulary_size, 5);
  const size_t prompt = known.size();
  std::vector<std::unique_ptr<StepBuilder>> builders;
  // What the host knows when it plans a step, as the engine hands it in.
  std::vector<std::unique_ptr<std::vector<int32_t>>> histories;
  const auto run = [&](int32_t step) {
    auto builder = std::make_unique<StepBuilder>(runner->groups());
    const int32_t position = static_cast<int32_t>(prompt) + step - 1;
    if (step == 0) {
      builder->Add(known, 0, blocks);
    } else if (ahead) {
      builder->Add({-1}, position, blocks, 0);
    } else {
      builder->Add({known.back()}, position, blocks);
    }
    histories.push_back(std::make_unique<std::vector<int32_t>>(known));
    tsr_device_sample* const sample = builder->Sample();
    sample->repetition_penalty = repetition_penalty;
    sample->penalty_window_tokens = 5;
    sample->history = histories.back()->data();
    sample->history_count = static_cast<int32_t>(histories.back()->size());
    builders.push_back(std::move(builder));
    return runner->Run(builders.back()->Step());
  };
  const auto finish = [&](int32_t step) {
    if (!runner->Finish()) return false;
    known.push_back(builders[static_cast<size_t>(step)]->result(0).token);
    return true;
  };
  for (int32_t step = 0; step < count; ++step) {
    if (!run(step)) return {};
    if (ahead && step > 0 && !finish(step - 1)) return {};
    if (!ahead && !finish(step)) return {};
  }
  if (ahead && !finish(count - 1)) return {};
  return {known.begin() + static_cast<int64_t>(prompt), known.end()};
}

TEST_F(ModuleGpuTest, ATokenThatOnlyTheDeviceKnowsIsTheNextStepsInput) {
  const TinyModel model(TinyShape{}, false, 3);
  for (const bool graphs : {true, false}) {
    RunnerOptions options;
    options.graphs = graphs;
    ModuleRunner runner(model, options);
    ASSERT_TRUE(runner.Start()) << runner.message();

    const std::vector<int32_t> one_by_one = Generate(&runner, 24, false, 1.0f);
    const std::vector<int32_t> ahead = Generate(&runner, 24, true, 1.0f);

    ASSERT_EQ(one_by_one.size(), 24u) << runner.message();
    EXPECT_EQ(ahead, one_by_one);
  }
}

TEST_F(ModuleGpuTest, PenaltiesSeeATokenThatOnlyTheDeviceKnows) {
  const TinyModel model(TinyShape{}, false, 3);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Start()) << runner.message();

  const std::vector<int32_t> plain = Generate(&runner, 24, false, 1.0f);
  const std::vector<int32_t> one_by_one = Generate(&runner, 24, false, 50.0f);
  const std::vector<int32_t> ahead = Generate(&runner, 24, true, 50.0f);

  ASSERT_EQ(one_by_one.size(), 24u) << runner.message();
  EXPECT_NE(one_by_one, plain);
  EXPECT_EQ(ahead, one_by_one);
}

TEST_F(ModuleGpuTest, NeitherGraphsNorNodesThatOverlapChangeABit) {
  const TinyModel model(TinyShape{}, false, 12);
  std::vector<std::vector<std::vector<float>>> all;
  for (const bool graphs : {true, false}) {
    for (const bool overlap : {true, false}) {
      RunnerOptions options;
      options.graphs = graphs;
      options.overlap = overlap;
      ModuleRunner runner(model, options);
      ASSERT_TRUE(runner.Start()) << runner.message();
      std::vector<Conversation> conversations(4);
      for (int32_t i = 0; i < 4; ++i) {
        conversations[static_cast<size_t>(i)].tokens =
            RandomTokens(9 + i, 500, 60 + static_cast<uint32_t>(i));
        conversations[static_cast<size_t>(i)].blocks = ScatteredBlocks(options, 1, i, 4);
      }
      ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, {9, 10, 11, 12}));
      for (int i = 0; i < 10; ++i) ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, {1, 1, 1, 1}));
      std::vector<std::vector<float>> logits;
      for (const Conversation& conversation : conversations) {
        logits.insert(logits.end(), conversation.logits.begin(), conversation.logits.end());
      }
      all.push_back(std::move(logits));
    }
  }
  for (size_t i = 1; i < all.size(); ++i) EXPECT_EQ(all[i], all[0]) << i;
}

TEST_F(ModuleGpuTest, ACopiedBlockIsWrittenByOneSequenceAndReadByTheOther) {
  const TinyModel model(TinyShape{}, false, 4);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Start()) << runner.message();
  std::vector<Conversation> conversations(2);
  conversations[0].tokens = RandomTokens(20, model.shape().vocabulary, 8);
  conversations[0].blocks = {{3, 9, 5}};
  ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, {20, 0}));

  // The second one goes on from the first's 18th token, in a copy of its second block.
  conversations[1].tokens = conversations[0].tokens;
  conversations[1].tokens.resize(18);
  for (const int32_t token : {77, 78, 79}) conversations[1].tokens.push_back(token);
  conversations[1].computed = 18;
  conversations[1].blocks = {{3, 30, 31}};
  StepBuilder builder(1);
  builder.Copy(0, 9, 40);
  builder.Copy(0, 40, 30);  // what the copy before has brought
  builder.Add({77, 78, 79}, 18, conversations[1].blocks);
  builder.Add({conversations[0].tokens.back()}, 20, conversations[0].blocks);
  conversations[1].first_logits = 20;
  conversations[1].logits.emplace_back(500, NAN);
  ASSERT_TRUE(runner.Run(builder.Step())) << runner.message();
  ASSERT_TRUE(runner.Finish()) << runner.message();
  conversations[0].computed = 21;
  conversations[0].tokens.push_back(1);
  conversations[1].computed = 20;
  conversations[1].logits.clear();
  ASSERT_NO_FATAL_FAILURE(Advance(&runner, &conversations, {1, 1}));

  const std::vector<double> first =
      model.Logits({conversations[0].tokens.begin(), conversations[0].tokens.end() - 1}, 21)[0];
  const std::vector<double> second =
      model.Logits({conversations[1].tokens.begin(), conversations[1].tokens.end() - 1}, 20)[0];
  EXPECT_LT(RelativeError(conversations[0].logits.back(), first), 0.04);
  EXPECT_LT(RelativeError(conversations[1].logits.back(), second), 0.04);
}

TEST_F(ModuleGpuTest, InBatchInvariantModeARowHasTheSameBitsAloneAndAmongOthers) {
  const TinyModel model(TinyShape{}, false, 6);
  for (const bool library : {true, false}) {
    RunnerOptions options;
    options.batch_invariant = true;
    options.library = library;
    options.max_rows = 128;
    options.max_sequences = 40;
    options.max_samples = 40;
    options.blocks = 80;
    ModuleRunner runner(model, options);
    ASSERT_TRUE(runner.Start()) << runner.message();
    std::vector<Conversation> alone(40);
    std::vector<int32_t> prompts;
    for (int32_t i = 0; i < 40; ++i) {
      prompts.push_back(2 + i % 2);
      alone[static_cast<size_t>(i)].tokens = RandomTokens(prompts.back(), 500, 50 + static_cast<uint32_t>(i));
      alone[static_cast<size_t>(i)].blocks = {{2 * i, 2 * i + 1}};
    }
    std::vector<Conversation> together = alone;
    const std::vector<int32_t> all(40, 1);

    for (size_t i = 0; i < 40; i += 13) {
      std::vector<int32_t> counts(40);
      counts[i] = prompts[i];
      ASSERT_NO_FATAL_FAILURE(Advance(&runner, &alone, counts));
      counts[i] = 1;
      for (int step = 0; step < 8; ++step) ASSERT_NO_FATAL_FAILURE(Advance(&runner, &alone, counts));
    }
    ASSERT_NO_FATAL_FAILURE(Advance(&runner, &together, prompts));
    for (int step = 0; step < 8; ++step) ASSERT_NO_FATAL_FAILURE(Advance(&runner, &together, all));

    for (size_t i = 0; i < 40; i += 13) {
      ASSERT_EQ(alone[i].logits.size(), 9u);
      EXPECT_EQ(alone[i].logits, together[i].logits) << "sequence " << i << ", library: " << library;
    }
  }
}

TEST_F(ModuleGpuTest, ManyRowsOfLogitsAreAllTaken) {
  TinyShape shape;
  shape.vocabulary = 130000;  // 32 rows of logits are staged for each of two steps
  shape.hidden = 32;
  shape.layers = 1;
  const TinyModel model(shape, false, 7);
  RunnerOptions options;
  options.max_sequences = 40;
  options.max_samples = 40;
  options.max_rows = 40;
  ModuleRunner runner(model, options);
  ASSERT_TRUE(runner.Start()) << runner.message();
  StepBuilder builder(1);
  std::vector<std::vector<float>> logits(40, std::vector<float>(130000, NAN));
  for (int32_t i = 0; i < 40; ++i) {
    builder.Add({i}, 0, {{i}});
    builder.Sample()->logits_out = logits[static_cast<size_t>(i)].data();
  }
  ASSERT_TRUE(runner.Run(builder.Step())) << runner.message();
  ASSERT_TRUE(runner.Finish()) << runner.message();
  for (int32_t i = 0; i < 40; i += 13) {
    EXPECT_LT(RelativeError(logits[static_cast<size_t>(i)], model.Logits({i}, 0)[0]), 0.04) << "row " << i;
  }
}

TEST_F(ModuleGpuTest, LogProbabilitiesAndDrawsComeBackWithTheirSamples) {
  const TinyModel model(TinyShape{}, false, 9);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Start()) << runner.message();
  StepBuilder builder(1);
  std::vector<std::vector<float>> logits(2, std::vector<float>(500, NAN));
  const tsr_device_bias forbidden = {3, -INFINITY};
  builder.Add({1, 2, 3}, 0, {{0}});
  tsr_device_sample* sample = builder.Sample();
  sample->top_logprobs = 4;
  sample->logits_out = logits[0].data();
  builder.Add({4}, 0, {{1}});
  sample = builder.Sample();
  sample->temperature = 0.7f;
  sample->top_k = 1;
  sample->seed = 5;
  sample->top_logprobs = 0;
  sample->bias = &forbidden;
  sample->bias_count = 1;
  sample->logits_out = logits[1].data();
  ASSERT_TRUE(runner.Run(builder.Step())) << runner.message();
  ASSERT_TRUE(runner.Finish()) << runner.message();

  const tsr_device_sample& first = builder.result(0);
  EXPECT_EQ(first.token, Largest(logits[0]));
  ASSERT_EQ(first.top_count, 4);
  EXPECT_EQ(first.top_tokens[0], first.token);
  EXPECT_EQ(first.top_token_logprobs[0], first.logprob);
  double sum = 0;
  for (const float value : logits[0]) sum += std::exp(static_cast<double>(value));
  EXPECT_NEAR(first.logprob, logits[0][static_cast<size_t>(first.token)] - std::log(sum), 1e-4);
  for (int i = 1; i < 4; ++i) EXPECT_LE(first.top_token_logprobs[i], first.top_token_logprobs[i - 1]);
  logits[1][3] = -INFINITY;
  EXPECT_EQ(builder.result(1).token, Largest(logits[1]));
  EXPECT_EQ(builder.result(1).top_count, 0);
  EXPECT_LT(builder.result(1).logprob, 0.0f);
}

TEST_F(ModuleGpuTest, AContextTakesExactlyWhatWasPlannedAndGivesEverythingBack) {
  CountingMemory memory;
  const TinyModel model(TinyShape{}, false, 2);
  {
    ModuleRunner runner(model, RunnerOptions{});
    ASSERT_TRUE(runner.Open(&memory) && runner.LoadWeights()) << runner.message();
    tsr_device_info info = {};
    info.struct_size = sizeof(info);
    tsr_device_failure failure = {};
    ASSERT_EQ(runner.table().describe(runner.device(), &info, &failure), 0) << failure.message;
    tsr_device_limits limits = runner.Limits();
    limits.multiprocessors = info.multiprocessors;
    limits.compute_capability = info.compute_capability;
    tsr_device_context_memory planned = {};
    planned.struct_size = sizeof(planned);
    ASSERT_EQ(runner.table().plan_context(&runner.description(), &limits, &planned, &failure), 0)
        << failure.message;
    const size_t before = memory.bytes_out();

    ASSERT_TRUE(runner.CreateContext()) << runner.message();

    EXPECT_EQ(memory.bytes_out() - before, planned.device_bytes + planned.pinned_bytes);
    ASSERT_TRUE(runner.SetCaches()) << runner.message();
    const size_t ready = memory.bytes_out();
    EXPECT_EQ(Generate(&runner, 6, true, 1.0f).size(), 6u) << runner.message();
    EXPECT_EQ(memory.bytes_out(), ready);  // nothing was taken by steps
  }
  EXPECT_EQ(memory.bytes_out(), 0u);
}

TEST_F(ModuleGpuTest, AHostWithoutMemoryIsToldHowMuchWasWanted) {
  CountingMemory memory;
  const TinyModel model(TinyShape{}, false, 2);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Open(&memory) && runner.LoadWeights()) << runner.message();
  memory.refuse_above = 1 << 20;

  EXPECT_FALSE(runner.CreateContext());

  EXPECT_EQ(runner.failure().code, static_cast<int32_t>(ErrorCode::kOutOfMemory));
  EXPECT_EQ(runner.failure().lost, 0);
  EXPECT_NE(runner.message().find(" bytes"), std::string::npos) << runner.message();
}

TEST_F(ModuleGpuTest, TheDevicesOwnMemoryRunningOutSaysWhatIsFree) {
  const TinyModel model(TinyShape{}, false, 2);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Open(nullptr)) << runner.message();

  EXPECT_EQ(runner.Allocate(0, size_t{1} << 46), nullptr);

  EXPECT_EQ(runner.failure().code, static_cast<int32_t>(ErrorCode::kOutOfMemory));
  EXPECT_NE(runner.message().find("70368744177664 bytes"), std::string::npos) << runner.message();
  EXPECT_NE(runner.message().find("are free"), std::string::npos) << runner.message();
}

TEST_F(ModuleGpuTest, MemoryIsZeroedAndUploadsOfManyThreadsArriveWhole) {
  CountingMemory memory;
  const TinyModel model(TinyShape{}, false, 2);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Open(&memory)) << runner.message();
  constexpr size_t kBytes = size_t{5} << 20;
  constexpr size_t kThreads = 6;
  auto* const target = static_cast<uint8_t*>(runner.Allocate(0, kThreads * kBytes));
  ASSERT_NE(target, nullptr) << runner.message();
  const tsr_device_functions& table = runner.table();
  std::vector<uint8_t> seen(kThreads * kBytes, 1);
  tsr_device_failure failure = {};
  ASSERT_EQ(table.download(runner.device(), target, seen.data(), seen.size(), &failure), 0);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), static_cast<int64_t>(seen.size()));

  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      tsr_device_failure own = {};
      const size_t most = table.upload_piece_bytes(runner.device());
      for (size_t at = 0; at < kBytes;) {
        const size_t count = std::min({most, kBytes - at, size_t{300001}});
        void* piece = nullptr;
        failures += table.begin_upload(runner.device(), &piece, &own) != 0;
        if (piece == nullptr) return;
        for (size_t i = 0; i < count; ++i)
          static_cast<uint8_t*>(piece)[i] = static_cast<uint8_t>((at + i) * 7 + t);
        failures += table.end_upload(runner.device(), piece, target + t * kBytes + at, count, &own) != 0;
        at += count;
      }
      void* unused = nullptr;
      failures += table.begin_upload(runner.device(), &unused, &own) != 0;
      failures += table.end_upload(runner.device(), unused, target, 0, &own) != 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(table.wait_uploads(runner.device(), &failure), 0) << failure.message;
  ASSERT_EQ(table.download(runner.device(), target, seen.data(), seen.size(), &failure), 0);

  EXPECT_EQ(failures, 0);
  size_t wrong = 0;
  for (size_t t = 0; t < kThreads; ++t) {
    for (size_t i = 0; i < kBytes; ++i) wrong += seen[t * kBytes + i] != static_cast<uint8_t>(i * 7 + t);
  }
  EXPECT_EQ(wrong, 0u);
}

TEST_F(ModuleGpuTest, ADeviceIsFoundByItsUuidAndADeviceThatIsNotThereIsNotFound) {
  const tsr_device_functions& table = *tsr_device_module();
  tsr_device_failure failure = {};
  tsr_device_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(table.describe_device(0, &info, &failure), 0) << failure.message;
  EXPECT_EQ(std::string(info.uuid).substr(0, 4), "GPU-");
  EXPECT_GT(info.free_bytes, 0u);
  tsr_device_options options = {};
  options.struct_size = sizeof(options);
  options.index = 12345;
  options.uuid = info.uuid;
  tsr_device* device = nullptr;
  ASSERT_EQ(table.open(&options, &device, &failure), 0) << failure.message;
  table.close(device);

  options.uuid = "GPU-00000000-0000-0000-0000-000000000000";
  EXPECT_EQ(table.open(&options, &device, &failure), static_cast<int32_t>(ErrorCode::kNotFound));
  EXPECT_EQ(device, nullptr);
  options.uuid = nullptr;
  EXPECT_EQ(table.open(&options, &device, &failure), static_cast<int32_t>(ErrorCode::kNotFound));
}

TEST_F(ModuleGpuTest, StepsRunOnTheHostsStreamAndTheHostsDeviceStaysCurrent) {
  const TinyModel model(TinyShape{}, false, 3);
  std::vector<int32_t> expected;
  {
    ModuleRunner own(model, RunnerOptions{});
    ASSERT_TRUE(own.Start()) << own.message();
    expected = Generate(&own, 12, true, 1.0f);
  }
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Open(nullptr, stream_) && runner.LoadWeights() && runner.CreateContext() &&
              runner.SetCaches())
      << runner.message();

  EXPECT_EQ(Generate(&runner, 12, true, 1.0f), expected);

  EXPECT_EQ(cudaStreamQuery(stream_), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(ModuleGpuTest, OutOfTurnCallsAreRefusedAndChangeNothing) {
  const TinyModel model(TinyShape{}, false, 3);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Open(nullptr) && runner.LoadWeights() && runner.CreateContext()) << runner.message();
  StepBuilder builder(1);
  builder.Add({1, 2}, 0, {{0}});
  builder.Sample();
  EXPECT_FALSE(runner.Run(builder.Step()));
  EXPECT_EQ(runner.failure().code, static_cast<int32_t>(ErrorCode::kWrongState));
  ASSERT_TRUE(runner.SetCaches()) << runner.message();
  EXPECT_FALSE(runner.Finish());
  EXPECT_EQ(runner.failure().code, static_cast<int32_t>(ErrorCode::kWrongState));
  StepBuilder chained(1);
  chained.Add({-1}, 2, {{0}}, 0);
  chained.Sample();
  EXPECT_FALSE(runner.Run(chained.Step()));  // no step before it samples
  ASSERT_TRUE(runner.Run(builder.Step())) << runner.message();
  ASSERT_TRUE(runner.Run(chained.Step())) << runner.message();
  EXPECT_FALSE(runner.Run(chained.Step()));
  EXPECT_EQ(runner.failure().code, static_cast<int32_t>(ErrorCode::kWrongState));
  EXPECT_TRUE(runner.Finish());
  runner.table().abandon_steps(runner.context());
  ASSERT_TRUE(runner.Run(builder.Step())) << runner.message();
  EXPECT_TRUE(runner.Finish());
}

// The regions' times are those of the table's kinds, and about as long as the steps.
TEST_F(ModuleGpuTest, TimedRegionsMakeUpTheSteps) {
  const TinyModel model(TinyShape{}, false, 3);
  RunnerOptions options;
  options.time_regions = true;
  ModuleRunner runner(model, options);
  ASSERT_TRUE(runner.Start()) << runner.message();
  ASSERT_EQ(Generate(&runner, 8, true, 1.0f).size(), 8u);
  tsr_device_times times = {};
  runner.table().times(runner.context(), &times);
  uint64_t sum = 0;
  for (int kind = 0; kind < 8; ++kind) {
    EXPECT_GT(times.region_ns[kind], 0u) << "kind " << kind;
    sum += times.region_ns[kind];
  }
  EXPECT_EQ(times.steps, 8u);
  EXPECT_GT(sum, times.device_ns / 4);
}

// A short life of everything: device, weights, context, steps of all kinds, two in flight.
enum class Ending { kFailed, kPassed };
Ending LiveAndDie(const TinyModel& model, const RunnerOptions& options, CountingMemory* memory, int64_t after,
                  int32_t error, bool sticky, const std::vector<int32_t>& expected, int32_t* code,
                  int32_t* lost) {
  ModuleRunner runner(model, options);
  const auto fails = [&] {
    *code = runner.failure().code;
    *lost = runner.failure().lost;
    EXPECT_NE(*code, 0);
    EXPECT_FALSE(runner.message().empty());
    return Ending::kFailed;
  };
  if (!runner.Open(memory)) {
    ADD_FAILURE() << "nothing was to fail yet: " << runner.message();
    return Ending::kFailed;
  }
  runner.table().inject_failure(runner.device(), after, error, sticky ? 1 : 0);
  if (!runner.LoadWeights() || !runner.CreateContext() || !runner.SetCaches()) return fails();
  const std::vector<int32_t> tokens = Generate(&runner, static_cast<int32_t>(expected.size()), true, 1.0f);
  if (tokens.empty()) {
    const Ending ending = fails();
    if (sticky) return ending;
    // A failure that does not last: what is in flight is given up, and the next run is as if nothing had
    // been.
    runner.table().abandon_steps(runner.context());
    EXPECT_EQ(Generate(&runner, static_cast<int32_t>(expected.size()), true, 1.0f), expected)
        << runner.message();
    return ending;
  }
  EXPECT_EQ(tokens, expected);
  return Ending::kPassed;
}

class InjectedFailureTest : public GpuTest, public ::testing::WithParamInterface<bool> {};

TEST_P(InjectedFailureTest, WhicheverCallFailsTheMemoryComesBackAndTheOthersGoOn) {
  const bool library = GetParam();
  TinyShape shape;
  shape.layers = 1;
  const TinyModel model(shape, false, 3);
  RunnerOptions options;
  options.library = library;
  options.max_sequences = 2;
  options.max_rows = 8;
  ModuleRunner neighbour(model, options);
  ASSERT_TRUE(neighbour.Start()) << neighbour.message();
  const std::vector<int32_t> expected = Generate(&neighbour, 4, true, 1.0f);
  ASSERT_EQ(expected.size(), 4u);
  const int32_t kinds[] = {cudaErrorMemoryAllocation, cudaErrorUnknown};
  int64_t failed = 0;
  for (int64_t after = 1;; after += library ? 3 : 1) {
    ASSERT_LT(after, 5000) << "the run never gets through";
    CountingMemory memory;
    int32_t code = 0;
    int32_t lost = 0;
    const Ending ending =
        LiveAndDie(model, options, &memory, after, kinds[after % 2], false, expected, &code, &lost);
    EXPECT_EQ(memory.bytes_out(), 0u) << "after call " << after;
    EXPECT_EQ(lost, 0);
    if (HasFailure()) FAIL() << "after call " << after;
    if (ending == Ending::kPassed) break;
    ++failed;
    EXPECT_EQ(code,
              static_cast<int32_t>(kinds[after % 2] == cudaErrorMemoryAllocation ? ErrorCode::kOutOfMemory
                                                                                 : ErrorCode::kInternal));
  }
  EXPECT_GT(failed, 40);
  EXPECT_EQ(Generate(&neighbour, 4, true, 1.0f), expected) << neighbour.message();
}

TEST_P(InjectedFailureTest, ADeviceThatIsLostSaysSoFromThenOnAndGivesItsMemoryBack) {
  TinyShape shape;
  shape.layers = 1;
  const TinyModel model(shape, false, 3);
  RunnerOptions options;
  options.library = GetParam();
  options.max_sequences = 2;
  options.max_rows = 8;
  ModuleRunner neighbour(model, options);
  ASSERT_TRUE(neighbour.Start()) << neighbour.message();
  const std::vector<int32_t> expected = Generate(&neighbour, 4, true, 1.0f);
  int64_t failed = 0;
  for (int64_t after = 1;; after += 5) {
    ASSERT_LT(after, 5000) << "the run never gets through";
    CountingMemory memory;
    int32_t code = 0;
    int32_t lost = 0;
    const Ending ending =
        LiveAndDie(model, options, &memory, after, cudaErrorIllegalAddress, true, expected, &code, &lost);
    EXPECT_EQ(memory.bytes_out(), 0u) << "after call " << after;
    if (HasFailure()) FAIL() << "after call " << after;
    if (ending == Ending::kPassed) break;
    ++failed;
    EXPECT_EQ(code, static_cast<int32_t>(ErrorCode::kLost));
    EXPECT_EQ(lost, 1);
  }
  EXPECT_GT(failed, 8);
  EXPECT_EQ(Generate(&neighbour, 4, true, 1.0f), expected) << neighbour.message();
}
INSTANTIATE_TEST_SUITE_P(Products, InjectedFailureTest, ::testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "library" : "own"); });

TEST_F(ModuleGpuTest, AStepThatCouldNotBeRunLeavesTheOneBeforeAndItsTokens) {
  const TinyModel model(TinyShape{}, false, 3);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Start()) << runner.message();
  const std::vector<int32_t> expected = Generate(&runner, 2, false, 1.0f);
  const std::vector<int32_t> prompt = RandomTokens(7, model.shape().vocabulary, 5);
  const Blocks blocks = ScatteredBlocks(runner.options(), 1, 0, 1);
  // Each of the calls of a decode step fails once.
  int64_t failed = 0;
  for (int64_t after = 1;; ++after) {
    StepBuilder first(1);
    first.Add(prompt, 0, blocks);
    first.Sample();
    ASSERT_TRUE(runner.Run(first.Step())) << runner.message();
    StepBuilder second(1);
    second.Add({-1}, static_cast<int32_t>(prompt.size()), blocks, 0);
    second.Sample();
    runner.table().inject_failure(runner.device(), after, cudaErrorUnknown, 0);
    const bool ran = runner.Run(second.Step());
    runner.table().inject_failure(runner.device(), 0, 0, 0);
    if (!ran) {
      ++failed;
      ASSERT_TRUE(runner.Run(second.Step())) << runner.message();  // once more
    }
    ASSERT_TRUE(runner.Finish()) << runner.message();
    EXPECT_EQ(first.result(0).token, expected[0]);
    ASSERT_TRUE(runner.Finish()) << runner.message();
    EXPECT_EQ(second.result(0).token, expected[1]);
    if (ran) break;
  }
  EXPECT_GE(failed, 3);
}

}  // namespace
}  // namespace tessera::gpu
