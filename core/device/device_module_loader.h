// Finds the module that drives a kind of device. Knows its C table (device_module.h) and nothing of what is
// behind it.
#ifndef TESSERA_CORE_DEVICE_DEVICE_MODULE_LOADER_H_
#define TESSERA_CORE_DEVICE_DEVICE_MODULE_LOADER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/device/device_module.h"

namespace tessera {

// The table of libtessera_cuda.so, which stays loaded for good; a process has one. kUnsupported where there
// is no module, it cannot be loaded, or it is of another build: the message says which. An empty folder:
// where this build's modules lie. Touches no device.
absl::StatusOr<const tsr_device_functions*> LoadDeviceModule(absl::string_view folder = "");

// What a module's function has said of its failure.
absl::Status StatusOf(const tsr_device_failure& failure);

}  // namespace tessera

#endif  // TESSERA_CORE_DEVICE_DEVICE_MODULE_LOADER_H_
