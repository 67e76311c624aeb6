// The one place that knows which backends there are.
#ifndef TESSERA_CAPI_SRC_BACKENDS_H_
#define TESSERA_CAPI_SRC_BACKENDS_H_

#include <memory>

#include "core/cpu/cpu_backend.h"
#include "core/cpu/cpu_speed.h"
#include "core/cpu/reference/reference_backend.h"
#include "core/device/device_backend.h"
#include "core/execute/backend.h"

namespace tessera::capi {

// Backends of one kind lay weights out alike, whatever their activations. `device` null: on the host.
inline std::shared_ptr<const Backend> MakeBackend(const std::shared_ptr<Device>& device, bool reference,
                                                  bool exact_activations) {
  if (device != nullptr) return MakeDeviceBackend(device);
  if (reference) return MakeReferenceBackend();
  CpuBackendOptions options;
  options.activations = exact_activations ? cpu::ActivationMode::kF32 : cpu::ActivationMode::kInt8;
  return MakeCpuBackend(options);
}

// The reference backend makes no promise of speed; of a device the rates that the host gives are all that is
// known.
inline SpeedModel MakeSpeedModel(bool on_device, bool reference, bool exact_activations,
                                 const MachineSpeed& machine, int32_t threads) {
  SpeedModel speed;
  if (on_device) speed.machine = machine;
  if (on_device || reference) return speed;
  return CpuSpeedModel(machine, threads,
                       exact_activations ? cpu::ActivationMode::kF32 : cpu::ActivationMode::kInt8);
}

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_BACKENDS_H_
