// A model's device by its settings, as a host meets them, on machines with a GPU and without.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

Outcome Load(tsr_runtime* runtime, const Options& options, Handle<tsr_model>* model) {
  const std::vector<uint8_t> bytes = MakeTinyModel();
  return Try([&](tsr_error** error) {
    tsr_model* loaded = nullptr;
    const tsr_status status = tsr_model_load_memory(runtime, bytes.data(), bytes.size(), TSR_MEMORY_COPY,
                                                    options.get(), &loaded, error);
    model->reset(loaded);
    return status;
  });
}

struct Log {
  std::atomic<int> lines{0};
  std::string last;
};

Handle<tsr_runtime> LoggingRuntime(Log* log) {
  tsr_log_callbacks table = {};
  table.struct_size = sizeof(table);
  table.user = log;
  table.write = [](void* user, int32_t, const char* message, size_t size) {
    static_cast<Log*>(user)->last.assign(message, size);
    static_cast<Log*>(user)->lines.fetch_add(1);
  };
  const Options options = Options().Callbacks("runtime.log", &table).String("runtime.log_level", "info");
  tsr_runtime* runtime = nullptr;
  EXPECT_EQ(tsr_runtime_create(options.get(), &runtime, nullptr), TSR_STATUS_OK);
  return Handle<tsr_runtime>(runtime);
}

tsr_model_info InfoOf(const tsr_model* model) {
  tsr_model_info info = {};
  info.struct_size = sizeof(info);
  EXPECT_EQ(tsr_model_get_info(model, &info, nullptr), TSR_STATUS_OK);
  return info;
}

TEST(DeviceSetting, TakesTheNamesThatItsHelpLists) {
  const Options options;
  const auto set = [&](const std::string& value) {
    return tsr_options_set_string(const_cast<tsr_options*>(options.get()), "model.device", 12, value.data(),
                                  value.size(), nullptr);
  };
  for (const char* right : {"cpu", "reference", "auto", "cuda", "cuda:0", "cuda:12",
                            "GPU-8b6c1e3e-0000-1111-2222-333344445555"}) {
    EXPECT_EQ(set(right), TSR_STATUS_OK) << right;
  }
  for (const char* wrong : {"", "gpu", "cuda:", "cuda:x", "cuda:1 ", "GPU-", "GPU-xyz", "CPU"}) {
    EXPECT_EQ(set(wrong), TSR_STATUS_INVALID_ARGUMENT) << wrong;
  }
}

TEST(DeviceSetting, ThatNamesNoDeviceHereIsUnsupportedAndSaysWhy) {
  const Host host(MakeTinyModel());
  Handle<tsr_model> model;
  const Outcome outcome = Load(
      host.runtime(), Options().String("model.device", "GPU-00000000-0000-0000-0000-000000000000"), &model);
  EXPECT_EQ(outcome.code, TSR_STATUS_UNSUPPORTED) << outcome.message;
  EXPECT_FALSE(outcome.place.empty());
  EXPECT_GT(outcome.message.size(), outcome.place.size() + 2);
}

TEST(DeviceSetting, AutoTakesTheCpuWhereThereIsNoGpuAndTheLogSaysWhich) {
  Log log;
  const Handle<tsr_runtime> runtime = LoggingRuntime(&log);
  Handle<tsr_model> named, automatic;
  const bool gpu =
      Load(runtime.get(), Options().String("model.device", "cuda"), &named).code == TSR_STATUS_OK;
  const int before = log.lines.load();
  const Outcome outcome = Load(runtime.get(), Options().String("model.device", "auto"), &automatic);
  ASSERT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  EXPECT_EQ(log.lines.load(), before + 1);
  EXPECT_EQ(log.last.find("CPU") == std::string::npos, gpu) << log.last;
  const tsr_model_info info = InfoOf(automatic.get());
  EXPECT_EQ(std::strcmp(info.device, "cpu") != 0, gpu) << info.device;
  EXPECT_EQ(info.device_memory_bytes != 0, gpu);
}

TEST(DeviceSetting, TheModelSaysWhereItLies) {
  EXPECT_STREQ(InfoOf(Host(MakeTinyModel()).model()).device, "cpu");
  const Host reference(MakeTinyModel(), Options().String("model.device", "reference"));
  EXPECT_STREQ(InfoOf(reference.model()).device, "reference");
  EXPECT_STREQ(InfoOf(reference.model()).device_uuid, "");
}

TEST(DeviceSetting, PointersAndMemoryAreTakenAndDroppedOnce) {
  static std::atomic<int> drops;
  drops = 0;
  tsr_memory_callbacks table = {};
  table.struct_size = sizeof(table);
  table.drop = [](void*) { drops.fetch_add(1); };
  {
    int stream = 0;
    Options options = Options().String("model.device", "auto").Callbacks("device.memory", &table);
    tsr_options* const set = const_cast<tsr_options*>(options.get());
    EXPECT_EQ(tsr_options_set_pointer(set, "device.stream", 13, &stream, nullptr), TSR_STATUS_OK);
    EXPECT_EQ(tsr_options_set_pointer(set, "device.low_priority", 19, &stream, nullptr),
              TSR_STATUS_INVALID_ARGUMENT);
    const Host host(MakeTinyModel());
    Handle<tsr_model> model;
    const Outcome outcome = Load(host.runtime(), options, &model);
    // Its functions are missing.
    EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
    EXPECT_EQ(outcome.place, "setting 'device.memory'");
  }
  EXPECT_EQ(drops.load(), 1);
}

TEST(LoadThreads, GiveTheSameModelHoweverManyTheyAre) {
  const Host alone(MakeTinyModel());
  const Host many(MakeTinyModel(), Options().Int("model.load_threads", 5));
  const tsr_model_info one = InfoOf(alone.model()), five = InfoOf(many.model());
  EXPECT_EQ(std::memcmp(one.hash, five.hash, 16), 0);
}

struct Reader {
  std::vector<uint8_t> bytes = MakeTinyModel();
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
};

int MostCallsAtOnce(const Options& options) {
  Reader reader;
  tsr_reader table = {};
  table.struct_size = sizeof(table);
  table.user = &reader;
  table.size_bytes = reader.bytes.size();
  table.read_at = [](void* user, uint64_t offset, void* buffer, size_t size) {
    auto* const self = static_cast<Reader*>(user);
    const int inside = self->inside.fetch_add(1) + 1;
    int seen = self->most.load();
    while (inside > seen && !self->most.compare_exchange_weak(seen, inside)) {
    }
    // Long enough for another thread to come, where one may.
    for (int i = 0; i < 200; ++i) std::memcpy(buffer, self->bytes.data() + offset, size);
    self->inside.fetch_sub(1);
    return static_cast<int64_t>(size);
  };
  tsr_runtime* runtime = nullptr;
  EXPECT_EQ(tsr_runtime_create(nullptr, &runtime, nullptr), TSR_STATUS_OK);
  tsr_model* model = nullptr;
  EXPECT_EQ(tsr_model_load_reader(runtime, &table, options.get(), &model, nullptr), TSR_STATUS_OK);
  tsr_model_release(model);
  tsr_runtime_release(runtime);
  return reader.most.load();
}

TEST(LoadThreads, CallAReaderOnceAtATimeUnlessItAllowsMore) {
  EXPECT_EQ(MostCallsAtOnce(Options().Int("model.load_threads", 8)), 1);
  EXPECT_LE(MostCallsAtOnce(Options().Int("model.load_threads", 8).Int("model.read_threads", 2)), 2);
}

}  // namespace
}  // namespace tessera::host
