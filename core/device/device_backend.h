// A device as a backend: what computes is in its module. Matrices lie there as rows of BF16, or of F16 where
// the file has F16; vectors as F32.
#ifndef TESSERA_CORE_DEVICE_DEVICE_BACKEND_H_
#define TESSERA_CORE_DEVICE_DEVICE_BACKEND_H_

#include <memory>

#include "core/device/device.h"
#include "core/execute/backend.h"

namespace tessera {

std::unique_ptr<Backend> MakeDeviceBackend(std::shared_ptr<Device> device);
// One that can only plan: it opens no device.
std::unique_ptr<Backend> MakeDevicePlanner(const tsr_device_functions* functions);

}  // namespace tessera

#endif  // TESSERA_CORE_DEVICE_DEVICE_BACKEND_H_
