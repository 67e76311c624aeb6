// What the CUDA module takes, by its table: the host's memory and the device's, the device itself, its
// streams, and calls in an order that cannot be.
#include <thread>

#include "core/base/status.h"
#include "tests/gpu/module_runner.h"
#include "tests/gpu/module_steps.h"
#include "tests/gpu/tiny_model.h"

namespace tessera::gpu {
namespace {

class ModuleMemoryTest : public GpuTest {};

TEST_F(ModuleMemoryTest, AContextTakesExactlyWhatWasPlannedAndGivesEverythingBack) {
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

TEST_F(ModuleMemoryTest, AHostWithoutMemoryIsToldHowMuchWasWanted) {
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

TEST_F(ModuleMemoryTest, TheDevicesOwnMemoryRunningOutSaysWhatIsFree) {
  const TinyModel model(TinyShape{}, false, 2);
  ModuleRunner runner(model, RunnerOptions{});
  ASSERT_TRUE(runner.Open(nullptr)) << runner.message();

  EXPECT_EQ(runner.Allocate(0, size_t{1} << 46), nullptr);

  EXPECT_EQ(runner.failure().code, static_cast<int32_t>(ErrorCode::kOutOfMemory));
  EXPECT_NE(runner.message().find("70368744177664 bytes"), std::string::npos) << runner.message();
  EXPECT_NE(runner.message().find("are free"), std::string::npos) << runner.message();
}

TEST_F(ModuleMemoryTest, MemoryIsZeroedAndUploadsOfManyThreadsArriveWhole) {
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

TEST_F(ModuleMemoryTest, ADeviceIsFoundByItsUuidAndADeviceThatIsNotThereIsNotFound) {
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

TEST_F(ModuleMemoryTest, StepsRunOnTheHostsStreamAndTheHostsDeviceStaysCurrent) {
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

TEST_F(ModuleMemoryTest, OutOfTurnCallsAreRefusedAndChangeNothing) {
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

}  // namespace
}  // namespace tessera::gpu
