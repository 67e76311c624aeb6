// The CUDA module when calls of the device fail, whichever: what it says, and that the others go on.
#include "core/base/status.h"
#include "tests/gpu/module_runner.h"
#include "tests/gpu/module_steps.h"
#include "tests/gpu/tiny_model.h"

namespace tessera::gpu {
namespace {

class ModuleFailureTest : public GpuTest {};

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

TEST_F(ModuleFailureTest, AStepThatCouldNotBeRunLeavesTheOneBeforeAndItsTokens) {
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
