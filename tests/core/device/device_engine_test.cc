// Engines on a device that computes by itself, two steps ahead: the same answers as the backend behind it
// gives, and what becomes of everybody when it fails.
#include <functional>

#include "core/base/status.h"
#include "tests/core/device/device_rig.h"

namespace tessera {
namespace {

constexpr auto kExact = TensorType::kBF16;

// Many requests at once, of all kinds.
void Submit(Rig& rig) {
  for (int i = 0; i < 6; ++i) {
    RequestParams params = GreedyParams(9 + i);
    if (i % 2 == 1) {
      params.sampling.temperature = 0.8f;
      params.sampling.seed = static_cast<uint64_t>(i);
      params.sampling.top_p = 0.9f;
    }
    if (i == 2) params.sampling.logit_bias = {{10, 3.0f}, {11, -1e9f}};
    if (i == 3) params.sampling.repetition_penalty = 1.3f;
    if (i == 4) params.sampling.top_logprobs = 3;
    rig.Generate(rig.SessionOf(TokensOf(i, 5 + static_cast<size_t>(i) * 9), i == 5), static_cast<uint64_t>(i),
                 params);
  }
}

void ExpectSame(Rig& rig, Rig& expected) {
  for (uint64_t tag = 0; tag < 6; ++tag) {
    EXPECT_EQ(rig.Of(tag).tokens, expected.Of(tag).tokens) << tag;
    EXPECT_EQ(rig.Of(tag).logprobs, expected.Of(tag).logprobs) << tag;
    EXPECT_EQ(rig.Of(tag).reason(), FinishReason::kLength);
    ASSERT_EQ(rig.Of(tag).tops.size(), expected.Of(tag).tops.size());
    for (size_t i = 0; i < rig.Of(tag).tops.size(); ++i) {
      for (size_t j = 0; j < rig.Of(tag).tops[i].size(); ++j) {
        EXPECT_EQ(rig.Of(tag).tops[i][j].token, expected.Of(tag).tops[i][j].token);
      }
    }
  }
}

TEST_F(DeviceTest, AnswersAsTheBackendThatComputesForIt) {
  for (const auto& [type, cache] :
       {std::pair{TensorType::kBF16, CacheType::kBF16}, std::pair{TensorType::kF16, CacheType::kF16},
        std::pair{TensorType::kBF16, CacheType::kInt8}}) {
    const std::vector<uint8_t> file = MakeTinyModel(ExactModel(type));
    const auto device = RigOnDevice(file, RigOptions(cache));
    const auto reference = RigOnReference(file, RigOptions(cache));
    Submit(*device);
    Submit(*reference);
    device->Run();
    reference->Run();
    ExpectSame(*device, *reference);
  }
  EXPECT_EQ(simulation.most_in_flight(), 2);
  EXPECT_GT(simulation.sampled_ahead(), 20);
}

TEST_F(DeviceTest, AnswersAlikeWithWindowsAndInManyGroups) {
  TinyModelOptions options = ExactModel(kExact);
  options.window_tokens = 12;
  const std::vector<uint8_t> file = MakeTinyModel(options);
  const auto device = RigOnDevice(file, RigOptions(CacheType::kBF16));
  const auto reference = RigOnReference(file, RigOptions(CacheType::kBF16));
  EXPECT_EQ(device->Answer(TokensOf(1, 50), GreedyParams(30)),
            reference->Answer(TokensOf(1, 50), GreedyParams(30)));
}

TEST_F(DeviceTest, ForksAndSharedBeginningsGoOnAsIfTheyHadBeenComputedAlone) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  const auto device = RigOnDevice(file, RigOptions(CacheType::kBF16));
  const auto reference = RigOnReference(file, RigOptions(CacheType::kBF16));
  const auto story = [](Rig& rig) {
    std::vector<std::vector<int32_t>> answers;
    const std::shared_ptr<Session> first = rig.SessionOf(TokensOf(1, 32));
    rig.Generate(first, 1, GreedyParams(7));
    rig.Run();
    const std::shared_ptr<Session> fork = *rig.engine->Fork(*first, false);
    const std::shared_ptr<Session> other = rig.SessionOf(TokensOf(1, 32));
    RequestParams drawn = GreedyParams(9);
    drawn.sampling.temperature = 1.0f;
    rig.Generate(first, 2, GreedyParams(9));
    rig.Generate(fork, 3, drawn);
    rig.Generate(other, 4, drawn);
    rig.Run();
    for (uint64_t tag = 1; tag <= 4; ++tag) answers.push_back(rig.Of(tag).tokens);
    return answers;
  };
  EXPECT_EQ(story(*device), story(*reference));
  EXPECT_GT(device->engine->GetMetrics().shared_tokens, 0u);
  EXPECT_GT(device->engine->GetMetrics().copied_blocks, 0u);
}

TEST_F(DeviceTest, CancelsReturnEveryBlock) {
  const auto rig = RigOnDevice(MakeTinyModel(ExactModel(kExact)), RigOptions(CacheType::kBF16));
  for (uint64_t round = 0; round < 40; ++round) {
    std::vector<std::shared_ptr<Session>> sessions;
    for (uint64_t i = 0; i < 4; ++i) {
      sessions.push_back(rig->SessionOf(TokensOf(static_cast<int>(round + i), 10 + 7 * i)));
      rig->Generate(sessions.back(), round * 4 + i, GreedyParams(20));
    }
    for (uint64_t step = 0; step < round % 7; ++step) rig->Step();
    for (uint64_t i = 0; i < 4; ++i) {
      if (i % 2 == 0) rig->engine->Cancel(*sessions[i], CancelEffect::kKeep);
      if (i % 2 == 1) rig->engine->ReleaseSession(*sessions[i]);
    }
    rig->Run();
    for (const auto& session : sessions) rig->engine->ReleaseSession(*session);
    rig->Step();
    const EngineMetrics metrics = rig->engine->GetMetrics();
    ASSERT_EQ(metrics.blocks_free, metrics.blocks_total) << round;
  }
}

TEST_F(DeviceTest, AFailureThatPassesEndsItsOwnBatchAndNeighboursNeverNotice) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  EngineOptions options = RigOptions(CacheType::kBF16);
  options.batch_sequences = 2;
  const auto reference = RigOnReference(file, options);
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < 4; ++i) expected.push_back(reference->Answer(TokensOf(i, 20), GreedyParams(10)));
  // At the handing over of a step, and in its computation.
  const std::function<void(int64_t)> failures[] = {
      [](int64_t n) { SimulatedDevice::Get().FailCall(n); },
      [](int64_t n) { SimulatedDevice::Get().FailComputation(n); }};
  int ended = 0;
  for (const auto& fail : failures) {
    for (int64_t nth = 1; nth < 24; ++nth) {
      const auto rig = RigOnDevice(file, options);
      const std::shared_ptr<Session> bystander = rig->SessionOf(TokensOf(1, 20));
      rig->Generate(bystander, 9, GreedyParams(4));
      rig->Run();
      std::vector<std::shared_ptr<Session>> sessions;
      for (int i = 0; i < 4; ++i) {
        sessions.push_back(i == 1 ? bystander : rig->SessionOf(TokensOf(i, 20)));
        rig->Generate(sessions.back(), static_cast<uint64_t>(i), GreedyParams(i == 1 ? 6 : 10));
      }
      fail(nth);
      rig->Run();
      SimulatedDevice::Get().FailCall(0);
      SimulatedDevice::Get().FailComputation(0);
      int failed = 0;
      for (int i = 0; i < 4; ++i) {
        const ReadEvents& events = rig->Of(static_cast<uint64_t>(i));
        ASSERT_EQ(events.terminals, 1);
        std::vector<int32_t> tokens = events.tokens;
        if (i == 1) tokens.insert(tokens.begin(), expected[1].begin(), expected[1].begin() + 4);
        if (events.reason() == FinishReason::kLength) {
          EXPECT_EQ(tokens, expected[static_cast<size_t>(i)]) << nth;
          continue;
        }
        ++failed;
        EXPECT_EQ(events.finished.status, static_cast<int32_t>(ErrorCode::kInternal));
        // What was there before the failure stays, and the session goes on from it.
        const auto left = static_cast<int64_t>(10 - tokens.size());
        rig->Generate(sessions[static_cast<size_t>(i)], 20 + static_cast<uint64_t>(i), GreedyParams(left));
        rig->Run();
        const std::vector<int32_t>& rest = rig->Of(20 + static_cast<uint64_t>(i)).tokens;
        tokens.insert(tokens.end(), rest.begin(), rest.end());
        EXPECT_EQ(tokens, expected[static_cast<size_t>(i)]) << nth;
      }
      EXPECT_LE(failed, 2);
      ended += failed;
      EXPECT_FALSE(rig->engine->GetMetrics().requests_running);
    }
  }
  EXPECT_GT(ended, 20);
}

