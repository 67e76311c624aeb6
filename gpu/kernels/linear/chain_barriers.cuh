// How a block's warps wait for one another, as addresses in shared memory.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_BARRIERS_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_BARRIERS_CUH_

#include <cstdint>

#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/chain_shape.h"

#if __CUDA_ARCH__ >= 900

namespace tessera::gpu::chain {

struct Barriers {
  uint32_t full;           // [stages][kPieces]: a piece of a stage has arrived
  uint32_t empty;          // [stages]: everybody has read it
  uint32_t partial_full;   // [kPartialBuffers]
  uint32_t partial_empty;  // [kPartialBuffers]
  uint32_t finished;       // the last node is
};

__device__ __forceinline__ Barriers BarriersAt(uint32_t shared) {
  Barriers barriers;
  barriers.full = shared;
  barriers.empty = barriers.full + 8 * kPieces * kMostStages;
  barriers.partial_full = barriers.empty + 8 * kMostStages;
  barriers.partial_empty = barriers.partial_full + 8 * kPartialBuffers;
  barriers.finished = barriers.partial_empty + 8 * kPartialBuffers;
  return barriers;
}

// One thread.
__device__ __forceinline__ void InitBarriers(const Barriers& barriers, const ChainArgs& args) {
  for (int i = 0; i < args.stages; ++i) {
    for (int piece = 0; piece < kPieces; ++piece) BarrierInit(barriers.full + 8 * (i * kPieces + piece), 1);
    BarrierInit(barriers.empty + 8 * i, kConsumerWarps);
  }
  for (int i = 0; i < kPartialBuffers; ++i) {
    BarrierInit(barriers.partial_full + 8 * i, kConsumerWarps);
    BarrierInit(barriers.partial_empty + 8 * i, 1);
  }
  BarrierInit(barriers.finished, 1);
}

}  // namespace tessera::gpu::chain

#endif  // __CUDA_ARCH__ >= 900

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_BARRIERS_CUH_
