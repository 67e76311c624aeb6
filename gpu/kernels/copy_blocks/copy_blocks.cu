#include <algorithm>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/copy_blocks/copy_blocks.h"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;

// Each thread has its own bytes of every block, and goes through the list in its order: no two threads touch
// the same bytes, so the order needs no barrier.
template <typename Unit>
__global__ void __launch_bounds__(kThreads) CopyBlocksKernel(CopyBlocksArgs args) {
  AwaitPredecessor();
  ReleaseSuccessor();
  const int64_t units = args.block_bytes / static_cast<int64_t>(sizeof(Unit));
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  Unit* const cache = reinterpret_cast<Unit*>(args.cache);
  for (int copy = 0; copy < args.count; ++copy) {
    const tsr_device_copy wanted = args.copies[copy];
    if (wanted.group != args.group) continue;
    const Unit* const from = cache + wanted.from * units;
    Unit* const to = cache + wanted.to * units;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < units; i += step) {
      to[i] = from[i];
    }
  }
}

}  // namespace

cudaError_t LaunchCopyBlocks(const LaunchContext& context, const CopyBlocksArgs& args) {
  const bool wide = args.block_bytes % 16 == 0;
  const int64_t units = args.block_bytes / (wide ? 16 : 4);
  const int64_t most = 8 * std::max(context.sm_count, 1);
  const auto blocks = static_cast<unsigned>(std::clamp<int64_t>((units + kThreads - 1) / kThreads, 1, most));
  if (wide) return Launch(context, CopyBlocksKernel<uint4>, dim3(blocks), dim3(kThreads), 0, args);
  return Launch(context, CopyBlocksKernel<uint32_t>, dim3(blocks), dim3(kThreads), 0, args);
}

}  // namespace tessera::gpu
