#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/dispatch.h"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/swiglu/swiglu.h"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;

// x / (1 + e^-x) goes to -0 and to x at its ends: e^-x may become infinity, never a NaN with it.
__device__ __forceinline__ float SiluMultiply(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) SwiGluKernel(SwiGluArgs args) {
  AwaitPredecessor();
  ReleaseSuccessor();
  const int64_t row = blockIdx.x;
  const T* const gate = static_cast<const T*>(args.gate_up) + row * 2 * args.columns;
  const T* const up = gate + args.columns;
  T* const out = static_cast<T*>(args.out) + row * args.columns;
  const int step = gridDim.y * kThreads;
  const int first = blockIdx.y * kThreads + threadIdx.x;
  if (args.columns % 8 != 0) {
    for (int i = first; i < args.columns; i += step) {
      out[i] = Narrow<T>(SiluMultiply(Widen(gate[i]), Widen(up[i])));
    }
    return;
  }
  for (int i = first * 8; i < args.columns; i += step * 8) {
    Octet<T> g, u, product;
    g.bits = *reinterpret_cast<const uint4*>(gate + i);
    u.bits = *reinterpret_cast<const uint4*>(up + i);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      product.values[k] = Narrow<T>(SiluMultiply(Widen(g.values[k]), Widen(u.values[k])));
    }
    *reinterpret_cast<uint4*>(out + i) = product.bits;
  }
}

}  // namespace

cudaError_t LaunchSwiGlu(const LaunchContext& context, ElementType type, const SwiGluArgs& args) {
  const int width = args.columns % 8 == 0 ? args.columns / 8 : args.columns;
  const dim3 grid(static_cast<unsigned>(args.rows), static_cast<unsigned>((width + kThreads - 1) / kThreads));
  return WithElement(type, [&](auto element) {
    return Launch(context, SwiGluKernel<decltype(element)>, grid, dim3(kThreads), 0, args);
  });
}

}  // namespace tessera::gpu
