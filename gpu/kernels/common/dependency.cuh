// Programmatic dependent launch, device side. The rules that make a chain of such nodes correct:
// - every thread block executes AwaitPredecessor before it exits, early exits included, or completion is not
//   transitive: a node could start reading what the last but one still writes;
// - before AwaitPredecessor a block reads only what no node of the step writes (weights, old cache rows) and
//   writes nothing to global memory.
// Device code older than sm_90 has none of it: there nodes follow one another entirely.
#ifndef TESSERA_GPU_KERNELS_COMMON_DEPENDENCY_CUH_
#define TESSERA_GPU_KERNELS_COMMON_DEPENDENCY_CUH_

namespace tessera::gpu {

// All that earlier nodes of the stream wrote can be seen afterwards.
__device__ __forceinline__ void AwaitPredecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Once every block has said so (or has ended), the next node may start.
__device__ __forceinline__ void ReleaseSuccessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_COMMON_DEPENDENCY_CUH_
