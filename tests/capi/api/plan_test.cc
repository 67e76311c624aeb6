// tsr_plan: what it says of a model's header is what loading and running the model takes.
#include <gtest/gtest.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

class Runtime {
 public:
  Runtime() {
    tsr_runtime* runtime = nullptr;
    EXPECT_EQ(tsr_runtime_create(nullptr, &runtime, nullptr), TSR_STATUS_OK);
    runtime_.reset(runtime);
  }
  tsr_runtime* get() const { return runtime_.get(); }

 private:
  Handle<tsr_runtime> runtime_;
};

tsr_plan EmptyPlan() {
  tsr_plan plan;
  std::memset(&plan, 0xEE, sizeof plan);
  plan.struct_size = sizeof plan;
  return plan;
}

tsr_plan PlanOf(const std::vector<uint8_t>& model, const Options& options) {
  const Runtime runtime;
  tsr_plan plan = EmptyPlan();
  const Outcome outcome = Try([&](tsr_error** error) {
    return tsr_plan_memory(runtime.get(), model.data(), model.size(), options.get(), &plan, error);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  return plan;
}

// What the same settings give when they are carried out; `settings` sets the engine's.
template <typename Settings>
void ExpectPlanToHold(const std::vector<uint8_t>& model, const std::string& device, Settings&& settings) {
  Options all, engine_only;
  all.String("model.device", device);
  settings(all);
  settings(engine_only);
  const tsr_plan plan = PlanOf(model, all);

  const Host host(model, Options().String("model.device", device));
  const Handle<tsr_engine> engine = host.Engine(engine_only);
  tsr_model_info info = {};
  info.struct_size = sizeof info;
  ASSERT_EQ(tsr_model_get_info(host.model(), &info, nullptr), TSR_STATUS_OK);
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof metrics;
  ASSERT_EQ(tsr_engine_get_metrics(engine.get(), &metrics, nullptr), TSR_STATUS_OK);

  EXPECT_EQ(plan.host_weight_bytes, info.weight_bytes);
  EXPECT_EQ(plan.weight_bytes_per_token, info.bytes_per_token);
  EXPECT_EQ(plan.host_cache_bytes, metrics.cache_bytes);
  EXPECT_EQ(plan.host_scratch_bytes, metrics.scratch_bytes);
  EXPECT_EQ(plan.cache_tokens, metrics.blocks_total * metrics.block_tokens);
  EXPECT_EQ(plan.cache_bytes_per_token * static_cast<uint64_t>(plan.cache_tokens), metrics.cache_bytes);
  EXPECT_EQ(plan.host_bytes, plan.host_weight_bytes + plan.host_cache_bytes + plan.host_scratch_bytes +
                                 plan.host_object_bytes);
  EXPECT_GT(plan.host_object_bytes, 0u);
  EXPECT_EQ(plan.device_bytes, 0u);
  EXPECT_EQ(plan.nvme_bytes, 0u);
}

TEST(Plan, SaysToTheByteWhatWeightsCacheAndScratchTake) {
  TinyModelOptions windowed;
  windowed.window_tokens = 32;
  const std::vector<std::vector<uint8_t>> models = {MakeTinyModel(), MakeTinyModel(TinyQwen2Options()),
                                                    MakeTinyModel(windowed),
                                                    MakeTinyModel(TinyOptionsOfType(TensorType::kQ4_0)),
                                                    MakeTinyModel(TinyOptionsOfType(TensorType::kQ6_K))};
  for (size_t i = 0; i < models.size(); ++i) {
    SCOPED_TRACE(i);
    for (const std::string device : {"cpu", "reference"}) {
      SCOPED_TRACE(device);
      ExpectPlanToHold(models[i], device, [](Options&) {});
      ExpectPlanToHold(models[i], device, [](Options& options) {
        options.Int("engine.threads", 2).Int("engine.cache_tokens", 1000).String("engine.cache_type", "f32");
        options.Int("engine.batch_tokens", 32).Int("engine.batch_sequences", 4).Bool("engine.stepped", true);
      });
      ExpectPlanToHold(models[i], device, [](Options& options) {
        options.String("engine.activations", "f32").Int("engine.context_tokens", 64);
        options.Bool("engine.share_prefixes", false).Int("engine.threads", 1);
      });
    }
  }
}

// A host's reader over bytes in memory that notes what is asked of it.
struct Reader {
  std::vector<uint8_t> bytes;
  uint64_t read_bytes = 0;
  uint64_t furthest = 0;
  int drops = 0;
  tsr_reader Table() {
    tsr_reader table = {};
    table.struct_size = sizeof table;
    table.user = this;
    table.size_bytes = bytes.size();
    table.drop = [](void* user) { ++static_cast<Reader*>(user)->drops; };
    table.read_at = [](void* user, uint64_t offset, void* buffer, size_t size) -> int64_t {
      auto* const self = static_cast<Reader*>(user);
      std::memcpy(buffer, self->bytes.data() + offset, size);
      self->read_bytes += size;
      self->furthest = std::max(self->furthest, offset + size);
      return static_cast<int64_t>(size);
    };
    return table;
  }
};

TEST(Plan, ReadsTheHeaderAndNoneOfTheWeights) {
  TinyModelOptions options;  // some 20 MB of weights
  options.hidden = 512;
  options.heads = 16;
  options.feed_forward = 2048;
  Reader reader;
  reader.bytes = MakeTinyModel(options);
  const tsr_reader table = reader.Table();
  const Runtime runtime;
  tsr_plan plan = EmptyPlan();
  ASSERT_EQ(tsr_plan_reader(runtime.get(), &table, nullptr, &plan, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(reader.drops, 1);
  // The header is some tens of kilobytes; a file is read in pieces of 256 KiB.
  constexpr uint64_t kMost = 600 << 10;
  EXPECT_LT(reader.read_bytes, kMost);
  EXPECT_LT(reader.furthest, kMost);
  EXPECT_GT(plan.host_weight_bytes, 20 * kMost);
}

TEST(Plan, SaysTheSameOfEverySource) {
  const std::vector<uint8_t> model = MakeTinyModel();
  const Runtime runtime;
  char path[] = "/tmp/tessera_plan_XXXXXX";
  const int descriptor = mkstemp(path);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(write(descriptor, model.data(), model.size()), static_cast<ssize_t>(model.size()));
  Reader reader;
  reader.bytes = model;
  const tsr_reader table = reader.Table();
  const Options options = Options().Int("engine.threads", 1).Int("plan.read_bandwidth", 10'000'000'000);

  std::vector<tsr_plan> plans(4, EmptyPlan());
  EXPECT_EQ(tsr_plan_file(runtime.get(), path, std::strlen(path), options.get(), &plans[0], nullptr),
            TSR_STATUS_OK);
  EXPECT_EQ(tsr_plan_descriptor(runtime.get(), descriptor, 0, 0, options.get(), &plans[1], nullptr),
            TSR_STATUS_OK);
  EXPECT_EQ(tsr_plan_memory(runtime.get(), model.data(), model.size(), options.get(), &plans[2], nullptr),
            TSR_STATUS_OK);
  EXPECT_EQ(tsr_plan_reader(runtime.get(), &table, options.get(), &plans[3], nullptr), TSR_STATUS_OK);
  close(descriptor);
  std::remove(path);
  for (const tsr_plan& plan : plans) EXPECT_EQ(std::memcmp(&plan, &plans[0], sizeof plan), 0);
}

TEST(Plan, FindsTheLargestCacheThatABudgetHolds) {
  const std::vector<uint8_t> model = MakeTinyModel();
  const auto with_cache = [&](int64_t tokens) {
    return PlanOf(model, Options().Int("engine.threads", 2).Int("engine.cache_tokens", tokens)).host_bytes;
  };
  for (const int64_t wanted : {16, 160, 4096, 100000}) {
    for (const int64_t more : {0, 1, 1000}) {
      const uint64_t budget = with_cache(wanted) + static_cast<uint64_t>(more);
      const tsr_plan plan = PlanOf(
          model, Options().Int("engine.threads", 2).Int("plan.host_bytes", static_cast<int64_t>(budget)));
      EXPECT_GE(plan.fitting_cache_tokens, wanted);
      EXPECT_LE(with_cache(plan.fitting_cache_tokens), budget);
      EXPECT_GT(with_cache(plan.fitting_cache_tokens + 16), budget);
    }
  }
}

TEST(Plan, SaysWhetherTheSettingsFitTheBudget) {
  const std::vector<uint8_t> model = MakeTinyModel();
  const auto bytes = static_cast<int64_t>(PlanOf(model, {}).host_bytes);
  EXPECT_EQ(PlanOf(model, {}).fits, 1);
  EXPECT_EQ(PlanOf(model, Options().Int("plan.host_bytes", bytes)).fits, 1);
  EXPECT_EQ(PlanOf(model, Options().Int("plan.host_bytes", bytes - 1)).fits, 0);
  EXPECT_EQ(PlanOf(model, Options().Int("plan.host_bytes", 1)).fitting_cache_tokens, 0);
}

TEST(Plan, ExpectsNoSpeedOfAMachineItKnowsNothingOf) {
  const tsr_plan plan = PlanOf(MakeTinyModel(), {});
  EXPECT_EQ(plan.decode_tokens_per_second, 0);
  EXPECT_EQ(plan.decode_tokens_per_second_full, 0);
  EXPECT_EQ(plan.prompt_tokens_per_second, 0);
}

TEST(Plan, ExpectsASpeedInProportionToTheBandwidth) {
  const std::vector<uint8_t> model = MakeTinyModel(TinyOptionsOfType(TensorType::kF32));
  const auto plan = [&](int64_t bandwidth) {
    return PlanOf(model, Options().Int("engine.threads", 1).Int("plan.read_bandwidth", bandwidth));
  };
  const tsr_plan slow = plan(1'000'000), fast = plan(2'000'000);
  EXPECT_NEAR(fast.decode_tokens_per_second / slow.decode_tokens_per_second, 2, 0.01);
  EXPECT_LT(slow.decode_tokens_per_second * static_cast<double>(slow.weight_bytes_per_token), 1'000'000);
  EXPECT_LT(slow.decode_tokens_per_second_full, slow.decode_tokens_per_second);
  EXPECT_EQ(slow.prompt_tokens_per_second, 0) << "nothing was said of arithmetic";
}

TEST(Plan, MeasuresTheMachineWhenAsked) {
  const tsr_plan plan =
      PlanOf(MakeTinyModel(TinyOptionsOfType(TensorType::kQ4_0)), Options().Bool("plan.probe", true));
  EXPECT_GT(plan.read_bandwidth, 0);
  EXPECT_GT(plan.products_per_second, 0);
  EXPECT_GT(plan.decode_tokens_per_second, 0);
  EXPECT_GT(plan.prompt_tokens_per_second, 0);
}

TEST(Plan, TakesTheHostsWordBeforeAProbe) {
  const tsr_plan plan =
      PlanOf(MakeTinyModel(), Options().Bool("plan.probe", true).Int("plan.read_bandwidth", 12345));
  EXPECT_EQ(plan.read_bandwidth, 12345);
  EXPECT_GT(plan.products_per_second, 0);
}

TEST(Plan, AnswersWhatTheLoadWouldAnswer) {
  std::vector<uint8_t> broken = MakeTinyModel();
  broken.resize(broken.size() / 2);  // weights behind the end
  const Runtime runtime;
  tsr_plan plan = EmptyPlan();
  const auto try_plan = [&](const std::vector<uint8_t>& model, const Options& options) {
    return Try([&](tsr_error** error) {
      return tsr_plan_memory(runtime.get(), model.data(), model.size(), options.get(), &plan, error);
    });
  };
  EXPECT_EQ(try_plan(broken, {}).code, TSR_STATUS_CORRUPT);
  const Outcome wrong_call = try_plan(MakeTinyModel(), Options().Int("request.max_tokens", 1));
  EXPECT_EQ(wrong_call.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(wrong_call.place, "setting 'request.max_tokens'");
  EXPECT_EQ(Try([&](tsr_error** error) {
              return tsr_plan_file(runtime.get(), "/no/such", 8, nullptr, &plan, error);
            }).code,
            TSR_STATUS_NOT_FOUND);
  EXPECT_EQ(plan.host_bytes, 0xEEEEEEEEEEEEEEEEu) << "written although the call failed";
}

TEST(Plan, DropsAReaderOnceAlsoWhenThePlanFails) {
  Reader reader;
  reader.bytes = std::vector<uint8_t>(100, 7);
  const tsr_reader table = reader.Table();
  const Runtime runtime;
  tsr_plan plan = EmptyPlan();
  EXPECT_EQ(tsr_plan_reader(runtime.get(), &table, nullptr, &plan, nullptr), TSR_STATUS_CORRUPT);
  EXPECT_EQ(reader.drops, 1);
  EXPECT_EQ(tsr_plan_reader(runtime.get(), &table, nullptr, nullptr, nullptr), TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(reader.drops, 2);
}

TEST(Plan, FillsNoMoreThanTheHostsStructureHas) {
  const std::vector<uint8_t> model = MakeTinyModel();
  const Runtime runtime;
  tsr_plan plan = EmptyPlan();
  plan.struct_size = offsetof(tsr_plan, host_cache_bytes);
  ASSERT_EQ(tsr_plan_memory(runtime.get(), model.data(), model.size(), nullptr, &plan, nullptr),
            TSR_STATUS_OK);
  EXPECT_NE(plan.host_weight_bytes, 0xEEEEEEEEEEEEEEEEu);
  EXPECT_EQ(plan.host_cache_bytes, 0xEEEEEEEEEEEEEEEEu);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

size_t HeapBytes() {
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

// Regions of memory are what weights, cache and scratch are; everything else is on the heap.
TEST(Plan, CountsTheHeapsObjectsOfARealModelWithinTwoPercentOfTheWhole) {
  const char* const path = std::getenv("TESSERA_MODEL_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 names no model";
  const auto settings = [](Options options) {
    return options.Bool("engine.stepped", true).Int("engine.threads", 2).Int("engine.cache_tokens", 1024);
  };
  const Runtime runtime;
  tsr_plan plan = EmptyPlan();
  ASSERT_EQ(tsr_plan_file(runtime.get(), path, std::strlen(path), settings(Options()).get(), &plan, nullptr),
            TSR_STATUS_OK);
  const size_t before = HeapBytes();
  tsr_model* model = nullptr;
  ASSERT_EQ(tsr_model_load_file(runtime.get(), path, std::strlen(path), nullptr, &model, nullptr),
            TSR_STATUS_OK);
  const Handle<tsr_model> owner(model);
  tsr_engine* engine = nullptr;
  ASSERT_EQ(tsr_engine_create(model, settings(Options()).get(), &engine, nullptr), TSR_STATUS_OK);
  const Handle<tsr_engine> engine_owner(engine);
  const auto heap = static_cast<double>(HeapBytes() - before);
  EXPECT_NEAR(static_cast<double>(plan.host_object_bytes), heap, 0.1 * heap);
  EXPECT_NEAR(static_cast<double>(plan.host_object_bytes), heap, 0.02 * static_cast<double>(plan.host_bytes));
}

#endif

}  // namespace
}  // namespace tessera::host
