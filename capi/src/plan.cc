// tsr_plan: what a model would take and how fast it should run, from its header alone.
#include <utility>

#include "capi/src/backends.h"
#include "capi/src/devices.h"
#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "capi/src/sources.h"
#include "core/engine/engine_plan.h"
#include "core/env/clock.h"
#include "core/env/memory.h"

namespace tessera::capi {
namespace {

absl::StatusOr<MachineSpeed> MachineSpeedOf(const Settings& settings, bool on_cpu, int32_t threads) {
  MachineSpeed speed;
  speed.read_bytes_per_second = static_cast<double>(settings.Int("plan.read_bandwidth", 0));
  speed.products_per_second = static_cast<double>(settings.Int("plan.products_per_second", 0));
  const bool known = speed.read_bytes_per_second > 0 && speed.products_per_second > 0;
  if (known || !on_cpu || !settings.Bool("plan.probe", false)) return speed;
  TSR_ASSIGN_OR_RETURN(const MachineSpeed probed, ProbeCpu(threads, MonotonicClock(), SystemMemory()));
  if (speed.read_bytes_per_second == 0) speed.read_bytes_per_second = probed.read_bytes_per_second;
  if (speed.products_per_second == 0) speed.products_per_second = probed.products_per_second;
  return speed;
}

absl::Status Plan(tsr_runtime* runtime, absl::StatusOr<ModelSource> source, const tsr_options* given,
                  absl::string_view call, tsr_plan* plan) {
  TSR_RETURN_IF_ERROR(CheckPointer(runtime, "runtime"));
  TSR_RETURN_IF_ERROR(CheckPointer(plan, "plan"));
  TSR_RETURN_IF_ERROR(CheckStructSize(plan->struct_size));
  const Settings defaults;
  TSR_ASSIGN_OR_RETURN(const Settings* wanted,
                       ScopedSettings(given, {"model.", "device.", "engine.", "plan."}, call));
  const Settings& settings = wanted != nullptr ? *wanted : defaults;
  TSR_RETURN_IF_ERROR(source.status());

  const bool reference = settings.String("model.device", "cpu") == "reference";
  const bool exact = settings.String("engine.activations", "int8") == "f32";
  PlanBudgets budgets;
  budgets.host_bytes = static_cast<uint64_t>(settings.Int("plan.host_bytes", 0));
  budgets.device_bytes = static_cast<uint64_t>(settings.Int("plan.device_bytes", 0));
  TSR_ASSIGN_OR_RETURN(const ModelHeader model, ReadModelHeader(*std::move(source)));
  TSR_ASSIGN_OR_RETURN(const tsr_device_functions* const module, FindDeviceModule(settings));
  const std::shared_ptr<const Backend> backend =
      module != nullptr ? MakeDevicePlanner(module) : MakeBackend(nullptr, reference, exact);
  const EngineOptions options =
      EngineOptionsOf(settings, runtime->core->threads, backend->PreferredCacheType(model.spec));
  const bool on_cpu = module == nullptr && !reference;
  TSR_ASSIGN_OR_RETURN(const MachineSpeed machine, MachineSpeedOf(settings, on_cpu, options.threads));
  TSR_ASSIGN_OR_RETURN(const EnginePlan planned, PlanEngine(model, *backend, options, budgets,
                                                            MakeSpeedModel(module != nullptr, reference,
                                                                           exact, machine, options.threads)));
  tsr_plan full = {};
  full.host_bytes = planned.host_bytes();
  full.host_weight_bytes = planned.on_device ? 0 : planned.weight_bytes;
  full.host_cache_bytes = planned.on_device ? 0 : planned.cache_bytes;
  full.host_scratch_bytes = planned.on_device ? planned.pinned_bytes : planned.scratch_bytes;
  full.host_object_bytes = planned.object_bytes;
  full.device_bytes = planned.device_bytes();
  full.cache_tokens = planned.cache_tokens;
  full.fitting_cache_tokens = planned.fitting_cache_tokens;
  full.context_tokens = planned.context_tokens;
  full.fits = budgets.Hold(planned) ? 1 : 0;
  full.weight_bytes_per_token = planned.weight_bytes_per_token;
  full.cache_bytes_per_token = planned.cache_bytes_per_token;
  full.decode_tokens_per_second = planned.decode_tokens_per_second;
  full.decode_tokens_per_second_full = planned.decode_tokens_per_second_full;
  full.prompt_tokens_per_second = planned.prompt_tokens_per_second;
  full.read_bandwidth = machine.read_bytes_per_second;
  full.products_per_second = machine.products_per_second;
  return FillStruct(full, plan);
}

}  // namespace
}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_plan_file(tsr_runtime* runtime, const char* path, size_t path_size, const tsr_options* options,
                         tsr_plan* plan, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    return Plan(runtime, OpenPathSource(path, path_size), options, "tsr_plan_file", plan);
  });
}

tsr_status tsr_plan_descriptor(tsr_runtime* runtime, int descriptor, uint64_t offset, uint64_t size_bytes,
                               const tsr_options* options, tsr_plan* plan, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    return Plan(runtime, OpenDescriptorSource(descriptor, offset, size_bytes), options, "tsr_plan_descriptor",
                plan);
  });
}

tsr_status tsr_plan_memory(tsr_runtime* runtime, const void* data, size_t size_bytes,
                           const tsr_options* options, tsr_plan* plan, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    return Plan(runtime, OpenMemorySource(data, size_bytes, TSR_MEMORY_COPY), options, "tsr_plan_memory",
                plan);
  });
}

tsr_status tsr_plan_reader(tsr_runtime* runtime, const tsr_reader* reader, const tsr_options* options,
                           tsr_plan* plan, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    return Plan(runtime, OpenReaderSource(reader), options, "tsr_plan_reader", plan);
  });
}
