// Run-time element types become template arguments, in one place.
#ifndef TESSERA_GPU_KERNELS_COMMON_DISPATCH_H_
#define TESSERA_GPU_KERNELS_COMMON_DISPATCH_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

// Calls `call` with a value of the element's type; cudaErrorInvalidValue where `type` is neither BF16 nor
// F16.
template <typename Call>
cudaError_t WithElement(ElementType type, Call&& call) {
  if (type == ElementType::kBF16) return call(__nv_bfloat16{});
  if (type == ElementType::kF16) return call(__half{});
  return cudaErrorInvalidValue;
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_COMMON_DISPATCH_H_
