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
// The first half for a barrier that orders no memory.
__device__ __forceinline__ void ArriveAtGroupRelaxed() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void SyncGroup() {
  ArriveAtGroup();
  AwaitGroup();
}

// The same variable in the shared memory of block `rank`: what it holds, what it gets. That block must have
// begun (a barrier says so) and must not end before the access is done.
__device__ __forceinline__ uint32_t AddressIn(const void* mine, int rank) {
  uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(mine));
#if __CUDA_ARCH__ >= 900
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(address), "r"(rank));
#else
  static_cast<void>(rank);
#endif
  return address;
}

template <typename T>
__device__ __forceinline__ T LoadFrom(const T* mine, int rank) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "words or double words");
#if __CUDA_ARCH__ >= 900
  if constexpr (sizeof(T) == 4) {
    uint32_t value;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(AddressIn(mine, rank)));
    return static_cast<T>(value);
  } else {
    uint64_t value;
    asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(value) : "r"(AddressIn(mine, rank)));
    return static_cast<T>(value);
  }
#else
  static_cast<void>(rank);
  return *mine;
#endif
}

template <typename T>
__device__ __forceinline__ void StoreTo(T* mine, int rank, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "words or double words");
#if __CUDA_ARCH__ >= 900
  if constexpr (sizeof(T) == 4) {
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(AddressIn(mine, rank)), "r"(value) : "memory");
  } else {
    asm volatile("st.shared::cluster.u64 [%0], %1;" ::"r"(AddressIn(mine, rank)), "l"(value) : "memory");
  }
#else
  static_cast<void>(rank);
  *mine = value;
#endif
}

// Adds 1 and returns what was there.
__device__ __forceinline__ int32_t CountIn(int32_t* mine, int rank) {
#if __CUDA_ARCH__ >= 900
  int32_t before;
  asm volatile("atom.relaxed.cluster.shared::cluster.add.s32 %0, [%1], 1;"
               : "=r"(before)
               : "r"(AddressIn(mine, rank))
               : "memory");
  return before;
#else
  static_cast<void>(rank);
  return atomicAdd(mine, 1);
#endif
}

// Every block's `value` stands in every block's slots[rank] after the next barrier of the group. All threads
// of a block give the same value; the slots must be out of use since an earlier barrier.
template <typename T>
__device__ __forceinline__ void TellGroup(const RowGroup& group, T value, T* slots /* [kMostGroupBlocks] */) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < group.size) StoreTo(slots + group.rank, thread, value);
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_ROW_GROUP_CUH_
