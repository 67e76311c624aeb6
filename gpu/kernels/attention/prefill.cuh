// Attention of a prompt's rows: a CTA takes a tile of rows of one sequence and one query head, and walks over
// the keys in tiles that begin at multiples of their length; scores and weights stay in registers
// (FlashAttention-2, Dao 2023). So a row's sums do not depend on how the prompt was cut.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_PREFILL_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_PREFILL_CUH_

#include <cmath>
#include <cstdint>

#include "gpu/kernels/attention/mma.cuh"
#include "gpu/kernels/attention/prefill_tile.cuh"
#include "gpu/kernels/attention/prefill_variants.h"
#include "gpu/kernels/common/dependency.cuh"

namespace tessera::gpu {

inline constexpr int kPrefillWarps = 4;
inline constexpr int kPrefillThreads = kPrefillWarps * 32;

// C: the type in which products are made. kMTiles: of 16 rows, of each warp. kKeyTile: keys at a time.
template <typename C, int kSize, int kMTiles, int kKeyTile, bool kInt8>
class Prefill {
 public:
  static constexpr int kTileRows = kPrefillWarps * kMTiles * 16;
  static constexpr int kSubTiles = kKeyTile / kTileTokens;  // each lies in one block
  static constexpr int kStride = kSize + 8;                 // elements; rows begin in unlike banks
  static constexpr int kStageElements = 2 * kKeyTile * kStride;
  static constexpr size_t kSharedBytes = (kTileRows * kStride + 2 * kStageElements) * sizeof(C);

  __device__ Prefill(const AttentionCall& call, const QueryTile& tile, C* shared)
      : call_(call), tile_(tile), queries_(shared), stages_(shared + kTileRows * kStride) {
    first_cache_row_ = Head() / (call.shape.heads / call.shape.kv_heads) * call.cache.block_tokens;
  }

  __device__ void Run() {
    const int32_t first = FirstVisible(tile_.position, call_.shape.window_tokens) / kKeyTile;
    const int32_t last = (End() - 1) / kKeyTile;
    int32_t next = Locate(first);
    Copy(0, first, next);
    next = Locate(first + 1);
    LoadQueries();
    Begin();
    for (int32_t tile = first; tile <= last; ++tile) {
      const int stage = (tile - first) & 1;
      asm volatile("cp.async.wait_group 0;" ::: "memory");
      __syncthreads();  // this stage has arrived, and all have done with the other
      if (tile < last) {
        Copy(stage ^ 1, tile + 1, next);
        next = Locate(tile + 2);
      }
      Compute(stages_ + stage * kStageElements, tile * kKeyTile);
    }
    StoreContext();
  }

 private:
  static __device__ int Lane() { return static_cast<int>(threadIdx.x & 31); }
  static __device__ int Warp() { return static_cast<int>(threadIdx.x / 32); }

  static __device__ int32_t Head() { return static_cast<int32_t>(blockIdx.x); }
  // One past the tile's last position.
  __device__ int32_t End() const { return tile_.position + tile_.rows; }

  // Lane i, below kSubTiles: the block of the tile's i-th 16 keys; -1: nothing there, or nothing that is
  // seen. Read a tile ahead of its use.
  __device__ int32_t Locate(int32_t tile) const {
    const int32_t token = tile * kKeyTile + Lane() * kTileTokens;
    if (Lane() >= kSubTiles || token >= End()) return -1;
    return call_.step.block_table[static_cast<int64_t>(tile_.sequence) * call_.step.table_stride +
                                  token / call_.cache.block_tokens];
  }

