// Elements of matrices and activations in device code: BF16 or F16 in memory, F32 in registers.
#ifndef TESSERA_GPU_KERNELS_COMMON_ELEMENT_CUH_
#define TESSERA_GPU_KERNELS_COMMON_ELEMENT_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace tessera::gpu {

__device__ __forceinline__ float Widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float Widen(__half value) { return __half2float(value); }

template <typename T>
__device__ __forceinline__ T Narrow(float value);
template <>
__device__ __forceinline__ __nv_bfloat16 Narrow<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half Narrow<__half>(float value) {
  return __float2half_rn(value);
}

// Eight neighbours, which one load or store of 16 bytes moves.
template <typename T>
union Octet {
  uint4 bits;
  T values[8];
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_COMMON_ELEMENT_CUH_
