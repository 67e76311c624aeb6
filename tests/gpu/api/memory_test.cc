// The GPU's memory behind the public API: all of it comes back, the host's own allocators, streams and
// contexts serve, and an engine that cannot have what it asks for says how many bytes and harms nobody.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "tests/gpu/api/gpu_host.h"

namespace tessera::host {
namespace {

std::vector<std::vector<int32_t>> SomePrompts() {
  return {RandomTokens(1, 20), RandomTokens(2, 150), RandomTokens(3, 64), RandomTokens(4, 1)};
}

Options Releasing(Options options) { return options.Int("engine.cache_tokens", 100'000); }

// A model, an engine, answers, and everything released; the answers.
std::vector<Answer> OneLife(const std::vector<uint8_t>& file, const Options& model_options) {
  const Host host(file, model_options);
  if (host.model() == nullptr) return {};
  const Handle<tsr_engine> engine = host.Engine(Releasing(Invariant()));
  return AnswerAll(host, engine.get(), SomePrompts(), Greedy(12));
}

TEST_F(GpuApi, ReleasedModelsAndEnginesGiveBackAllTheirDeviceMemory) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel());
  for (int warm = 0; warm < 3; ++warm) ASSERT_FALSE(OneLife(file, OnGpu()).empty());
  const size_t before = FreeDeviceBytes();
  for (int life = 0; life < 8; ++life) ASSERT_FALSE(OneLife(file, OnGpu()).empty());
  // An engine's cache alone is 100 MB; what the driver keeps for itself moves by less than one of its pieces.
  EXPECT_GE(FreeDeviceBytes() + (size_t{4} << 20), before);
}

// Counts what is taken and given back, by address.
class CountingMemory {
 public:
  explicit CountingMemory(bool pinned) : pinned_(pinned) {
    table_.struct_size = sizeof(table_);
    table_.user = this;
    table_.drop = [](void* user) { ++static_cast<CountingMemory*>(user)->drops_; };
    table_.allocate = [](void* user, int32_t memory_class, size_t size) {
      return static_cast<CountingMemory*>(user)->Allocate(memory_class, size);
    };
    table_.free = [](void* user, int32_t memory_class, void* data, size_t size) {
      static_cast<CountingMemory*>(user)->Free(memory_class, data, size);
    };
  }
  const tsr_memory_callbacks* table() const { return &table_; }
  int drops() const { return drops_.load(); }
  size_t held() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return pieces_.size();
  }
  size_t most_bytes() const { return most_; }
  void set_limit(size_t bytes) { limit_ = bytes; }

 private:
  void* Allocate(int32_t memory_class, size_t size) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (bytes_ + size > limit_) return nullptr;
    void* data = nullptr;
    const cudaError_t error = pinned_
                                  ? cudaHostAlloc(&data, size, cudaHostAllocMapped | cudaHostAllocPortable)
                                  : cudaMalloc(&data, size);
    if (error != cudaSuccess) return nullptr;
    pieces_[data] = {memory_class, size};
    bytes_ += size;
    most_ = std::max(most_, bytes_);
    return data;
  }
  void Free(int32_t memory_class, void* data, size_t size) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = pieces_.find(data);
    ASSERT_NE(found, pieces_.end()) << "never given, or given back twice";
    EXPECT_EQ(found->second, std::pair(memory_class, size));
    pieces_.erase(found);
    bytes_ -= size;
    EXPECT_EQ(pinned_ ? cudaFreeHost(data) : cudaFree(data), cudaSuccess);
  }

  const bool pinned_;
  tsr_memory_callbacks table_ = {};
  std::mutex mutex_;
  std::map<void*, std::pair<int32_t, size_t>> pieces_;
  size_t bytes_ = 0, most_ = 0, limit_ = SIZE_MAX;
  std::atomic<int> drops_{0};
};

TEST_F(GpuApi, TheHostsAllocatorsServeAndGetEverythingBack) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel());
  const std::vector<Answer> expected = OneLife(file, OnGpu());
  CountingMemory device(false), pinned(true);
  const Options options =
      OnGpu().Callbacks("device.memory", device.table()).Callbacks("device.pinned_memory", pinned.table());
  ExpectSameAnswers(OneLife(file, options), expected, "in the host's memory");
  EXPECT_GT(device.most_bytes(), size_t{100} << 20);  // the cache
  EXPECT_GT(pinned.most_bytes(), 0u);
  EXPECT_EQ(device.held(), 0u);
  EXPECT_EQ(pinned.held(), 0u);
}

