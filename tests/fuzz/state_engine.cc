#include "tests/fuzz/state_engine.h"

#include <cstdio>
#include <cstdlib>

#include "tests/doubles/simulated_backend.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "state_engine: %s\n", std::string(result.status().message()).c_str());
    std::abort();
  }
  return *std::move(result);
}

TinyModelOptions ModelOptions() {
  TinyModelOptions options;
  options.hidden = options.feed_forward = 8;
  options.head_size = 4;
  return options;
}

}  // namespace

std::shared_ptr<Engine> MakeStateEngine() {
  const auto backend = std::make_shared<SimulatedBackend>(std::make_shared<Simulation>());
  EngineOptions options;
  options.stepped = true;
  options.cache_type = CacheType::kF32;
  options.block_tokens = 4;
  options.cache_tokens = 64;
  options.context_tokens = 48;
  return Must(Engine::Create(
      Must(LoadModel(FileOf(MakeTinyModel(ModelOptions())), *backend, SystemMemory(), nullptr)), backend,
      options, MonotonicClock(), SystemMemory(), Logger()));
}

std::vector<uint8_t> MakeState(Engine& engine, bool with_cache) {
  const std::shared_ptr<Session> session = Must(engine.CreateSession(false));
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 18; ++i) tokens.push_back(10 + i);
  if (!engine.Append(*session, tokens).ok()) std::abort();
  GoOn(engine, session, 3);
  size_t size = 0;
  (void)engine.Save(*session, with_cache, {}, &size);
  std::vector<uint8_t> state(size);
  if (!engine.Save(*session, with_cache, absl::MakeSpan(state), &size).ok()) std::abort();
  engine.ReleaseSession(*session);
  return state;
}

void GoOn(Engine& engine, const std::shared_ptr<Session>& session, int64_t count) {
  const std::shared_ptr<EventQueue> queue = Must(EventQueue::Create(nullptr));
  RequestParams params;
  params.max_tokens = count;
  const auto request = engine.Generate(session, params, queue, 1);
  if (request.ok()) {
    StepStats stats;
    do {
      if (!engine.Step(-1, &stats).ok()) std::abort();
    } while (stats.work_left);
  }
  queue->Abandon();
}

}  // namespace tessera
