// The thread blocks that share one row of logits: a cluster, each block with a run of neighbouring tokens.
// They see one another's shared memory. On devices before sm_90 a row has one block, and all of this is a
// __syncthreads. Knows nothing of sampling.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_ROW_GROUP_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_ROW_GROUP_CUH_

#include <cstdint>

namespace tessera::gpu {

inline constexpr int kMostGroupBlocks = 16;

struct RowGroup {
  int rank;
  int size;
};

__device__ __forceinline__ RowGroup ThisGroup() {
#if __CUDA_ARCH__ >= 900
  RowGroup group;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(group.rank));
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(group.size));
  return group;
#else
  return {0, 1};
#endif
}

// A barrier of the group in two halves; every thread of every block takes part in both. What a thread wrote
// before the first, to any memory that the group shares, the others see after the second.
__device__ __forceinline__ void ArriveAtGroup() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void AwaitGroup() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}
__device__ __forceinline__ void SyncGroup() {
  ArriveAtGroup();
  AwaitGroup();
}

// The same variable in the shared memory of block `rank`. That block must have begun (a barrier says so) and
// must not end before the access is done.
template <typename T>
__device__ __forceinline__ T* InBlock(T* mine, int rank) {
#if __CUDA_ARCH__ >= 900
  uint64_t address;
  asm("mapa.u64 %0, %1, %2;" : "=l"(address) : "l"(reinterpret_cast<uint64_t>(mine)), "r"(rank));
  return reinterpret_cast<T*>(address);
#else
  static_cast<void>(rank);
  return mine;
#endif
}

// Every block's `value` stands in every block's slots[rank] after the next barrier of the group. All threads
// of a block give the same value; the slots must be out of use since an earlier barrier.
template <typename T>
__device__ __forceinline__ void TellGroup(const RowGroup& group, T value, T* slots /* [kMostGroupBlocks] */) {
  if (static_cast<int>(threadIdx.x) < group.size) {
    *InBlock(slots + group.rank, static_cast<int>(threadIdx.x)) = value;
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_ROW_GROUP_CUH_
