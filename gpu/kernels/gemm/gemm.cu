#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/dispatch.h"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/gemm/gemm.h"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kTileOutputs = 64;  // 16 a warp
constexpr int kTileColumns = 64;  // a tile's row is eight chunks of 16 bytes
constexpr int kChunks = kTileColumns / 8;
static_assert(kTileOutputs == kWarps * 16, "a warp has two 8-wide pieces of the outputs");

// A tile's chunks are spread so that eight rows' same chunk lie in different banks.
__device__ __forceinline__ int ChunkAt(int row, int chunk) { return row * kChunks + (chunk ^ (row % 8)); }

__device__ __forceinline__ void LoadMatrices(uint32_t (&out)[4], const uint4* chunk) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(chunk));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void MultiplyAdd(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1, __nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void MultiplyAdd(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1, __half) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Eight elements of a row from `column` on; zero outside the matrix. kAligned: rows begin at multiples of 16
// bytes and the number of columns is a multiple of 8.
template <typename T, bool kAligned>
__device__ __forceinline__ uint4 LoadChunk(const T* matrix, int64_t row, int rows, int column, int columns) {
  Octet<T> octet;
  octet.bits = make_uint4(0, 0, 0, 0);
  if (row >= rows || column >= columns) return octet.bits;
  const T* const source = matrix + row * columns + column;
  if constexpr (kAligned) {
    octet.bits = *reinterpret_cast<const uint4*>(source);
  } else {
    for (int i = 0; i < 8; ++i) {
      if (column + i < columns) octet.values[i] = source[i];
    }
  }
  return octet.bits;
}

__device__ __forceinline__ void Store(float* out, float sum, bool accumulate) {
  *out = accumulate ? *out + sum : sum;
}
template <typename T>
__device__ __forceinline__ void Store(T* out, float sum, bool accumulate) {
  *out = Narrow<T>(accumulate ? Widen(*out) + sum : sum);
}

template <typename T, typename Out, int kTileRows, bool kAligned>
__global__ void __launch_bounds__(kThreads) GemmKernel(GemmArgs args) {
  constexpr int kRowLoads = kTileRows * kChunks / kThreads;
  constexpr int kWeightLoads = kTileOutputs * kChunks / kThreads;
  __shared__ uint4 x_tile[2][kTileRows * kChunks];
  __shared__ uint4 weight_tile[2][kTileOutputs * kChunks];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kTileOutputs;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTileRows;
  const T* const x = static_cast<const T*>(args.x);
  const T* const weight = static_cast<const T*>(args.weight);
  const int thread_row = threadIdx.x / kChunks;
  const int thread_chunk = threadIdx.x % kChunks;
  constexpr int kRowsApart = kThreads / kChunks;

  uint4 x_next[kRowLoads];
  uint4 weight_next[kWeightLoads];
  const auto load_weight = [&](int column) {
#pragma unroll
    for (int i = 0; i < kWeightLoads; ++i) {
      weight_next[i] = LoadChunk<T, kAligned>(weight, first_output + thread_row + i * kRowsApart,
                                              args.outputs, column + thread_chunk * 8, args.columns);
    }
  };
  const auto load_x = [&](int column) {
#pragma unroll
    for (int i = 0; i < kRowLoads; ++i) {
      x_next[i] = LoadChunk<T, kAligned>(x, first_row + thread_row + i * kRowsApart, args.rows,
                                         column + thread_chunk * 8, args.columns);
    }
  };
  const auto store_tiles = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < kRowLoads; ++i) {
      x_tile[buffer][ChunkAt(thread_row + i * kRowsApart, thread_chunk)] = x_next[i];
    }
#pragma unroll
    for (int i = 0; i < kWeightLoads; ++i) {
      weight_tile[buffer][ChunkAt(thread_row + i * kRowsApart, thread_chunk)] = weight_next[i];
    }
  };

  float sums[kTileRows / 16][2][4] = {};
  load_weight(0);  // no node writes weights
  AwaitPredecessor();
  ReleaseSuccessor();
  load_x(0);
  store_tiles(0);
  __syncthreads();
  int buffer = 0;
  for (int column = 0; column < args.columns; column += kTileColumns) {
    const bool more = column + kTileColumns < args.columns;
    if (more) {
      load_weight(column + kTileColumns);
      load_x(column + kTileColumns);
    }
#pragma unroll
    for (int k = 0; k < kTileColumns / 16; ++k) {
      uint32_t b[4];
      const int output = warp * 16 + lane / 16 * 8 + lane % 8;
      LoadMatrices(b, &weight_tile[buffer][ChunkAt(output, 2 * k + lane / 8 % 2)]);
#pragma unroll
      for (int m = 0; m < kTileRows / 16; ++m) {
        uint32_t a[4];
        LoadMatrices(a, &x_tile[buffer][ChunkAt(m * 16 + lane % 16, 2 * k + lane / 16)]);
        MultiplyAdd(sums[m][0], a, b[0], b[1], T{});
        MultiplyAdd(sums[m][1], a, b[2], b[3], T{});
      }
    }
    // The other buffer was read before the last barrier.
    if (more) store_tiles(1 - buffer);
    __syncthreads();
    buffer = 1 - buffer;
  }

  Out* const out = static_cast<Out*>(args.out);
#pragma unroll
  for (int m = 0; m < kTileRows / 16; ++m) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t row = first_row + m * 16 + lane / 4 + i / 2 * 8;
        const int64_t output = first_output + warp * 16 + n * 8 + lane % 4 * 2 + i % 2;
        if (row < args.rows && output < args.outputs) {
          Store(out + row * args.out_stride + output, sums[m][n][i], args.accumulate);
        }
      }
    }
  }
}

template <typename T, typename Out, int kTileRows>
cudaError_t LaunchTiled(const LaunchContext& context, const GemmArgs& args) {
  const dim3 grid(static_cast<unsigned>((args.outputs + kTileOutputs - 1) / kTileOutputs),
                  static_cast<unsigned>((args.rows + kTileRows - 1) / kTileRows));
  const bool aligned = args.columns % 8 == 0 && reinterpret_cast<uintptr_t>(args.x) % 16 == 0 &&
                       reinterpret_cast<uintptr_t>(args.weight) % 16 == 0;
  if (aligned) {
    return Launch(context, GemmKernel<T, Out, kTileRows, true>, grid, dim3(kThreads), 0, args);
  }
  return Launch(context, GemmKernel<T, Out, kTileRows, false>, grid, dim3(kThreads), 0, args);
}

template <typename T, typename Out>
cudaError_t LaunchFor(const LaunchContext& context, const GemmArgs& args) {
  return args.rows <= 16 ? LaunchTiled<T, Out, 16>(context, args) : LaunchTiled<T, Out, 64>(context, args);
}

}  // namespace

cudaError_t LaunchGemm(const LaunchContext& context, ElementType type, ElementType out_type,
                       const GemmArgs& args) {
  if (args.rows <= 0 || args.outputs <= 0) return cudaSuccess;
  return WithElement(type, [&](auto element) {
    using T = decltype(element);
    if (out_type == ElementType::kF32) return LaunchFor<T, float>(context, args);
    return out_type == type ? LaunchFor<T, T>(context, args) : cudaErrorInvalidValue;
  });
}

}  // namespace tessera::gpu
