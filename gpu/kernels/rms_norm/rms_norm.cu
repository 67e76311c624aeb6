#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/dispatch.h"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/rms_norm/rms_norm.h"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// The same sum in every thread, added in an order that is the same always.
__device__ float SumOverBlock(float value, float* partial /* [kWarps] shared */) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += partial[warp];
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) RmsNormKernel(RmsNormArgs args) {
  __shared__ float partial[kWarps];
  AwaitPredecessor();
  ReleaseSuccessor();
  const int row = blockIdx.x;
  const int64_t from = args.gather == nullptr ? row : args.gather[row];
  const float* const x = args.hidden + from * args.columns;
  T* const out = static_cast<T*>(args.out) + static_cast<int64_t>(row) * args.columns;
  const bool vectors = args.columns % 4 == 0;

  float squares = 0;
  if (vectors) {
    for (int i = threadIdx.x * 4; i < args.columns; i += kThreads * 4) {
      const float4 v = *reinterpret_cast<const float4*>(x + i);
      squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
  } else {
    for (int i = threadIdx.x; i < args.columns; i += kThreads) squares += x[i] * x[i];
  }
  const float mean = SumOverBlock(squares, partial) / static_cast<float>(args.columns);
  const float scale = 1.0f / sqrtf(mean + args.epsilon);

  if (!vectors) {
    for (int i = threadIdx.x; i < args.columns; i += kThreads) {
      out[i] = Narrow<T>(x[i] * scale * args.weight[i]);
    }
    return;
  }
  for (int i = threadIdx.x * 4; i < args.columns; i += kThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(x + i);
    const float4 w = *reinterpret_cast<const float4*>(args.weight + i);
    union {
      uint2 bits;
      T values[4];
    } four;
    four.values[0] = Narrow<T>(v.x * scale * w.x);
    four.values[1] = Narrow<T>(v.y * scale * w.y);
    four.values[2] = Narrow<T>(v.z * scale * w.z);
    four.values[3] = Narrow<T>(v.w * scale * w.w);
    *reinterpret_cast<uint2*>(out + i) = four.bits;
  }
}

}  // namespace

cudaError_t LaunchRmsNorm(const LaunchContext& context, ElementType type, const RmsNormArgs& args) {
  return WithElement(type, [&](auto element) {
    return Launch(context, RmsNormKernel<decltype(element)>, dim3(static_cast<unsigned>(args.rows)),
                  dim3(kThreads), 0, args);
  });
}

}  // namespace tessera::gpu
