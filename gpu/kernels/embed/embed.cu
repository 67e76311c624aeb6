#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/dispatch.h"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/embed/embed.h"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads) EmbedKernel(EmbedArgs args) {
  AwaitPredecessor();
  ReleaseSuccessor();
  const int row = blockIdx.x;
  const bool live = row < *args.rows;
  // Any token that the table does not have would be a defect elsewhere; it must not become a stray read.
  const int32_t token = live ? min(max(args.tokens[row], 0), args.vocabulary - 1) : 0;
  const T* const source = static_cast<const T*>(args.table) + static_cast<int64_t>(token) * args.columns;
  float* const target = args.hidden + static_cast<int64_t>(row) * args.columns;
  const int step = gridDim.y * kThreads;
  const int first = blockIdx.y * kThreads + threadIdx.x;
  if (args.columns % 8 != 0) {
    for (int i = first; i < args.columns; i += step) target[i] = live ? Widen(source[i]) : 0.0f;
    return;
  }
  float squares = 0;
  for (int i = first * 8; i < args.columns; i += step * 8) {
    Octet<T> octet;
    octet.bits = live ? *reinterpret_cast<const uint4*>(source + i) : make_uint4(0, 0, 0, 0);
    float4 low, high;
    low = make_float4(Widen(octet.values[0]), Widen(octet.values[1]), Widen(octet.values[2]),
                      Widen(octet.values[3]));
    high = make_float4(Widen(octet.values[4]), Widen(octet.values[5]), Widen(octet.values[6]),
                       Widen(octet.values[7]));
    *reinterpret_cast<float4*>(target + i) = low;
    *reinterpret_cast<float4*>(target + i + 4) = high;
    if (args.next_x == nullptr) continue;
    Octet<T> next;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float value = Widen(octet.values[k]);
      next.values[k] = Narrow<T>(value * args.next_norm[i + k]);
      squares += value * value;
    }
    *reinterpret_cast<uint4*>(static_cast<T*>(args.next_x) + static_cast<int64_t>(row) * args.columns + i) =
        next.bits;
  }
  if (args.square_sums == nullptr) return;
  __shared__ float sums[kThreads / 32];
  for (int lanes = 16; lanes > 0; lanes /= 2) squares += __shfl_xor_sync(0xFFFFFFFFu, squares, lanes);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = squares;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float sum = 0;
  for (const float part : sums) sum += part;
  args.square_sums[static_cast<int64_t>(row) * args.square_stride + blockIdx.y] = sum;
}

}  // namespace

int EmbedParts(int32_t capacity, int32_t columns) {
  // A few rows alone are too few thread blocks to hide the memory's latency.
  return capacity < 64 && columns >= 4 * kThreads ? 2 : 1;
}

cudaError_t LaunchEmbed(const LaunchContext& context, ElementType type, const EmbedArgs& args) {
  const dim3 grid(static_cast<unsigned>(args.capacity),
                  static_cast<unsigned>(EmbedParts(args.capacity, args.columns)));
  return WithElement(type, [&](auto element) {
    return Launch(context, EmbedKernel<decltype(element)>, grid, dim3(kThreads), 0, args);
  });
}

}  // namespace tessera::gpu