TEST_F(DeviceTest, ThatIsLostAnswersEveryRequestAndOtherEnginesGoOn) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  const auto cpu = RigOnReference(file, RigOptions(CacheType::kBF16));
  const std::vector<int32_t> expected = cpu->Answer(TokensOf(3, 9), GreedyParams(9));
  for (int64_t nth = 1; nth < 12; ++nth) {
    simulation.Reset();
    EngineOptions options = RigOptions(CacheType::kBF16);
    options.batch_sequences = 2;
    const auto rig = RigOnDevice(file, options);
    for (uint64_t tag = 0; tag < 5; ++tag) {
      rig->Generate(rig->SessionOf(TokensOf(static_cast<int>(tag), 30)), tag, GreedyParams(30));
    }
    simulation.FailCall(nth, true);
    rig->Run();
    for (uint64_t tag = 0; tag < 5; ++tag) {
      ASSERT_EQ(rig->Of(tag).terminals, 1);
      EXPECT_EQ(rig->Of(tag).finished.status, static_cast<int32_t>(ErrorCode::kLost));
    }
    EXPECT_EQ(CodeOf(rig->engine->CreateSession(false).status()), ErrorCode::kLost);
    EXPECT_EQ(cpu->Answer(TokensOf(3, 9), GreedyParams(9)), expected);
  }
}

