// The CUDA module from end to end, by its table: a tiny model's logits and tokens, and steps in flight.
#include "tests/gpu/module_runner.h"
#include "tests/gpu/module_steps.h"
#include "tests/gpu/tiny_model.h"

namespace tessera::gpu {
namespace {

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

}  // namespace
}  // namespace tessera::gpu
