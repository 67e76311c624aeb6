// What the attention kernels need of the tensor cores: fragments of 16-bit elements, FP32 sums.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_MMA_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_MMA_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

template <typename C>
struct Element;
template <>
struct Element<__nv_bfloat16> {
  static constexpr ElementType kType = ElementType::kBF16;
};
template <>
struct Element<__half> {
  static constexpr ElementType kType = ElementType::kF16;
};

// d[16, 8] += a[16, 16] b[16, 8]. Lane l = 4 g + t holds of d: rows g and g + 8, columns 2t and 2t + 1.
template <typename C>
__device__ __forceinline__ void Multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                         uint32_t b0, uint32_t b1) {
  if constexpr (Element<C>::kType == ElementType::kBF16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

// Two elements in a register, `low` first in memory.
template <typename C>
__device__ __forceinline__ uint32_t Pack(float low, float high) {
  if constexpr (Element<C>::kType == ElementType::kBF16) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

__device__ __forceinline__ uint32_t Pack(ElementType type, float low, float high) {
  return type == ElementType::kBF16 ? Pack<__nv_bfloat16>(low, high) : Pack<__half>(low, high);
}

__device__ __forceinline__ float2 Unpack(ElementType type, uint32_t pair) {
  if (type == ElementType::kBF16) return __bfloat1622float2(*reinterpret_cast<__nv_bfloat162*>(&pair));
  return __half22float2(*reinterpret_cast<__half2*>(&pair));
}

// A pair of `type` as a pair of C.
template <typename C>
__device__ __forceinline__ uint32_t Convert(ElementType type, uint32_t pair) {
  if (type == Element<C>::kType) return pair;
  const float2 values = Unpack(type, pair);
  return Pack<C>(values.x, values.y);
}

// An 8 x 8 matrix of 16-bit elements over the warp (lane 4 g + t: row g, columns 2t and 2t + 1), transposed.
__device__ __forceinline__ uint32_t Transpose(uint32_t pair) {
  uint32_t result;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

__device__ __forceinline__ void LoadMatrices(uint32_t address, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void LoadMatricesTransposed(uint32_t address, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// 2^x, within 2 ulp; 0 for -infinity.
__device__ __forceinline__ float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Two int8 as two BF16, exactly: `bytes` has them as its bytes 0 and 2, whatever the others are. With the
// sign apart, x = low7 - 128 s; 128 + low7 and 128 + 128 s have their bits in the place where x has them.
__device__ __forceinline__ uint32_t Int8ToBFloat(uint32_t bytes) {
  const uint32_t low = (bytes & 0x007F007Fu) | 0x43004300u;
  const uint32_t sign = (bytes & 0x00800080u) | 0x43004300u;
  const __nv_bfloat162 difference = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&low),
                                            *reinterpret_cast<const __nv_bfloat162*>(&sign));
  return *reinterpret_cast<const uint32_t*>(&difference);
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_MMA_CUH_
