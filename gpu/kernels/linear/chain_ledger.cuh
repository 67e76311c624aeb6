// Time stamps inside a chain, for bench/gpu/chain_bench.cu: at what nanosecond each block came how far in
// each node. Only where TESSERA_LEDGER is defined (the program chain_ledger); else they are no code.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_LEDGER_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_LEDGER_CUH_

#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu::chain {

// Places among a block's kLedgerStamps of a node.
enum LedgerStamp {
  kStampReached = 1,     // the epilogue comes to the node
  kStampInput = 2,       // the first consumer has its input
  kStampFirstChunk = 3,  // and the first weights
  kStampLastChunk = 4,   // and the last
  kStampEnd = 5,         // the epilogue has written all outputs
  kStampIssue = 6,       // the producer comes to the last chunk
};
inline constexpr int kLedgerStamps = 8;

// A whole warp together.
__device__ __forceinline__ void Stamp(const StreamChain& chain, int node, LedgerStamp what) {
#ifdef TESSERA_LEDGER
  const unsigned long long now = GlobalTimer();
  if (threadIdx.x % 32 != 0) return;
  chain.ledger[(node * kMostStreamBlocks + blockIdx.x) * kLedgerStamps + what] = now;
#endif
}

}  // namespace tessera::gpu::chain

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_LEDGER_CUH_
