// Instructions of sm_90 beyond those of ptx.cuh: tensor copies, thread block clusters, and the warpgroup's
// matrix product. Each does what its PTX name says.
#ifndef TESSERA_GPU_KERNELS_COMMON_HOPPER_CUH_
#define TESSERA_GPU_KERNELS_COMMON_HOPPER_CUH_

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

namespace tessera::gpu {

// Copies that complete on a barrier with the whole box's bytes, also where it leaves the tensor: there they
// write zeros.
__device__ __forceinline__ void TensorCopy(uint32_t to, const CUtensorMap* map, int c0, int c1,
                                           uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(map), "r"(c0), "r"(c1), "r"(barrier), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void TensorCopy(uint32_t to, const CUtensorMap* map, int c0, int c1, int c2,
                                           uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1, {%2, %3, %4}], [%5], %6;" ::"r"(to),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void TensorPrefetch(const CUtensorMap* map, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(map), "r"(c0),
               "r"(c1), "r"(c2)
               : "memory");
}
__device__ __forceinline__ void PrefetchTensorMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of a cluster: what was done before the arrival can be seen after the wait.
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }
// The same place of the shared memory of the cluster's block `rank`.
__device__ __forceinline__ uint32_t PeerAddress(uint32_t address, uint32_t rank) {
  uint32_t peer;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(address), "r"(rank));
  return peer;
}
__device__ __forceinline__ void PeerArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// 16 bytes into a peer's shared memory, which complete on a barrier there.
__device__ __forceinline__ void PeerStore(uint32_t to, float a, float b, float c, float d, uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
          to),
      "f"(a), "f"(b), "f"(c), "f"(d), "r"(barrier)
      : "memory");
}
// As BarrierWait, for phases that peers end.
__device__ __forceinline__ void PeerBarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "WAIT:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra END;\n"
      "bra WAIT;\n"
      "END:\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// A matrix in shared memory, 64 columns (128 bytes) of each row side by side, swizzled as tensor copies do
// with 128 bytes; aligned to 1024. Its next 16 columns stand 2 further.
__device__ __forceinline__ uint64_t SwizzledMatrix(uint32_t address) {
  constexpr uint64_t kGroupStride = 1024;  // bytes between 8 rows and the next
  return (uint64_t{1} << 62) | ((kGroupStride >> 4) << 32) | (uint64_t{1} << 16) | ((address & 0x3FFFF) >> 4);
}
__device__ __forceinline__ void WarpgroupFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void WarpgroupCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most so many of the last groups are unfinished.
template <int kPending>
__device__ __forceinline__ void WarpgroupWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// d [64, kColumns] += a [64, 16] * b [kColumns, 16]^T, both in shared memory. Warp w of four has rows 16 w to
// 16 w + 15 of d; of each 8 columns lane l has in d[4 j] and d[4 j + 1] columns 8 j + l % 4 * 2 and the next
// one of row l / 4, in the other two those of row l / 4 + 8.
template <typename T, int kColumns>
__device__ __forceinline__ void WarpgroupMma(float (&d)[kColumns / 2], uint64_t a, uint64_t b);

#define TSR_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TSR_NAMES_16 TSR_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define TSR_NAMES_24 TSR_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define TSR_NAMES_32 TSR_NAMES_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define TSR_NAMES_40 TSR_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define TSR_NAMES_48 TSR_NAMES_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define TSR_NAMES_56 TSR_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define TSR_NAMES_64 TSR_NAMES_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define TSR_EIGHT(i)                                                                                    \
  "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3]), "+f"(d[(i) + 4]), "+f"(d[(i) + 5]), \
      "+f"(d[(i) + 6]), "+f"(d[(i) + 7])
#define TSR_SUMS_8 TSR_EIGHT(0)
#define TSR_SUMS_16 TSR_SUMS_8, TSR_EIGHT(8)
#define TSR_SUMS_24 TSR_SUMS_16, TSR_EIGHT(16)
#define TSR_SUMS_32 TSR_SUMS_24, TSR_EIGHT(24)
#define TSR_SUMS_40 TSR_SUMS_32, TSR_EIGHT(32)
#define TSR_SUMS_48 TSR_SUMS_40, TSR_EIGHT(40)
#define TSR_SUMS_56 TSR_SUMS_48, TSR_EIGHT(48)
#define TSR_SUMS_64 TSR_SUMS_56, TSR_EIGHT(56)
// `registers` is half of `columns`; the two after it follow it.
#define TSR_WARPGROUP_MMA_OF(T, element, columns, registers, next)                                         \
  template <>                                                                                              \
  __device__ __forceinline__ void WarpgroupMma<T, columns>(float(&d)[registers], uint64_t a, uint64_t b) { \
    asm volatile(                                                                                          \
        "{\n"                                                                                              \
        ".reg .pred adds;\n"                                                                               \
        "setp.ne.b32 adds, 1, 0;\n"                                                                        \
        "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." element "." element                        \
        " {" TSR_NAMES_##registers "}, %" #registers ", %" #next                                           \
                                   ", adds, 1, 1, 0, 0;\n"                                                 \
                                   "}"                                                                     \
        : TSR_SUMS_##registers                                                                             \
        : "l"(a), "l"(b));                                                                                 \
  }
#define TSR_WARPGROUP_MMA(columns, registers, next)                     \
  TSR_WARPGROUP_MMA_OF(__nv_bfloat16, "bf16", columns, registers, next) \
  TSR_WARPGROUP_MMA_OF(__half, "f16", columns, registers, next)
TSR_WARPGROUP_MMA(16, 8, 9)
TSR_WARPGROUP_MMA(32, 16, 17)
TSR_WARPGROUP_MMA(48, 24, 25)
TSR_WARPGROUP_MMA(64, 32, 33)
TSR_WARPGROUP_MMA(80, 40, 41)
TSR_WARPGROUP_MMA(96, 48, 49)
TSR_WARPGROUP_MMA(112, 56, 57)
TSR_WARPGROUP_MMA(128, 64, 65)
#undef TSR_WARPGROUP_MMA
#undef TSR_WARPGROUP_MMA_OF

}  // namespace tessera::gpu

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

#endif  // TESSERA_GPU_KERNELS_COMMON_HOPPER_CUH_