  // Keys and values of a tile. Rows that do not exist become 0: their weight is 0, and 0 times what lies
  // there need not be.
  __device__ void Copy(int stage, int32_t tile, int32_t located) {
    const int32_t in_block = (tile * kKeyTile + Lane() * kTileTokens) % call_.cache.block_tokens;
    const int64_t offset = located * call_.cache.block_bytes + call_.cache.layer_offset_bytes +
                           static_cast<int64_t>(first_cache_row_ + in_block) * call_.cache.row_bytes;
    C* const keys = stages_ + stage * kStageElements;
    constexpr int kChunks = kSize / 8;  // of a row: 8 elements
    static_assert(kKeyTile * kChunks % kPrefillThreads == 0, "threads take equally many");
#pragma unroll 2
    for (int i = 0; i < kKeyTile * kChunks / kPrefillThreads; ++i) {
      const int index = static_cast<int>(threadIdx.x) + i * kPrefillThreads;
      const int row = index / kChunks;
      const int chunk = index % kChunks;
      const int source = row / kTileTokens;
      const int32_t block = __shfl_sync(kAllLanes, located, source);
      const bool there = block >= 0 && tile * kKeyTile + row < End();
      const int64_t base = __shfl_sync(kAllLanes, offset, source);
      const uint8_t* const from =
          call_.cache.data + (there ? base + row % kTileTokens * call_.cache.row_bytes : 0);
      C* const to = keys + row * kStride + chunk * 8;
      CopyChunk(to, from, chunk, there);
      CopyChunk(to + kKeyTile * kStride, from + (there ? call_.cache.value_offset_bytes : 0), chunk, there);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  // row: of the cache.
  __device__ void CopyChunk(C* to, const uint8_t* row, int chunk, bool there) {
    if constexpr (kInt8) {
      uint4 packed = make_uint4(0, 0, 0, 0);
      if (there) {
        const uint32_t* const words = reinterpret_cast<const uint32_t*>(row + chunk * 8);
        const float scale = __half2float(*reinterpret_cast<const __half*>(row + kSize + chunk / 4 * 2));
        packed.x = Scaled(words[0], 0, scale);
        packed.y = Scaled(words[0], 2, scale);
        packed.z = Scaled(words[1], 0, scale);
        packed.w = Scaled(words[1], 2, scale);
      }
      *reinterpret_cast<uint4*>(to) = packed;
    } else {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)),
                   "l"(__cvta_generic_to_global(row + chunk * 16)), "r"(there ? 16 : 0)
                   : "memory");
    }
  }

  static __device__ uint32_t Scaled(uint32_t word, int byte, float scale) {
    const int low = static_cast<int8_t>(word >> (8 * byte));
    const int high = static_cast<int8_t>(word >> (8 * byte + 8));
    return Pack<C>(static_cast<float>(low) * scale, static_cast<float>(high) * scale);
  }

  __device__ int64_t Element(int32_t row) const {
    return (static_cast<int64_t>(tile_.first_row + row) * call_.shape.heads + Head()) * kSize;
  }

