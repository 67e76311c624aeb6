// Eight elements on their way into a row of the cache, rounded as core/cpu/kernels/cache_rows does.
#ifndef TESSERA_GPU_KERNELS_CACHE_APPEND_STORE_ROW_CUH_
#define TESSERA_GPU_KERNELS_CACHE_APPEND_STORE_ROW_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>

#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

inline constexpr int kCacheScaleGroup = 32;  // elements that share a scale in kInt8Rows
inline constexpr float kLargestInt8 = 127;

__device__ __forceinline__ uint16_t RoundTo(ElementType type, float x) {
  if (type == ElementType::kBF16) return __bfloat16_as_ushort(__float2bfloat16_rn(x));
  return __half_as_ushort(__float2half_rn(x));
}

// The scale of a group with this largest magnitude; NaN where the group has NaN, infinity, or what is too
// large.
__device__ __forceinline__ __half Int8Scale(float largest, bool finite) {
  const __half scale = __float2half_rn(__fdiv_rn(largest, kLargestInt8));
  return finite && !__hisinf(scale) ? scale : __ushort_as_half(0x7E00);
}

// What elements are multiplied with before they are rounded: 0 where the scale is 0 or NaN.
__device__ __forceinline__ float Int8Inverse(__half scale) {
  const float value = __half2float(scale);
  return value > 0 ? __fdiv_rn(1.0f, value) : 0.0f;
}

__device__ __forceinline__ int8_t RoundToInt8(float x, float inverse) {
  if (inverse == 0) return 0;
  const float rounded = rintf(__fmul_rn(x, inverse));
  return static_cast<int8_t>(fminf(fmaxf(rounded, -kLargestInt8), kLargestInt8));
}

__device__ __forceinline__ __half* Int8Scales(uint8_t* row, int32_t head_size) {
  return reinterpret_cast<__half*>(row + (head_size + 1) / 2 * 2);
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_CACHE_APPEND_STORE_ROW_CUH_
