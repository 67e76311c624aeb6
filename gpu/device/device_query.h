// Which devices there are and what they are, before any of them is opened.
#ifndef TESSERA_GPU_DEVICE_DEVICE_QUERY_H_
#define TESSERA_GPU_DEVICE_DEVICE_QUERY_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/device/device_module.h"

namespace tessera::gpu {

// Of the device code in this build, such as "80 90a".
const char* Architectures();
// Whether code made for `architectures` runs on a device: code for 8.0 runs on 8.6 too, "90a" on 9.0 alone.
bool RunsOn(absl::string_view architectures, int major, int minor);
inline bool HasCodeFor(const cudaDeviceProp& properties) {
  return RunsOn(Architectures(), properties.major, properties.minor);
}

// As nvidia-smi prints it.
std::string UuidText(const cudaDeviceProp& properties);

void FillInfo(int index, const cudaDeviceProp& properties, size_t total_bytes, size_t free_bytes,
              tsr_device_info* info);

absl::Status CountDevices(int32_t* count);
// Free memory is known to a context only, so the device's primary one is taken for a moment.
absl::Status DescribeDevice(int32_t index, tsr_device_info* info);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_DEVICE_QUERY_H_
