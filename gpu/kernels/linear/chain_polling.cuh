// Loads of what other blocks may be writing, and how it is told whether they have: see linear.h about poison.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_POLLING_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_POLLING_CUH_

#include <cstdint>

namespace tessera::gpu::chain {

__device__ __forceinline__ float LoadL2(const float* address) {
  float value;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(address));
  return value;
}

// Any half of it still is as all that nodes hand on begins.
__device__ __forceinline__ bool IsPoisoned(uint32_t v) {
  return (v & 0xFFFFu) == 0xFFFFu || v >= 0xFFFF0000u;
}
__device__ __forceinline__ bool IsPoisoned(const uint4& v) {
  return IsPoisoned(v.x) || IsPoisoned(v.y) || IsPoisoned(v.z) || IsPoisoned(v.w);
}

// What others may be writing: a weak load that is repeated may be taken for one.
__device__ __forceinline__ float LoadRelaxed(const float* address) {
  float value;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(value) : "l"(address) : "memory");
  return value;
}
__device__ __forceinline__ uint4 LoadRelaxed(const void* address) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address)
               : "memory");
  return v;
}

}  // namespace tessera::gpu::chain

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_POLLING_CUH_
