// tsr_engine.
#include <algorithm>
#include <utility>

#include "capi/src/backends.h"
#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "capi/src/rendezvous.h"
#include "core/env/clock.h"
#include "core/env/memory.h"

namespace tessera::capi {
namespace {

static_assert(static_cast<int>(RegionKind::kEmbed) == TSR_REGION_EMBED);
static_assert(static_cast<int>(RegionKind::kSample) == TSR_REGION_SAMPLE);
static_assert(kRegionKinds <= sizeof(tsr_engine_metrics::region_ns) / sizeof(uint64_t));

CacheType CacheTypeOf(absl::string_view name, CacheType preferred) {
  if (name.empty()) return preferred;
  if (name == "f32") return CacheType::kF32;
  if (name == "bf16") return CacheType::kBF16;
  if (name == "int8") return CacheType::kInt8;
  return CacheType::kF16;
}

void SetRanks(const Settings& s, EngineOptions* options) {
  options->ranks.tensor_parallel = static_cast<int32_t>(s.Int("engine.tensor_parallel", 1));
  options->ranks.pipeline = static_cast<int32_t>(s.Int("engine.pipeline", 1));
  options->ranks.rank = static_cast<int32_t>(s.Int("engine.rank", 0));
  options->processes.timeout_ns = s.Int("engine.rank_timeout_ns", 10'000'000'000);
  options->processes.interface_name = std::string(s.String("engine.rank_interface", ""));
  options->processes.all_gather = MakeAllGather(s.Callbacks("engine.rendezvous"));
}

}  // namespace

EngineOptions EngineOptionsOf(const Settings& s, int32_t runtime_threads, CacheType preferred) {
  EngineOptions options;
  options.stepped = s.Bool("engine.stepped", false);
  const int32_t threads = static_cast<int32_t>(s.Int("engine.threads", 0));
  options.threads = threads == 0 ? runtime_threads : std::min(threads, runtime_threads);
  options.cache_tokens = s.Int("engine.cache_tokens", 0);
  options.cache_type = CacheTypeOf(s.String("engine.cache_type", ""), preferred);
  options.context_tokens = static_cast<int32_t>(s.Int("engine.context_tokens", 0));
  options.batch_tokens = static_cast<int32_t>(s.Int("engine.batch_tokens", options.batch_tokens));
  options.batch_sequences = static_cast<int32_t>(s.Int("engine.batch_sequences", options.batch_sequences));
  options.max_running = static_cast<int32_t>(s.Int("engine.max_running", 0));
  options.batch_invariant = s.Bool("engine.batch_invariant", false);
  options.time_regions = s.Bool("engine.time_regions", false);
  options.share_prefixes = s.Bool("engine.share_prefixes", true);
  options.max_requests = static_cast<int32_t>(s.Int("engine.max_requests", options.max_requests));
  options.max_sessions = static_cast<int32_t>(s.Int("engine.max_sessions", options.max_sessions));
  SetRanks(s, &options);
  return options;
}

namespace {

absl::StatusOr<std::unique_ptr<tsr_engine>> MakeEngine(tsr_model* model, const tsr_options* given) {
  const Settings defaults;
  TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
  TSR_ASSIGN_OR_RETURN(const Settings* settings, ScopedSettings(given, {"engine."}, "tsr_engine_create"));
  const Settings& s = settings != nullptr ? *settings : defaults;
  RuntimeCore& runtime = *model->core->runtime;
  const bool exact = s.String("engine.activations", "int8") == "f32";
  const std::shared_ptr<const Backend> backend =
      MakeBackend(model->core->device, model->core->reference, exact);
  const EngineOptions options =
      EngineOptionsOf(s, runtime.threads, backend->PreferredCacheType(model->core->model->spec));

  const bool present = s.Bool("engine.prefault", options.stepped);
  auto handle = std::make_unique<tsr_engine>();
  handle->owner = std::make_shared<EngineOwner>();
  handle->owner->model = model->core;
  TSR_ASSIGN_OR_RETURN(handle->owner->engine,
                       Engine::Create(model->core->model, backend, options, MonotonicClock(),
                                      present ? PresentSystemMemory() : SystemMemory(), runtime.log));
  std::lock_guard<std::mutex> lock(runtime.mutex);
  if (runtime.closed) return Closed("runtime", "it was closed");
  runtime.engines.erase(std::remove_if(runtime.engines.begin(), runtime.engines.end(),
                                       [](const std::weak_ptr<Engine>& engine) { return engine.expired(); }),
                        runtime.engines.end());
  runtime.engines.push_back(handle->owner->engine);
  return handle;
}

}  // namespace
}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_engine_create(tsr_model* model, const tsr_options* options, tsr_engine** engine,
                             tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    TSR_ASSIGN_OR_RETURN(std::unique_ptr<tsr_engine> handle, MakeEngine(model, options));
    *engine = handle.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_engine_step(tsr_engine* engine, int64_t budget_ns, tsr_step_stats* stats, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    if (stats != nullptr)
      TSR_RETURN_IF_ERROR(CheckStructSize(stats->struct_size));  // before anything is computed
    const std::shared_ptr<EngineOwner> owner = engine->owner;
    tessera::StepStats done;
    TSR_RETURN_IF_ERROR(owner->engine->Step(budget_ns, &done));
    if (stats == nullptr) return absl::OkStatus();
    tsr_step_stats full = {};
    full.elapsed_ns = done.elapsed_ns;
    full.prompt_tokens = done.prompt_tokens;
    full.generated_tokens = done.generated_tokens;
    full.work_left = done.work_left ? 1 : 0;
    return FillStruct(full, stats);
  });
}

