// The tokens that a step takes from the step before, without a way over the host.
#include <cstdint>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/sample/sample.h"

namespace tessera::gpu {
namespace {

constexpr int kResolveThreads = 128;

__global__ void __launch_bounds__(kResolveThreads) ResolveTokensKernel(const ResolveTokensArgs args) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int32_t row = static_cast<int32_t>(blockIdx.x * kResolveThreads + threadIdx.x);
  if (row >= args.capacity || row >= *args.row_count) return;
  const int32_t source = args.sources[row];
  if (source >= 0) args.tokens[row] = max(args.sampled[source], 0);
}

}  // namespace

cudaError_t LaunchResolveTokens(const LaunchContext& context, const ResolveTokensArgs& args) {
  if (args.capacity <= 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>((args.capacity + kResolveThreads - 1) / kResolveThreads));
  return Launch(context, &ResolveTokensKernel, grid, dim3(kResolveThreads), 0, args);
}

}  // namespace tessera::gpu
