// The warpgroup's matrix products of sm_90a: descriptors of tiles in shared memory, and the instructions in
// the shapes that attention needs.
//
// Tiles lie in panels of 64 elements, which are [rows][128 bytes]; of the eight 16-byte chunks of row r,
// chunk c is at place c ^ (r % 8) (the hardware's 128-byte swizzle). Panels begin at multiples of 1024 bytes.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_WGMMA_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_WGMMA_CUH_

#include <cstdint>

#include "gpu/kernels/attention/mma.cuh"

namespace tessera::gpu {

inline constexpr int kPanelElements = 64;
inline constexpr int kPanelRowBytes = 128;

// Where the 16-byte chunk of a row lies in a tile of panels with so many rows.
__host__ __device__ __forceinline__ int PanelOffset(int rows, int row, int chunk) {
  return chunk / 8 * rows * kPanelRowBytes + row * kPanelRowBytes + ((chunk % 8) ^ (row % 8)) * 16;
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// address: in shared memory. The strides, in bytes, are those between groups of 8 rows, and, for a tile whose
// rows are summed over, between panels.
__device__ __forceinline__ uint64_t TileDescriptor(uint32_t address, uint32_t panel_stride) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kGroupStride = 8 * kPanelRowBytes;
  return kSwizzle128 | (kGroupStride >> 4) << 32 |
         static_cast<uint64_t>((panel_stride & 0x3FFFF) >> 4) << 16 | (address & 0x3FFFF) >> 4;
}

// Before the first product after registers or shared memory that it reads were written.
__device__ __forceinline__ void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until all but the last kLater groups are done.
template <int kLater>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLater) : "memory");
}

// Products write registers behind the compiler's back: it must not move uses of them over a wait or a start.
template <int kColumns>
__device__ __forceinline__ void KeepInPlace(float (&d)[kColumns][4]) {
#pragma unroll
  for (int n = 0; n < kColumns; ++n) {
    asm volatile("" : "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])::"memory");
  }
}

// The accumulators of 8 columns; operands are numbered from 0.
#define TSR_COLUMNS(d, n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define TSR_COLUMNS8(d, n)                                                                \
  TSR_COLUMNS(d, n), TSR_COLUMNS(d, n + 1), TSR_COLUMNS(d, n + 2), TSR_COLUMNS(d, n + 3), \
      TSR_COLUMNS(d, n + 4), TSR_COLUMNS(d, n + 5), TSR_COLUMNS(d, n + 6), TSR_COLUMNS(d, n + 7)
#define TSR_32_OPERANDS                                                                            \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
  "%26,%27,%28,%29,%30,%31"
#define TSR_64_OPERANDS                                                                           \
  TSR_32_OPERANDS                                                                                 \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54," \
  "%55,%56,%57,%58,%59,%60,%61,%62,%63"

// d[64, 128] = (add ? d : 0) + a[64, 16] b[128, 16]^T, both in shared memory with the summed index along
// rows' chunks.
#define TSR_WGMMA_SHARED(type)                                                          \
  asm volatile(                                                                         \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"                                  \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" TSR_64_OPERANDS \
      "}, %64, %65, add, 1, 1, 0, 0;\n}"                                                \
      : TSR_COLUMNS8(d, 0), TSR_COLUMNS8(d, 8)                                          \
      : "l"(a), "l"(b), "r"(static_cast<int32_t>(add)))
template <typename C>
__device__ __forceinline__ void WgmmaShared(float (&d)[16][4], uint64_t a, uint64_t b, bool add) {
  if constexpr (Element<C>::kType == ElementType::kBF16) {
    TSR_WGMMA_SHARED("bf16");
  } else {
    TSR_WGMMA_SHARED("f16");
  }
}

// d[64, 8 n] += a[64, 16] b[16, 8 n]: a in registers, b in shared memory with the summed index down the rows.
#define TSR_WGMMA_REGISTERS_64(type)                                                            \
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" TSR_32_OPERANDS \
               "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"                                         \
               : TSR_COLUMNS8(d, 0)                                                             \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
#define TSR_WGMMA_REGISTERS_128(type)                                                            \
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" TSR_64_OPERANDS \
               "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"                                          \
               : TSR_COLUMNS8(d, 0), TSR_COLUMNS8(d, 8)                                          \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
template <typename C>
__device__ __forceinline__ void WgmmaRegisters(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  if constexpr (Element<C>::kType == ElementType::kBF16) {
    TSR_WGMMA_REGISTERS_64("bf16");
  } else {
    TSR_WGMMA_REGISTERS_64("f16");
  }
}
template <typename C>
__device__ __forceinline__ void WgmmaRegisters(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b) {
  if constexpr (Element<C>::kType == ElementType::kBF16) {
    TSR_WGMMA_REGISTERS_128("bf16");
  } else {
    TSR_WGMMA_REGISTERS_128("f16");
  }
}
#undef TSR_WGMMA_REGISTERS_128
#undef TSR_WGMMA_REGISTERS_64
#undef TSR_WGMMA_SHARED
#undef TSR_64_OPERANDS
#undef TSR_32_OPERANDS
#undef TSR_COLUMNS8
#undef TSR_COLUMNS
#endif

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_WGMMA_CUH_