tsr_status tsr_engine_serve(tsr_engine* engine, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    TSR_RETURN_IF_ERROR(CheckOutsideCallback("tsr_engine_serve"));
    const std::shared_ptr<EngineOwner> owner = engine->owner;
    return owner->engine->Serve();
  });
}

tsr_status tsr_engine_get_metrics(tsr_engine* engine, tsr_engine_metrics* metrics, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    TSR_RETURN_IF_ERROR(CheckPointer(metrics, "metrics"));
    const tessera::EngineMetrics now = engine->owner->engine->GetMetrics();
    tsr_engine_metrics full = {};
    full.batches = now.batches;
    full.prompt_tokens = now.prompt_tokens;
    full.generated_tokens = now.generated_tokens;
    full.requests_accepted = now.requests_accepted;
    full.requests_finished = now.requests_finished;
    full.batches_failed = now.batches_failed;
    full.evictions = now.evictions;
    full.compute_ns = now.compute_ns;
    full.cache_bytes = now.cache_bytes;
    full.scratch_bytes = now.scratch_bytes;
    full.sessions = now.sessions;
    full.requests_running = now.requests_running;
    full.requests_queued = now.requests_queued;
    full.threads = now.threads;
    full.blocks_total = now.blocks_total;
    full.blocks_free = now.blocks_free;
    full.block_tokens = now.block_tokens;
    full.preemptions = now.preemptions;
    full.shared_tokens = now.shared_tokens;
    full.copied_blocks = now.copied_blocks;
    full.device_steps = now.device.steps;
    full.device_ns = now.device.busy_ns;
    full.device_idle_ns = now.device.idle_ns;
    std::copy_n(now.device.region_ns, tessera::kRegionKinds, full.region_ns);
    return FillStruct(full, metrics);
  });
}

tsr_status tsr_engine_close(tsr_engine* engine, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    TSR_RETURN_IF_ERROR(CheckOutsideCallback("tsr_engine_close"));
    const std::shared_ptr<EngineOwner> owner = engine->owner;  // a callback may release the handle
    owner->engine->Close();
    return absl::OkStatus();
  });
}

void tsr_engine_release(tsr_engine* engine) {
  if (!Forked()) delete engine;
}
