// Finding a module and a device of it: what there is, and what is said where there is none.
#include "core/device/device.h"

#include "core/base/status.h"
#include "core/device/device_module_loader.h"
#include "tests/core/device/device_rig.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

absl::Status StatusOfOpen(const DeviceChoice& choice) {
  DeviceOptions options;
  options.choice = choice;
  return Device::Open(SimulatedDevice::Functions(), options).status();
}

TEST(DeviceModule, ThatIsNotThereIsUnsupportedAndNamesItsFile) {
  const absl::Status status = LoadDeviceModule(TESSERA_NO_MODULES).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("libtessera_cuda.so"), absl::string_view::npos) << status;
}

TEST(DeviceModule, OfAnotherBuildIsRefused) {
  const absl::Status status = LoadDeviceModule(TESSERA_OTHER_BUILD_MODULES).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("another-build"), absl::string_view::npos) << status;
}

TEST(DeviceModule, OfThisBuildIsTaken) {
  const auto functions = LoadDeviceModule(TESSERA_THIS_BUILD_MODULES);
  ASSERT_TRUE(functions.ok()) << functions.status();
  EXPECT_STREQ((*functions)->kind, "cuda");
}

TEST(DeviceModule, ItsFailuresBecomeStatusesWithTheirPlace) {
  tsr_device_failure failure = {};
  failure.code = static_cast<int32_t>(ErrorCode::kOutOfMemory);
  std::strcpy(failure.message, "GPU 3: no room");
  failure.place_bytes = 5;
  EXPECT_EQ(CodeOf(StatusOf(failure)), ErrorCode::kOutOfMemory);
  EXPECT_EQ(PlaceOf(StatusOf(failure)), "GPU 3");
  EXPECT_EQ(StatusOf(failure).message(), "GPU 3: no room");
  failure.code = 0;  // it failed all the same
  failure.place_bytes = 1 << 20;
  EXPECT_EQ(CodeOf(StatusOf(failure)), ErrorCode::kInternal);
}

TEST(DeviceChoice, IsReadFromItsName) {
  EXPECT_EQ(ParseDeviceChoice("cuda")->index, -1);
  EXPECT_EQ(ParseDeviceChoice("cuda:0")->index, 0);
  EXPECT_EQ(ParseDeviceChoice("cuda:17")->index, 17);
  EXPECT_EQ(ParseDeviceChoice("GPU-4f")->uuid, "GPU-4f");
  for (const char* wrong : {"", "cpu", "cuda:", "cuda:-1", "cuda:1x", "cuda:99999999999", "GPU-", "gpu"}) {
    EXPECT_FALSE(ParseDeviceChoice(wrong).has_value()) << wrong;
  }
}

TEST_F(DeviceTest, IsFoundByNumberByNameAndAsTheFirstThatIsUsable) {
  simulation.SetDevices(3, 0);
  const auto opened = [](const DeviceChoice& choice) {
    DeviceOptions options;
    options.choice = choice;
    return OpenSimulated(options)->info();
  };
  EXPECT_EQ(opened({}).index, 1);
  EXPECT_EQ(opened({2, ""}).index, 2);
  EXPECT_EQ(opened({-1, "GPU-0002"}).index, 2);
  EXPECT_EQ(opened({-1, "GPU-0001"}).uuid, "GPU-0001");
  EXPECT_EQ(opened({}).name, "Simulated");
  EXPECT_EQ(opened({}).memory_bytes, uint64_t{1} << 30);
}

TEST_F(DeviceTest, ThatCannotBeHadIsUnsupportedAndSaysWhy) {
  simulation.SetDevices(2, 1);
  const auto says = [](const DeviceChoice& choice, absl::string_view what) {
    const absl::Status status = StatusOfOpen(choice);
    EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
    EXPECT_NE(status.message().find(what), absl::string_view::npos) << status;
  };
  says({1, ""}, "compute capability 3.5");
  says({2, ""}, "cuda:0, GPU-0000");
  says({-1, "GPU-7"}, "device 'GPU-7'");
  simulation.SetDevices(0);
  says({}, "there is no GPU");
  simulation.SetDriver(false);
  says({}, "there is no driver");
}

TEST_F(DeviceTest, TakesTheHostsOptions) {
  DeviceOptions options;
  int stream = 0;
  options.low_priority = true;
  options.stream = &stream;
  const auto device = OpenSimulated(options);
  EXPECT_TRUE(simulation.low_priority());
  EXPECT_EQ(simulation.host_stream(), &stream);
}

TEST_F(DeviceTest, HasItsMemoryFromTheHostsAllocatorAndGivesItBackThere) {
  const auto host = std::make_shared<FailingMemory>();
  DeviceOptions options;
  options.device_memory = host;
  const auto device = OpenSimulated(options);
  {
    const auto region = MemoryRegion::Create(device->memory(), MemoryClass::kCache, 12345, "cache");
    ASSERT_TRUE(region.ok()) << region.status();
    EXPECT_EQ(host->live_bytes(), 12345u);
  }
  EXPECT_EQ(host->live_bytes(), 0u);
}

TEST_F(DeviceTest, WithoutRoomNamesTheBytesThatWereWantedAndThatAreFree) {
  simulation.SetMemory(5000);
  const auto device = OpenSimulated();
  const auto first = MemoryRegion::Create(device->memory(), MemoryClass::kWeights, 3000, "weights");
  const absl::Status status =
      MemoryRegion::Create(device->memory(), MemoryClass::kCache, 2500, "KV cache").status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kOutOfMemory);
  EXPECT_EQ(PlaceOf(status), "KV cache");
  EXPECT_NE(status.message().find("2500 bytes"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find("2000 of 5000"), absl::string_view::npos) << status;
}

TEST_F(DeviceTest, ThatIsLostSaysSoRatherThanThatItHasNoMemory) {
  const auto device = OpenSimulated();
  simulation.FailCall(1, true);
  const absl::Status status =
      MemoryRegion::Create(device->memory(), MemoryClass::kCache, 100, "KV cache").status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kLost) << status;
}

}  // namespace
}  // namespace tessera