TEST_F(DeviceTest, ThatHasNoRoomForAnEngineSaysSoAndOthersGoOn) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  const auto rig = RigOnDevice(file, RigOptions(CacheType::kBF16));
  const std::vector<int32_t> expected = rig->Answer(TokensOf(3, 9), GreedyParams(9));
  EngineOptions large = RigOptions(CacheType::kBF16);
  large.cache_tokens = 1 << 20;
  const uint64_t before = simulation.live_bytes();
  simulation.SetMemory(before + 100000);
  const absl::Status status =
      Engine::Create(rig->model, rig->backend, large, MonotonicClock(), SystemMemory(), Logger()).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kOutOfMemory);
  EXPECT_EQ(PlaceOf(status), "KV cache");
  EXPECT_NE(status.message().find("100000 of"), absl::string_view::npos) << status;
  EXPECT_EQ(simulation.live_bytes(), before);
  EXPECT_EQ(rig->Answer(TokensOf(3, 9), GreedyParams(9)), expected);
}

TEST_F(DeviceTest, RefusesWhatItCannotDoByName) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  const auto rig = RigOnDevice(file, RigOptions(CacheType::kBF16));
  const auto refused = [&](const EngineOptions& options) {
    const auto engine =
        Engine::Create(rig->model, rig->backend, options, MonotonicClock(), SystemMemory(), Logger());
    EXPECT_EQ(CodeOf(engine.status()), ErrorCode::kUnsupported) << engine.status();
    return std::string(PlaceOf(engine.status()));
  };
  EXPECT_EQ(refused(RigOptions(CacheType::kF32)), "setting 'engine.cache_type'");
  EngineOptions ranks = RigOptions(CacheType::kBF16);
  ranks.ranks.tensor_parallel = 2;
  EXPECT_EQ(refused(ranks), "setting 'engine.tensor_parallel'");
  ranks.ranks = {};
  ranks.ranks.pipeline = 2;
  EXPECT_EQ(refused(ranks), "setting 'engine.pipeline'");
}

