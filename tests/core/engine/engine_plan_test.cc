// A plan's arithmetic: seconds by hand from a speed model whose shares are known.
#include "core/engine/engine_plan.h"

#include <gtest/gtest.h>

#include "tests/doubles/simulated_backend.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

constexpr int kLayers = 2, kRegions = 3 + 5 * kLayers;

TinyModelOptions PlainOptions() {
  TinyModelOptions options;
  options.layers = kLayers;
  options.tied_head = false;
  return options;
}

EngineOptions Options() {
  EngineOptions options;
  options.cache_type = CacheType::kF32;
  options.context_tokens = 128;
  options.batch_tokens = 32;
  return options;
}

ModelHeader HeaderOf(const TinyModelOptions& options) {
  absl::StatusOr<ModelHeader> header = ReadModelHeader(FileOf(MakeTinyModel(options)));
  EXPECT_TRUE(header.ok()) << header.status();
  return *std::move(header);
}

EnginePlan PlanOf(const ModelHeader& model, const SpeedModel& speed) {
  const SimulatedBackend backend(std::make_shared<Simulation>());
  const absl::StatusOr<EnginePlan> plan = PlanEngine(model, backend, Options(), {}, speed);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

// The bytes of all tensors but the embedding, of which one row is read.
double WeightBytes(const ModelSpec& spec) {
  return static_cast<double>(spec.bytes_per_token()) - spec.hidden_size * 4.0;
}

TEST(EnginePlan, DecodesAtTheBytesOfWeightsAndCacheOverTheBandwidth) {
  const ModelHeader model = HeaderOf(PlainOptions());
  SpeedModel speed;
  speed.machine.read_bytes_per_second = 1e6;
  const EnginePlan plan = PlanOf(model, speed);
  EXPECT_NEAR(1 / plan.decode_tokens_per_second, WeightBytes(model.spec) / 1e6, 1e-9);
  // One key and one value head of 32 in F32, two layers, 128 tokens.
  const double cache = 128.0 * kLayers * 2 * 32 * 4;
  EXPECT_EQ(plan.cache_bytes_per_token * 128.0, cache);
  EXPECT_NEAR(1 / plan.decode_tokens_per_second_full, (WeightBytes(model.spec) + cache) / 1e6, 1e-9);
}

TEST(EnginePlan, ReadsNoMoreOfTheCacheThanAWindow) {
  TinyModelOptions options = PlainOptions();
  options.window_tokens = 16;
  const ModelHeader model = HeaderOf(options);
  SpeedModel speed;
  speed.machine.read_bytes_per_second = 1e6;
  double cache = 0;
  for (const CacheGroupSpec& group : model.spec.cache_groups) {
    const double seen = group.window_tokens == 0 ? 128 : 16;
    cache += seen * static_cast<double>(group.layers.size()) * 2 * 32 * 4;
  }
  EXPECT_LT(cache, 128.0 * kLayers * 2 * 32 * 4);
  const EnginePlan plan = PlanOf(model, speed);
  EXPECT_NEAR(1 / plan.decode_tokens_per_second_full, (WeightBytes(model.spec) + cache) / 1e6, 1e-9);
}

TEST(EnginePlan, CountsWhatEveryRegionCosts) {
  const ModelHeader model = HeaderOf(PlainOptions());
  SpeedModel speed;
  speed.machine.read_bytes_per_second = 1e30;
  speed.region_seconds = 0.5;
  EXPECT_NEAR(1 / PlanOf(model, speed).decode_tokens_per_second, kRegions * 0.5, 1e-9);
}

TEST(EnginePlan, DecodesAtTheSlowerOfReadingAndArithmetic) {
  const ModelHeader model = HeaderOf(PlainOptions());
  SpeedModel speed;
  speed.machine.read_bytes_per_second = 1e30;
  speed.machine.products_per_second = 1e6;
  speed.types[0].row = 0.5;  // F32: 4 bytes for each product
  EXPECT_NEAR(1 / PlanOf(model, speed).decode_tokens_per_second, WeightBytes(model.spec) / 4 / 0.5e6, 1e-9);
}

TEST(EnginePlan, ComputesAPromptAtItsProductsOverTheirRate) {
  const ModelHeader model = HeaderOf(PlainOptions());
  SpeedModel speed;
  speed.machine.read_bytes_per_second = 1e30;
  speed.machine.products_per_second = 1e6;
  speed.types[0].products = 0.25;
  const ModelSpec& spec = model.spec;
  const TensorSpec& head = spec.tensors[static_cast<size_t>(spec.head)];
  const double head_products = static_cast<double>(head.rows * head.columns);
  const double others = WeightBytes(spec) / 4 - head_products;
  const double attention = 32.0 * 32 * kLayers * 2 * 32;  // two heads of 32
  const double seconds = (others * 32 / 0.25 + head_products + attention) / 1e6;
  EXPECT_NEAR(PlanOf(model, speed).prompt_tokens_per_second, 32 / seconds, 1e-6 * 32 / seconds);
}

}  // namespace
}  // namespace tessera
