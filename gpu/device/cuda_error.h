// What CUDA's error numbers mean to the engine.
#ifndef TESSERA_GPU_DEVICE_CUDA_ERROR_H_
#define TESSERA_GPU_DEVICE_CUDA_ERROR_H_

#include <cuda_runtime_api.h>

#include "core/base/status.h"

namespace tessera::gpu {

// The context does not recover: all later calls report the same, and what lay on the device is gone.
bool LosesDevice(cudaError_t error);

// kLost where LosesDevice; kUnsupported where there is no driver, no device, or no code for it.
ErrorCode CodeOfCudaError(cudaError_t error);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_CUDA_ERROR_H_