TEST_F(DeviceTest, SavesTokensAloneAndTakesStatesOfOtherBackends) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  const auto device = RigOnDevice(file, RigOptions(CacheType::kBF16));
  const auto reference = RigOnReference(file, RigOptions(CacheType::kBF16));
  const auto run = [](Rig& rig) {
    const std::shared_ptr<Session> session = rig.SessionOf(TokensOf(1, 20));
    rig.Generate(session, 1, GreedyParams(5));
    rig.Run();
    std::vector<uint8_t> state(1 << 20);
    size_t size = 0;
    EXPECT_TRUE(rig.engine->Save(*session, true, absl::MakeSpan(state), &size).ok());
    state.resize(size);
    return state;
  };
  const std::vector<uint8_t> of_device = run(*device), of_reference = run(*reference);
  EXPECT_LT(of_device.size(), 1000u);
  EXPECT_GT(of_reference.size(), of_device.size());
  const auto expected = reference->Answer(TokensOf(1, 20), GreedyParams(12));
  for (const auto& state : {of_device, of_reference}) {
    const auto restored = device->engine->Restore(state, true, false);
    ASSERT_TRUE(restored.ok()) << restored.status();
    const uint64_t tag = 50 + state.size();
    device->Generate(*restored, tag, GreedyParams(7));
    device->Run();
    EXPECT_EQ(device->Of(tag).tokens, std::vector<int32_t>(expected.begin() + 5, expected.end()));
  }
}

TEST_F(DeviceTest, SaysInItsMetricsHowLongItComputed) {
  const auto rig = RigOnDevice(MakeTinyModel(ExactModel(kExact)), RigOptions(CacheType::kBF16));
  rig->Answer(TokensOf(1, 20), GreedyParams(6));
  const EngineMetrics metrics = rig->engine->GetMetrics();
  EXPECT_GE(metrics.device.steps, metrics.batches);
  EXPECT_EQ(metrics.device.busy_ns, metrics.device.steps * 1000);
  EXPECT_EQ(metrics.device.idle_ns, metrics.device.steps * 10);
  EXPECT_EQ(metrics.device.region_ns[7], metrics.device.steps * 8);
}

TEST_F(DeviceTest, AStepThatIsHeldUpLeavesTheBudgetKept) {
  const auto rig = RigOnDevice(MakeTinyModel(ExactModel(kExact)), RigOptions(CacheType::kBF16));
  rig->Generate(rig->SessionOf(TokensOf(1, 10)), 1, GreedyParams(4));
  simulation.HoldSteps(true);
  StepStats stats;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(rig->engine->Step(1000, &stats).ok());
    EXPECT_TRUE(stats.work_left);
    EXPECT_EQ(stats.prompt_tokens, 0u);
  }
  simulation.HoldSteps(false);
  rig->Run();
  EXPECT_EQ(rig->Of(1).tokens.size(), 4u);
}

TEST_F(DeviceTest, PlansWhatItTakes) {
  const std::vector<uint8_t> file = MakeTinyModel(ExactModel(kExact));
  const auto rig = RigOnDevice(file, RigOptions(CacheType::kBF16));
  const auto header = ReadModelHeader(FileOf(file));
  ASSERT_TRUE(header.ok());
  const auto planner = MakeDevicePlanner(SimulatedDevice::Functions());
  const auto plan = PlanEngine(*header, *planner, RigOptions(CacheType::kBF16), {}, SpeedModel());
  ASSERT_TRUE(plan.ok()) << plan.status();
  const EngineMetrics metrics = rig->engine->GetMetrics();
  EXPECT_EQ(plan->device_bytes(),
            rig->model->weights->size_bytes() + metrics.cache_bytes + metrics.scratch_bytes);
  EXPECT_EQ(plan->host_bytes(), plan->pinned_bytes + plan->object_bytes);
  EXPECT_GT(plan->pinned_bytes, 0u);
  PlanBudgets budgets;
  budgets.device_bytes = plan->device_bytes();
  const auto bounded = PlanEngine(*header, *planner, RigOptions(CacheType::kBF16), budgets, SpeedModel());
  EXPECT_EQ(bounded->fitting_cache_tokens, bounded->cache_tokens);
}

}  // namespace
}  // namespace tessera
