#include "gpu/kernels/bias_add/bias_add.h"
#include "gpu/kernels/common/dependency.cuh"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) BiasAddKernel(BiasAddArgs args) {
  AwaitPredecessor();
  ReleaseSuccessor();
  const int column = blockIdx.y * kThreads + threadIdx.x;
  if (column >= args.columns) return;
  args.hidden[static_cast<int64_t>(blockIdx.x) * args.columns + column] += args.bias[column];
}

}  // namespace

cudaError_t LaunchBiasAdd(const LaunchContext& context, const BiasAddArgs& args) {
  const dim3 grid(static_cast<unsigned>(args.rows),
                  static_cast<unsigned>((args.columns + kThreads - 1) / kThreads));
  return Launch(context, BiasAddKernel, grid, dim3(kThreads), 0, args);
}

}  // namespace tessera::gpu
