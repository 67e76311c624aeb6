// The CTAs of a cluster, and words that one sends into another's shared memory. From sm_90 on.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_CLUSTER_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_CLUSTER_CUH_

#include <cstdint>

#if __CUDA_ARCH__ >= 900
namespace tessera::gpu {

__device__ __forceinline__ int32_t ClusterRank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int32_t>(rank);
}
__device__ __forceinline__ int32_t ClusterSize() {
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return static_cast<int32_t>(size);
}

// The two halves of a barrier of all threads of the cluster.
__device__ __forceinline__ void ArriveAtCluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void AwaitCluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Where CTA `rank` has what this one has at `address` of its shared memory.
__device__ __forceinline__ uint32_t AddressIn(uint32_t address, int32_t rank) {
  uint32_t result;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(result) : "r"(address), "r"(rank));
  return result;
}

// Bytes that arrive count at the receiver's barrier, which lies in the same CTA as `to`.
__device__ __forceinline__ void Send(uint32_t to, const float4& value, uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(
          to),
      "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void Send(uint32_t to, const float2& value, uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1,%2}, [%3];" ::"r"(to),
      "f"(value.x), "f"(value.y), "r"(barrier)
      : "memory");
}

}  // namespace tessera::gpu
#endif

#endif  // TESSERA_GPU_KERNELS_ATTENTION_CLUSTER_CUH_
