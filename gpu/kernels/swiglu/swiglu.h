// The gated activation between the two halves of a feed-forward: out = silu(gate) * up.
#ifndef TESSERA_GPU_KERNELS_SWIGLU_SWIGLU_H_
#define TESSERA_GPU_KERNELS_SWIGLU_SWIGLU_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

struct SwiGluArgs {
  const void* gate_up = nullptr;  // [rows, 2 * columns] of T: a row's gates, then its ups
  int32_t rows = 0;
  int32_t columns = 0;
  void* out = nullptr;  // [rows, columns] of T
};

cudaError_t LaunchSwiGlu(const LaunchContext& context, ElementType type, const SwiGluArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SWIGLU_SWIGLU_H_
