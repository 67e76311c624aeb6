// The device that a model's settings name, opened.
#ifndef TESSERA_CAPI_SRC_DEVICES_H_
#define TESSERA_CAPI_SRC_DEVICES_H_

#include <memory>

#include "absl/status/statusor.h"
#include "capi/src/settings.h"
#include "core/base/log.h"
#include "core/device/device.h"

namespace tessera::capi {

// What "model.device" names. Null: the CPU, also where it is "auto" and there is no usable device, which the
// log then says.
absl::StatusOr<std::shared_ptr<Device>> OpenDevice(const Settings& settings, const Logger& log);
// The same without opening it, for plans: its module.
absl::StatusOr<const tsr_device_functions*> FindDeviceModule(const Settings& settings);

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_DEVICES_H_
