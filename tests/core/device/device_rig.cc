#include "tests/core/device/device_rig.h"

#include <utility>

#include "core/cpu/reference/reference_backend.h"

namespace tessera {

std::shared_ptr<Device> OpenSimulated(const DeviceOptions& options) {
  auto device = Device::Open(SimulatedDevice::Functions(), options);
  if (device.ok()) return *std::move(device);
  ADD_FAILURE() << device.status();
  return nullptr;
}

TinyModelOptions ExactModel(TensorType type) {
  TinyModelOptions options = InfoOf(type).block_elements > 1 ? TinyOptionsOfType(type) : TinyModelOptions();
  options.embedding_type = options.head_type = options.attention_type = options.feed_forward_type = type;
  options.architecture = "qwen2";
  options.qkv_bias = true;
  options.tied_head = false;
  return options;
}

EngineOptions RigOptions(CacheType cache_type) {
  EngineOptions options;
  options.stepped = true;
  options.cache_type = cache_type;
  options.block_tokens = 4;
  options.cache_tokens = 8 * 64;
  options.batch_tokens = 16;
  options.batch_sequences = 8;
  options.max_requests = 64;
  options.max_sessions = 64;
  return options;
}

std::vector<int32_t> TokensOf(int which, size_t count) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i) {
    tokens.push_back(3 + static_cast<int32_t>((static_cast<size_t>(which) * 37 + i * 11) % 256));
  }
  return tokens;
}

RequestParams GreedyParams(int64_t max_tokens) {
  RequestParams params;
  params.max_tokens = max_tokens;
  params.ignore_end = true;
  return params;
}

Rig::Rig(const std::vector<uint8_t>& file, std::shared_ptr<const Backend> with, const EngineOptions& options)
    : backend(std::move(with)) {
  auto loaded = LoadModel(FileOf(file), *backend, SystemMemory(), nullptr);
  if (!loaded.ok()) {
    ADD_FAILURE() << loaded.status();
    return;
  }
  model = *std::move(loaded);
  auto made = Engine::Create(model, backend, options, MonotonicClock(), SystemMemory(), Logger());
  if (!made.ok()) {
    ADD_FAILURE() << made.status();
    return;
  }
  engine = *std::move(made);
  queue = *EventQueue::Create(nullptr);
}

Rig::~Rig() {
  SimulatedDevice::Get().HoldSteps(false);
  if (engine != nullptr) engine->Close();
  if (queue != nullptr) queue->Abandon();
}

std::shared_ptr<Session> Rig::SessionOf(const std::vector<int32_t>& tokens, bool logits) {
  auto session = engine->CreateSession(logits);
  if (!session.ok() || !engine->Append(**session, tokens).ok()) {
    ADD_FAILURE() << session.status();
    return nullptr;
  }
  return *session;
}

void Rig::Generate(const std::shared_ptr<Session>& session, uint64_t tag, const RequestParams& params) {
  const auto id = engine->Generate(session, params, queue, tag);
  EXPECT_TRUE(id.ok()) << id.status();
}

void Rig::Run() {
  for (int i = 0; i < 100000; ++i) {
    StepStats stats;
    ASSERT_TRUE(engine->Step(-1, &stats).ok());
    events.Drain(*queue);
    const EngineMetrics metrics = engine->GetMetrics();
    if (!stats.work_left && metrics.requests_running + metrics.requests_queued == 0) return;
  }
  ADD_FAILURE() << "the engine does not come to an end";
}

std::vector<int32_t> Rig::Answer(const std::vector<int32_t>& prompt, const RequestParams& params) {
  const uint64_t tag = next_tag_++;
  const std::shared_ptr<Session> session = SessionOf(prompt);
  Generate(session, tag, params);
  Run();
  engine->ReleaseSession(*session);
  return Of(tag).tokens;
}

std::unique_ptr<Rig> RigOnDevice(const std::vector<uint8_t>& file, const EngineOptions& options) {
  return std::make_unique<Rig>(file, MakeDeviceBackend(OpenSimulated()), options);
}

std::unique_ptr<Rig> RigOnReference(const std::vector<uint8_t>& file, const EngineOptions& options) {
  return std::make_unique<Rig>(file, MakeReferenceBackend(), options);
}

}  // namespace tessera