TEST_F(GpuApi, AnAllocatorThatHasNothingLeftIsAnErrorAndKeepsNothing) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel());
  CountingMemory device(false);
  const Host host(file, OnGpu().Callbacks("device.memory", device.table()));
  ASSERT_NE(host.model(), nullptr);
  const size_t of_model = device.held();
  device.set_limit(device.most_bytes() + (size_t{50} << 20));
  tsr_engine* engine = nullptr;
  const Outcome refused = Try([&](tsr_error** error) {
    return tsr_engine_create(host.model(), Releasing(Stepped()).get(), &engine, error);
  });
  EXPECT_EQ(refused.code, TSR_STATUS_OUT_OF_MEMORY) << refused.message;
  EXPECT_EQ(device.held(), of_model);
  device.set_limit(SIZE_MAX);
  const Handle<tsr_engine> later = host.Engine(Releasing(Stepped()));
  EXPECT_EQ(AnswerAll(host, later.get(), SomePrompts(), Greedy(5)).size(), 4u);
}

TEST_F(GpuApi, TheHostsContextAndStreamServe) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel());
  const std::vector<Answer> expected = OneLife(file, OnGpu());
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const Options options = OnGpu();
  ASSERT_EQ(
      tsr_options_set_pointer(const_cast<tsr_options*>(options.get()), "device.stream", 13, stream, nullptr),
      TSR_STATUS_OK);
  ExpectSameAnswers(OneLife(file, options), expected, "on the host's stream");
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  ExpectSameAnswers(OneLife(file, OnGpu().Bool("device.low_priority", true)), expected, "at low priority");
}

TEST_F(GpuApi, ACacheBeyondTheGpuIsAnErrorThatNamesBytesAndOthersGoOn) {
  const Host host(MakeTinyModel(SmallModel()), OnGpu());
  const Handle<tsr_engine> neighbour = host.Engine(Releasing(Invariant()));
  const std::vector<Answer> expected = AnswerAll(host, neighbour.get(), SomePrompts(), Greedy(30));
  const size_t before = FreeDeviceBytes();

  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> running = NewSession(neighbour.get());
  Append(running.get(), SomePrompts()[1]);
  ASSERT_EQ(tsr_session_generate(running.get(), Greedy(30).get(), queue.get(), 1, nullptr, nullptr),
            TSR_STATUS_OK);
  ASSERT_EQ(tsr_engine_step(neighbour.get(), -1, nullptr, nullptr), TSR_STATUS_OK);
  for (int i = 0; i < 3; ++i) {
    tsr_engine* engine = nullptr;
    const Options enormous = Stepped().Int("engine.cache_tokens", 2'000'000'000);
    const Outcome refused = Try(
        [&](tsr_error** error) { return tsr_engine_create(host.model(), enormous.get(), &engine, error); });
    EXPECT_EQ(refused.code, TSR_STATUS_OUT_OF_MEMORY) << refused.message;
    EXPECT_NE(refused.message.find("bytes"), std::string::npos) << refused.message;
    EXPECT_NE(refused.message.find("free"), std::string::npos) << refused.message;
    // 2 layers of keys and values, 2 heads of 64 elements of 2 bytes.
    EXPECT_NE(refused.message.find("2048000000000"), std::string::npos) << refused.message;
    if (i == 0) std::printf("%s\n", refused.message.c_str());
  }

  const Answer answer = Finish(queue.get(), neighbour.get(), 1)[1];
  ExpectSameAnswers({answer}, {expected[1]}, "what was running");
  ExpectSameAnswers(AnswerAll(host, neighbour.get(), SomePrompts(), Greedy(30)), expected, "afterwards");
  EXPECT_GE(FreeDeviceBytes() + (size_t{4} << 20), before);
}

TEST_F(GpuApi, ThePlanIsWhatTheEngineTakes) {
  const std::vector<uint8_t> file = MakeTinyModel(SmallModel());
  const Host host(file, OnGpu());
  const Options engine_options = Releasing(Stepped());
  const Options plan_options = Releasing(Stepped().String("model.device", "cuda"));
  tsr_plan plan = {};
  plan.struct_size = sizeof(plan);
  const Outcome planned = Try([&](tsr_error** error) {
    return tsr_plan_memory(host.runtime(), file.data(), file.size(), plan_options.get(), &plan, error);
  });
  ASSERT_EQ(planned.code, TSR_STATUS_OK) << planned.message;
  tsr_model_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(tsr_model_get_info(host.model(), &info, nullptr), TSR_STATUS_OK);
  const Handle<tsr_engine> engine = host.Engine(engine_options);
  const tsr_engine_metrics metrics = Metrics(engine.get());
  EXPECT_EQ(plan.device_bytes, info.weight_bytes + metrics.cache_bytes + metrics.scratch_bytes);
}

}  // namespace
}  // namespace tessera::host