  __device__ void LoadQueries() {
    constexpr int kChunks = kSize / 8;
    for (int index = static_cast<int>(threadIdx.x); index < kTileRows * kChunks; index += kPrefillThreads) {
      const int row = index / kChunks;
      const int chunk = index % kChunks;
      uint4 part = make_uint4(0, 0, 0, 0);
      if (row < tile_.rows) {
        part = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(call_.query) + Element(row) +
                                               chunk * 8);
      }
      part.x = Convert<C>(call_.shape.type, part.x);
      part.y = Convert<C>(call_.shape.type, part.y);
      part.z = Convert<C>(call_.shape.type, part.z);
      part.w = Convert<C>(call_.shape.type, part.w);
      *reinterpret_cast<uint4*>(queries_ + row * kStride + chunk * 8) = part;
    }
  }

  __device__ void Begin() {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int i = 0; i < kSize / 8; ++i) {
        for (float& sum : sums_[m][i]) sum = 0;
      }
      for (int r = 0; r < 2; ++r) {
        largest_[m][r] = -INFINITY;
        weight_[m][r] = 0;
      }
    }
  }

  __device__ void Compute(const C* keys, int32_t first_key) {
    float scores[kMTiles][kKeyTile / 8][4] = {};
    Scores(keys, scores);
    // Of the warp's rows, the first sees the fewest keys at the end, the last the fewest at the start.
    const int32_t position = tile_.position + Warp() * kMTiles * 16;
    const int32_t window = call_.shape.window_tokens;
    const bool masked =
        first_key + kKeyTile - 1 > position || (window > 0 && first_key < position + kMTiles * 16 - window);
    if (masked) Mask(first_key, scores);
    Softmax(scores);
    AddValues(keys + kKeyTile * kStride, scores);
  }

  __device__ void Scores(const C* keys, float (&scores)[kMTiles][kKeyTile / 8][4]) {
    const uint32_t a_address =
        SharedAddress(queries_ + (Warp() * kMTiles * 16 + (Lane() & 15)) * kStride + (Lane() >> 4) * 8);
    const uint32_t b_address =
        SharedAddress(keys + ((Lane() & 7) + (Lane() >> 4) * 8) * kStride + (Lane() >> 3 & 1) * 8);
#pragma unroll
    for (int k = 0; k < kSize / 16; ++k) {
      uint32_t a[kMTiles][4];
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) LoadMatrices(a_address + (m * 16 * kStride + k * 16) * 2, a[m]);
#pragma unroll
      for (int n = 0; n < kKeyTile / 16; ++n) {
        uint32_t b[4];
        LoadMatrices(b_address + (n * 16 * kStride + k * 16) * 2, b);
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) {
          Multiply<C>(scores[m][2 * n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          Multiply<C>(scores[m][2 * n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
  }

  __device__ void Mask(int32_t first_key, float (&scores)[kMTiles][kKeyTile / 8][4]) {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int32_t position = tile_.position + (Warp() * kMTiles + m) * 16 + r * 8 + Lane() / 4;
        const int32_t low = FirstVisible(position, call_.shape.window_tokens);
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int32_t key = first_key + n * 8 + (Lane() & 3) * 2 + e;
            if (key > position || key < low) scores[m][n][2 * r + e] = -INFINITY;
          }
        }
      }
    }
  }

  // Scores become weights.
  __device__ void Softmax(float (&scores)[kMTiles][kKeyTile / 8][4]) {
    const float scale = call_.shape.scale * 1.44269504088896340736f;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float most = largest_[m][r];
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
          for (int e = 0; e < 2; ++e) most = fmaxf(most, scores[m][n][2 * r + e]);
        }
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
        const float used = most == -INFINITY ? 0.0f : most;  // nothing seen yet
        const float rescale = Exp2((largest_[m][r] - used) * scale);
        largest_[m][r] = most;
        float total = 0;
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; ++n) {
          for (int e = 0; e < 2; ++e) {
            float& score = scores[m][n][2 * r + e];
            score = Exp2(fmaf(score, scale, -used * scale));
            total += score;
          }
        }
        weight_[m][r] = weight_[m][r] * rescale + total;
        if (__any_sync(kAllLanes, rescale != 1.0f)) {
#pragma unroll
          for (int i = 0; i < kSize / 8; ++i) {
            sums_[m][i][2 * r] *= rescale;
            sums_[m][i][2 * r + 1] *= rescale;
          }
        }
      }
    }
  }

  __device__ void AddValues(const C* values, const float (&weights)[kMTiles][kKeyTile / 8][4]) {
    const uint32_t address = SharedAddress(values + (Lane() & 15) * kStride + (Lane() >> 4) * 8);
#pragma unroll
    for (int k = 0; k < kKeyTile / 16; ++k) {
      uint32_t a[kMTiles][4];
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        for (int i = 0; i < 4; ++i) {
          const float(&pair)[4] = weights[m][2 * k + i / 2];
          a[m][i] = Pack<C>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kSize / 16; ++n) {
        uint32_t b[4];
        LoadMatricesTransposed(address + (k * 16 * kStride + n * 16) * 2, b);
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) {
          Multiply<C>(sums_[m][2 * n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          Multiply<C>(sums_[m][2 * n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
  }

  // Through the warp's own queries' place, so that rows are written whole.
  __device__ void StoreContext() {
    uint16_t* const staged = reinterpret_cast<uint16_t*>(queries_) + Warp() * kMTiles * 16 * kStride;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float total = weight_[m][r];
        total += __shfl_xor_sync(kAllLanes, total, 1);
        total += __shfl_xor_sync(kAllLanes, total, 2);
        const float factor = 1.0f / total;
        const int row = m * 16 + r * 8 + Lane() / 4;
#pragma unroll
        for (int i = 0; i < kSize / 8; ++i) {
          *reinterpret_cast<uint32_t*>(staged + row * kStride + i * 8 + (Lane() & 3) * 2) =
              Pack(call_.shape.type, sums_[m][i][2 * r] * factor, sums_[m][i][2 * r + 1] * factor);
        }
      }
    }
    __syncwarp();
    constexpr int kChunks = kSize / 8;
    for (int index = Lane(); index < kMTiles * 16 * kChunks; index += 32) {
      const int row = index / kChunks;
      const int chunk = index % kChunks;
      const int in_tile = Warp() * kMTiles * 16 + row;
      if (in_tile < tile_.rows) {
        *reinterpret_cast<uint4*>(static_cast<uint16_t*>(call_.context) + Element(in_tile) + chunk * 8) =
            *reinterpret_cast<const uint4*>(staged + row * kStride + chunk * 8);
      }
    }
  }

  const AttentionCall& call_;
  const QueryTile tile_;
  C* const queries_;         // [kTileRows, kStride]
  C* const stages_;          // two of keys [kKeyTile, kStride], then values
  int32_t first_cache_row_;  // of the kv head in every block
  // Of rows g + 8 r of tile m.
  float largest_[kMTiles][2];          // not yet scaled
  float weight_[kMTiles][2];           // this lane's part
  float sums_[kMTiles][kSize / 8][4];  // [2 r + e]: elements 8 i + 2 t + e
};

template <typename C, int kSize, int kMTiles, int kKeyTile, bool kInt8>
__global__ void __launch_bounds__(kPrefillThreads, 2)
    PrefillTiles(const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(16) uint8_t shared[];
  ReleaseSuccessor();
  AwaitPredecessor();
  using Kernel = Prefill<C, kSize, kMTiles, kKeyTile, kInt8>;
  QueryTile tile;
  if (!FindQueryTile(call, Kernel::kTileRows, static_cast<int32_t>(blockIdx.y), &tile)) return;
  Kernel(call, tile, reinterpret_cast<C*>(shared)).Run();
}

template <typename C, int kSize, int kMTiles, int kKeyTile, bool kInt8>
PrefillVariant MakePrefillVariant() {
  using Kernel = Prefill<C, kSize, kMTiles, kKeyTile, kInt8>;
  return {PrefillTiles<C, kSize, kMTiles, kKeyTile, kInt8>, Kernel::kTileRows, kPrefillThreads,
          Kernel::kSharedBytes};
}

// T: of the cache, BF16 or F16.
template <typename T>
PrefillVariant FindHalfPrefill(int32_t head_size, bool small) {
  switch (head_size) {
    case 64:
      return MakePrefillVariant<T, 64, 2, 64, false>();
    case 80:
      return MakePrefillVariant<T, 80, 2, 64, false>();
    case 96:
      return MakePrefillVariant<T, 96, 2, 64, false>();
    case 128:
      return small ? MakePrefillVariant<T, 128, 1, 64, false>() : MakePrefillVariant<T, 128, 2, 64, false>();
    case 256:
      return MakePrefillVariant<T, 256, 1, 32, false>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_PREFILL_CUH_
