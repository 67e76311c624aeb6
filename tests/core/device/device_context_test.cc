// What a device is told of each step, word by word, and that nothing is allocated for it: this program counts
// every call of operator new.
#include "core/device/device_context.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "core/base/status.h"
#include "core/execute/local_executor.h"
#include "tests/core/device/device_rig.h"
#include "tests/doubles/counted_allocations.h"

namespace tessera {
namespace {

constexpr int32_t kMost = 8;  // rows, samples and sequences of a step

// What run_step was told last, and what is to be answered.
struct Told {
  int32_t steps = 0;
  int32_t rows = 0, sequences = 0, copies = 0, samples = 0;
  int32_t tokens[kMost], positions[kMost], sources[kMost];
  int32_t first_block = -1;
  tsr_device_copy copy = {};
  tsr_device_sample sample = {};
  float bias = 0;
  tsr_device_sample* results[2] = {};  // of the steps in flight, the oldest first
  int32_t flights = 0;
  int32_t fail_run = 0;  // an ErrorCode
  int32_t not_done = 0;  // so many times
};
Told told;

int32_t RunStep(tsr_device_context*, const tsr_device_step* step, tsr_device_failure* failure) {
  ++told.steps;
  told.rows = step->row_count;
  told.sequences = step->sequence_count;
  told.copies = step->copy_count;
  told.samples = step->sample_count;
  std::copy_n(step->tokens, step->row_count, told.tokens);
  std::copy_n(step->positions, step->row_count, told.positions);
  std::copy_n(step->sources, step->row_count, told.sources);
  told.first_block = step->sequences[0].blocks[0][0];
  if (step->copy_count > 0) told.copy = step->copies[0];
  if (step->sample_count > 0) {
    told.sample = step->samples[0];
    if (told.sample.bias_count > 0) told.bias = told.sample.bias[told.sample.bias_count - 1].bias;
  }
  if (told.fail_run != 0) {
    *failure = {};
    failure->code = told.fail_run;
    return failure->code;
  }
  told.results[told.flights++] = step->samples;
  return 0;
}

int32_t FinishStep(tsr_device_context*, int64_t, int32_t* done, tsr_device_failure*) {
  *done = told.not_done-- > 0 ? 0 : 1;
  if (*done == 0) return 0;
  tsr_device_sample& first = told.results[0][0];
  first.token = 77;
  first.logprob = -0.5f;
  first.top_count = 2;
  first.top_tokens[1] = 9;
  first.top_token_logprobs[1] = -3;
  std::swap(told.results[0], told.results[1]);
  --told.flights;
  return 0;
}

const tsr_device_functions* Functions() {
  static const tsr_device_functions functions = [] {
    tsr_device_functions table = *SimulatedDevice::Functions();
    table.run_step = RunStep;
    table.finish_step = FinishStep;
    return table;
  }();
  return &functions;
}

class Pausing final : public StopCondition {
 public:
  bool ShouldStop() noexcept override { return false; }
  bool ShouldPause() noexcept override { return true; }
};

class DeviceContextTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    told = {};
    backend_ = MakeDeviceBackend(*Device::Open(Functions(), {}));
    model_ =
        *LoadModel(FileOf(MakeTinyModel(ExactModel(TensorType::kBF16))), *backend_, SystemMemory(), nullptr);
    cache_.emplace(
        *KvCache::Create(model_->spec, {CacheType::kBF16, 4, 64, false}, backend_->memory().get()));
    BackendLimits limits;
    limits.max_rows = limits.max_samples = limits.max_sequences = kMost;
    limits.max_positions = 64;
    limits.block_tokens = 4;
    limits.cache_type = CacheType::kBF16;
    auto context = backend_->CreateContext(model_->spec, limits, model_->weights.get(), nullptr);
    ASSERT_TRUE(context.ok()) << context.status();
    executor_ = std::make_unique<LocalExecutor>(&model_->spec, model_->weights.get(), *std::move(context));
    params_.temperature = 0.25f;
    params_.seed = 42;
    params_.logit_bias = {{3, 1.5f}, {8, -2.5f}};
    params_.top_logprobs = 2;
  }
  void TearDown() override {
    executor_.reset();
    cache_.reset();
    model_.reset();
    backend_.reset();
    DeviceTest::TearDown();
  }

  // One row of one sequence, sampled.
  StepView Decode(int32_t token) {
    token_ = token;
    sequence_ = {0, 1, 5, &list_};
    sample_ = {};
    sample_.params = &params_;
    sample_.position = 6;
    StepView step;
    step.row_count = step.sequence_count = step.sample_count = step.copy_count = 1;
    step.tokens = &token_;
    step.positions = &position_;
    step.sources = &source_;
    step.sequences = &sequence_;
    step.caches = cache_->views();
    step.samples = &sample_;
    step.copies = &copy_;
    return step;
  }

