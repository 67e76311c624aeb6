// An engine over a backend, a tiny model and real time: the simulated device's, or the one to compare with.
#ifndef TESSERA_TESTS_CORE_DEVICE_DEVICE_RIG_H_
#define TESSERA_TESTS_CORE_DEVICE_DEVICE_RIG_H_

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/device/device.h"
#include "core/device/device_backend.h"
#include "core/engine/engine.h"
#include "core/engine/engine_plan.h"
#include "tests/doubles/event_reader.h"
#include "tests/doubles/simulated_device.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {

// Everything that a test has opened must be closed, and given back, at its end.
class DeviceTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(SimulatedDevice::Get().Reset()); }
  void TearDown() override {
    EXPECT_TRUE(SimulatedDevice::Get().Reset()) << "something is left on the device";
  }
  SimulatedDevice& simulation = SimulatedDevice::Get();
};

std::shared_ptr<Device> OpenSimulated(const DeviceOptions& options = {});

// Matrices of a type that devices hold as it is: both sides compute with the same weights.
TinyModelOptions ExactModel(TensorType type);
// Stepped, 4 tokens in a block, prompts in chunks of 16.
EngineOptions RigOptions(CacheType cache_type);
std::vector<int32_t> TokensOf(int which, size_t count);
RequestParams GreedyParams(int64_t max_tokens);

class Rig {
 public:
  Rig(const std::vector<uint8_t>& file, std::shared_ptr<const Backend> backend, const EngineOptions& options);
  ~Rig();

  std::shared_ptr<Session> SessionOf(const std::vector<int32_t>& tokens, bool logits = false);
  void Generate(const std::shared_ptr<Session>& session, uint64_t tag, const RequestParams& params);
  // Steps and polls until nothing is left to do.
  void Run();
  void Step() {
    StepStats stats;
    EXPECT_TRUE(engine->Step(-1, &stats).ok());
  }
  const ReadEvents& Of(uint64_t tag) { return events.Of(tag); }
  std::vector<int32_t> Answer(const std::vector<int32_t>& prompt, const RequestParams& params);

  std::shared_ptr<const Backend> backend;
  std::shared_ptr<const LoadedModel> model;
  std::shared_ptr<Engine> engine;
  std::shared_ptr<EventQueue> queue;
  EventReader events;

 private:
  uint64_t next_tag_ = 1000;
};

std::unique_ptr<Rig> RigOnDevice(const std::vector<uint8_t>& file, const EngineOptions& options);
std::unique_ptr<Rig> RigOnReference(const std::vector<uint8_t>& file, const EngineOptions& options);

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_DEVICE_DEVICE_RIG_H_