  std::unique_ptr<Backend> backend_;
  std::shared_ptr<const LoadedModel> model_;
  std::optional<KvCache> cache_;
  std::unique_ptr<LocalExecutor> executor_;
  SamplingParams params_;
  const int32_t blocks_[2] = {6, 3};
  const int32_t* const list_ = blocks_;
  int32_t token_ = 0, position_ = 5, source_ = 0;
  SequenceView sequence_;
  SampleRow sample_;
  BlockCopy copy_ = {0, 2, 3};
};

TEST_F(DeviceContextTest, TellsEveryWordOfAStepAndBringsItsResults) {
  const StepView step = Decode(11);
  NeverStop never;
  ASSERT_TRUE(executor_->Begin(&step).ok());
  const auto done = executor_->Run(never);
  ASSERT_TRUE(done.ok() && *done);

  EXPECT_EQ(told.steps, 1);
  EXPECT_EQ(told.rows, 1);
  EXPECT_EQ(told.tokens[0], 11);
  EXPECT_EQ(told.positions[0], 5);
  EXPECT_EQ(told.sources[0], -1);
  EXPECT_EQ(told.first_block, 6);
  EXPECT_EQ(told.copy.from, 2);
  EXPECT_EQ(told.copy.to, 3);
  EXPECT_EQ(told.sample.temperature, 0.25f);
  EXPECT_EQ(told.sample.seed, 42u);
  EXPECT_EQ(told.sample.position, 6u);
  EXPECT_EQ(told.sample.bias_count, 2);
  EXPECT_EQ(told.bias, -2.5f);
  EXPECT_EQ(sample_.token, 77);
  EXPECT_EQ(sample_.logprob, -0.5f);
  EXPECT_EQ(sample_.top_count, 2);
  EXPECT_EQ(sample_.top_tokens[1], 9);
  EXPECT_EQ(sample_.top_logprobs[1], -3);
}

TEST_F(DeviceContextTest, ARowWhoseTokenNeverReachedTheDeviceGetsAnyOther) {
  const StepView first = Decode(11);
  told.fail_run = static_cast<int32_t>(ErrorCode::kInternal);
  NeverStop never;
  ASSERT_TRUE(executor_->Begin(&first).ok());
  Pausing pausing;
  EXPECT_EQ(CodeOf(executor_->Run(pausing).status()), ErrorCode::kInternal);
  told.fail_run = 0;
  const StepView second = Decode(kSampledToken);
  ASSERT_TRUE(executor_->Begin(&second).ok());
  const auto done = executor_->Run(never);
  ASSERT_TRUE(done.ok() && *done);
  EXPECT_EQ(told.tokens[0], 0);
  EXPECT_EQ(told.sources[0], -1);

  const StepView third = Decode(kSampledToken);
  ASSERT_TRUE(executor_->Begin(&third).ok());
  ASSERT_TRUE(executor_->Run(never).ok());
  EXPECT_EQ(told.tokens[0], kSampledToken);
  EXPECT_EQ(told.sources[0], 0);
}

TEST_F(DeviceContextTest, AStepThatBreaksItsLimitsNeverReachesTheDevice) {
  NeverStop never;
  const auto refused = [&](const StepView& step) {
    EXPECT_TRUE(executor_->Begin(&step).ok());
    EXPECT_EQ(CodeOf(executor_->Run(never).status()), ErrorCode::kInternal);
    EXPECT_EQ(told.steps, 0);
  };
  refused(Decode(kSampledToken));  // there was no step before
  refused(Decode(kTinyVocabulary));
  StepView step = Decode(1);
  step.copy_count = 1000;
  refused(step);
  step = Decode(1);
  sequence_.first_position = 64;
  refused(step);
}

TEST_F(DeviceContextTest, AllocatesNothingForAStep) {
  NeverStop never;
  Pausing pausing;
  int64_t before = 0;
  for (int i = 0; i < 100; ++i) {
    if (i == 1) before = CountedAllocations();  // the first step tells the device of the cache
    const StepView step = Decode(i == 0 ? 11 : kSampledToken);
    told.not_done = 3;
    ASSERT_TRUE(executor_->Begin(&step).ok());
    ASSERT_FALSE(*executor_->Run(pausing));
    ASSERT_TRUE(*executor_->Run(never));
  }
  EXPECT_GT(before, 0);
  EXPECT_EQ(CountedAllocations(), before);
  EXPECT_EQ(told.steps, 100);
}

}  // namespace
}  // namespace tessera
