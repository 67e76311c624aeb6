// Attention of a prompt's rows by the warpgroup products of sm_90a, for 16-bit caches: two warpgroups compute
// 64 rows each of a tile of one sequence and one query head; a third copies keys and values ahead of them.
// While a warpgroup's products with the values of one tile run, it makes the weights of the next
// (FlashAttention-3, Shah et al. 2024). Tiles of keys begin at multiples of their length, so that a row's
// sums do not depend on how the prompt was cut.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_PREFILL_HOPPER_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_PREFILL_HOPPER_CUH_

#include <cmath>
#include <cstdint>

#include "gpu/kernels/attention/prefill_tile.cuh"
#include "gpu/kernels/attention/prefill_variants.h"
#include "gpu/kernels/attention/wgmma.cuh"
#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/ptx.cuh"

namespace tessera::gpu {

inline constexpr int kGroupThreads = 128;
inline constexpr int kGroupRows = 64;
inline constexpr int kComputingGroups = 2;
inline constexpr int kHopperThreads = (1 + kComputingGroups) * kGroupThreads;
inline constexpr int kHopperTileRows = kComputingGroups * kGroupRows;
inline constexpr int kHopperKeyTile = 128;
inline constexpr int kHopperStages = 2;

// Of a CTA: queries, then stages of keys, then stages of values; each a tile of panels (wgmma.cuh).
template <int kSize>
struct HopperLayout {
  static constexpr int kQueryBytes = kHopperTileRows * kSize * 2;
  static constexpr int kStageBytes = kHopperKeyTile * kSize * 2;
  static constexpr int kAlignment = 1024;
  static constexpr size_t kSharedBytes = kAlignment + kQueryBytes + 2 * kHopperStages * kStageBytes;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Barriers of one ring of stages: copied by all threads of the copying group, read by the computing warps.
struct StageBarriers {
  uint64_t full[kHopperStages];
  uint64_t empty[kHopperStages];

  __device__ void Init() {
    for (int i = 0; i < kHopperStages; ++i) {
      BarrierInit(SharedAddress(full + i), kGroupThreads);
      BarrierInit(SharedAddress(empty + i), kComputingGroups * kGroupThreads / 32);
    }
  }
  // The number-th tile of all.
  __device__ void AwaitFull(int number) {
    BarrierWait(SharedAddress(full + number % kHopperStages), number / kHopperStages & 1);
  }
  __device__ void AwaitEmpty(int number) {
    if (number < kHopperStages) return;
    BarrierWait(SharedAddress(empty + number % kHopperStages), (number / kHopperStages - 1) & 1);
  }
  __device__ void SetFull(int number) { BarrierArrive(SharedAddress(full + number % kHopperStages)); }
  // By each computing warp.
  __device__ void SetEmpty(int number) {
    if (threadIdx.x % 32 == 0) BarrierArrive(SharedAddress(empty + number % kHopperStages));
  }
};

// Makes what this thread wrote to shared memory visible to the products.
__device__ __forceinline__ void FenceForProducts() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The copying group: keys of tile 0, then of tile n + 1 and values of tile n in turn.
template <int kSize>
class HopperCopies {
  static constexpr int kChunks = kSize / 8;  // of a row, of 16 bytes
  static constexpr int kRowsAtOnce = kGroupThreads / kChunks;

 public:
  __device__ HopperCopies(const AttentionCall& call, const QueryTile& tile, uint8_t* stages,
                          StageBarriers* keys, StageBarriers* values)
      : call_(call), tile_(tile), stages_(SharedAddress(stages)), keys_(keys), values_(values) {
    first_cache_row_ =
        static_cast<int32_t>(blockIdx.x) / (call.shape.heads / call.shape.kv_heads) * call.cache.block_tokens;
  }

  __device__ void Run(int32_t first, int32_t last) {
    const int count = last - first + 1;
    int64_t place = Locate(first);
    int64_t place_before = 0;
    for (int n = 0; n <= count; ++n) {
      if (n < count) {
        keys_->AwaitEmpty(n);
        Copy(n % kHopperStages, first + n, place, 0);
        if (n > 0) Publish(values_, n - 2);
      }
      if (n > 0) {
        values_->AwaitEmpty(n - 1);
        Copy(kHopperStages + (n - 1) % kHopperStages, first + n - 1, place_before,
             call_.cache.value_offset_bytes);
        if (n < count) Publish(keys_, n);
        if (n == count) Publish(values_, n - 2);
      }
      if (n == 0 && count > 0) {
        // Nothing else is on its way: the first products need not wait for more.
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        FenceForProducts();
        keys_->SetFull(0);
      }
      place_before = place;
      if (n + 1 < count) place = Locate(first + n + 1);
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    FenceForProducts();
    values_->SetFull(count - 1);
  }

 private:
  static __device__ int Lane() { return static_cast<int>(threadIdx.x & 31); }
  __device__ int32_t End() const { return tile_.position + tile_.rows; }

  // Lane i: the offset in the cache of the tile's i-th 16 keys; -1: nothing there, or nothing that is seen.
  __device__ int64_t Locate(int32_t tile) const {
    const int32_t token = tile * kHopperKeyTile + Lane() * kTileTokens;
    if (Lane() >= kHopperKeyTile / kTileTokens || token >= End()) return -1;
    const int32_t block =
        call_.step.block_table[static_cast<int64_t>(tile_.sequence) * call_.step.table_stride +
                               token / call_.cache.block_tokens];
    if (block < 0) return -1;
    return block * call_.cache.block_bytes + call_.cache.layer_offset_bytes +
           static_cast<int64_t>(first_cache_row_ + token % call_.cache.block_tokens) * call_.cache.row_bytes;
  }

  // Rows that do not exist become 0: their weight is 0, and 0 times what lies there need not be.
  __device__ void Copy(int stage, int32_t tile, int64_t place, int64_t plane_offset) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int first_row = static_cast<int>(threadIdx.x) / kChunks;
    const uint32_t to = stages_ + stage * HopperLayout<kSize>::kStageBytes;
#pragma unroll 4
    for (int row = first_row; row < kHopperKeyTile; row += kRowsAtOnce) {
      const int64_t base = __shfl_sync(kAllLanes, place, row / kTileTokens);
      const bool there = base >= 0 && tile * kHopperKeyTile + row < End();
      const uint8_t* const from =
          call_.cache.data +
          (there ? base + plane_offset + row % kTileTokens * call_.cache.row_bytes + chunk * 16 : 0);
      asm volatile(
          "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to + PanelOffset(kHopperKeyTile, row, chunk)),
          "l"(__cvta_generic_to_global(from)), "r"(there ? 16 : 0)
          : "memory");
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  // All copies but the last have arrived: those of tile `number` among them.
  __device__ void Publish(StageBarriers* barriers, int number) const {
    if (number < 0) return;
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    FenceForProducts();
    barriers->SetFull(number);
  }

  const AttentionCall& call_;
  const QueryTile& tile_;
  const uint32_t stages_;
  StageBarriers* const keys_;
  StageBarriers* const values_;
  int32_t first_cache_row_;  // of the kv head in every block
};

// A computing group.
template <typename C, int kSize>
class HopperGroup {
  static constexpr int kChunks = kSize / 8;
  static constexpr int kScoreColumns = kHopperKeyTile / 8;
  static constexpr int kSumColumns = kSize / 8;
  using Layout = HopperLayout<kSize>;

 public:
  // group: 0 or 1.
  __device__ HopperGroup(const AttentionCall& call, const QueryTile& tile, int group, uint8_t* shared,
                         StageBarriers* keys, StageBarriers* values)
      : call_(call), tile_(tile), group_(group), queries_(shared), keys_(keys), values_(values) {}

  __device__ void Run(int32_t first, int32_t last) {
    LoadQueries();
    Begin();
    float scores[kScoreColumns][4];
    uint32_t weights[kHopperKeyTile / 16][4];
    keys_->AwaitFull(0);
    StartScores(0, scores);
    WgmmaWait<0>();
    KeepInPlace(scores);
    keys_->SetEmpty(0);
    float rescale[2];
    MakeWeights(first, scores, rescale);  // of sums that are still 0
    PackWeights(scores, weights);
    for (int n = 1; n <= last - first; ++n) {
      keys_->AwaitFull(n);
      StartScores(n, scores);
      values_->AwaitFull(n - 1);
      StartSums(n - 1, weights);
      WgmmaWait<1>();
      KeepInPlace(scores);
      keys_->SetEmpty(n);
      MakeWeights(first + n, scores, rescale);
      WgmmaWait<0>();
      KeepInPlace(sums_);
      values_->SetEmpty(n - 1);
      Rescale(rescale);
      PackWeights(scores, weights);
    }
    values_->AwaitFull(last - first);
    StartSums(last - first, weights);
    WgmmaWait<0>();
    KeepInPlace(sums_);
    StoreContext();
  }

 private:
  static __device__ int Lane() { return static_cast<int>(threadIdx.x & 31); }
  static __device__ int GroupThread() { return static_cast<int>(threadIdx.x % kGroupThreads); }
  static __device__ int Warp() { return GroupThread() / 32; }
  __device__ void SyncGroup() const {
    if (group_ == 0) {
      asm volatile("bar.sync 1, %0;" ::"n"(kGroupThreads) : "memory");
    } else {
      asm volatile("bar.sync 2, %0;" ::"n"(kGroupThreads) : "memory");
    }
  }

  __device__ int64_t Element(int32_t row) const {
    return (static_cast<int64_t>(tile_.first_row + row) * call_.shape.heads + blockIdx.x) * kSize;
  }

  __device__ void LoadQueries() {
    for (int index = GroupThread(); index < kGroupRows * kChunks; index += kGroupThreads) {
      const int row = group_ * kGroupRows + index / kChunks;
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
      *reinterpret_cast<uint4*>(queries_ + PanelOffset(kHopperTileRows, row, chunk)) = part;
    }
    FenceForProducts();
    SyncGroup();
  }

  __device__ void Begin() {
#pragma unroll
    for (int i = 0; i < kSumColumns; ++i) {
      for (float& sum : sums_[i]) sum = 0;
    }
    for (int r = 0; r < 2; ++r) {
      largest_[r] = -INFINITY;
      weight_[r] = 0;
    }
  }

  __device__ uint32_t Stage(int index) const {
    return SharedAddress(queries_) + Layout::kQueryBytes + index * Layout::kStageBytes;
  }

  __device__ void StartScores(int number, float (&scores)[kScoreColumns][4]) const {
    const uint32_t queries = SharedAddress(queries_) + group_ * kGroupRows * kPanelRowBytes;
    const uint32_t keys = Stage(number % kHopperStages);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kSize / 16; ++k) {
      const uint32_t query_panel = k / 4 * kHopperTileRows * kPanelRowBytes + k % 4 * 32;
      const uint32_t key_panel = k / 4 * kHopperKeyTile * kPanelRowBytes + k % 4 * 32;
      WgmmaShared<C>(scores, TileDescriptor(queries + query_panel, 0), TileDescriptor(keys + key_panel, 0),
                     k > 0);
    }
    WgmmaCommit();
  }

  __device__ void StartSums(int number, const uint32_t (&weights)[kHopperKeyTile / 16][4]) {
    const uint32_t values = Stage(kHopperStages + number % kHopperStages);
    KeepInPlace(sums_);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kHopperKeyTile / 16; ++k) {
      WgmmaRegisters<C>(sums_, weights[k],
                        TileDescriptor(values + k * 16 * kPanelRowBytes, kHopperKeyTile * kPanelRowBytes));
    }
    WgmmaCommit();
  }

  // Scores become weights; *rescale: what sums of older weights are multiplied with.
  __device__ void MakeWeights(int32_t tile, float (&scores)[kScoreColumns][4], float (&rescale)[2]) {
    const int32_t first_key = tile * kHopperKeyTile;
    const int32_t window = call_.shape.window_tokens;
    // Of the group's rows, the first sees the fewest keys at the end, the last the fewest at the start.
    const int32_t position = tile_.position + group_ * kGroupRows;
    if (first_key + kHopperKeyTile - 1 > position ||
        (window > 0 && first_key < position + kGroupRows - window)) {
      Mask(first_key, scores);
    }
    const float scale = call_.shape.scale * 1.44269504088896340736f;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = largest_[r];
#pragma unroll
      for (int n = 0; n < kScoreColumns; ++n) {
        most = fmaxf(most, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
      }
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
      const float used = most == -INFINITY ? 0.0f : most;  // nothing seen yet
      rescale[r] = Exp2((largest_[r] - used) * scale);
      largest_[r] = most;
      const float shift = -used * scale;
      float total[2] = {};
#pragma unroll
      for (int n = 0; n < kScoreColumns; ++n) {
        for (int e = 0; e < 2; ++e) {
          float& score = scores[n][2 * r + e];
          score = Exp2(fmaf(score, scale, shift));
          total[e] += score;
        }
      }
      weight_[r] = fmaf(weight_[r], rescale[r], total[0] + total[1]);
    }
  }

  __device__ void Mask(int32_t first_key, float (&scores)[kScoreColumns][4]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int32_t position = tile_.position + group_ * kGroupRows + Warp() * 16 + r * 8 + Lane() / 4;
      // From this lane's first key: [low, high] are seen.
      const int32_t high = position - first_key - (Lane() & 3) * 2;
      const int32_t low = FirstVisible(position, call_.shape.window_tokens) - first_key - (Lane() & 3) * 2;
#pragma unroll
      for (int n = 0; n < kScoreColumns; ++n) {
        for (int e = 0; e < 2; ++e) {
          if (n * 8 + e > high || n * 8 + e < low) scores[n][2 * r + e] = -INFINITY;
        }
      }
    }
  }

  __device__ void Rescale(const float (&rescale)[2]) {
    if (!__any_sync(kAllLanes, rescale[0] != 1.0f || rescale[1] != 1.0f)) return;
#pragma unroll
    for (int i = 0; i < kSumColumns; ++i) {
      for (int j = 0; j < 4; ++j) sums_[i][j] *= rescale[j / 2];
    }
  }

  // As the first factor of the products with values.
  static __device__ void PackWeights(const float (&scores)[kScoreColumns][4],
                                     uint32_t (&weights)[kHopperKeyTile / 16][4]) {
#pragma unroll
    for (int k = 0; k < kHopperKeyTile / 16; ++k) {
      for (int i = 0; i < 4; ++i) {
        const float(&pair)[4] = scores[2 * k + i / 2];
        weights[k][i] = Pack<C>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
      }
    }
  }

  // Through the group's own queries' place, so that rows are written whole.
  __device__ void StoreContext() {
    SyncGroup();  // the other warps' products have read the queries
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float total = weight_[r];
      total += __shfl_xor_sync(kAllLanes, total, 1);
      total += __shfl_xor_sync(kAllLanes, total, 2);
      const float factor = 1.0f / total;
      const int row = group_ * kGroupRows + Warp() * 16 + r * 8 + Lane() / 4;
#pragma unroll
      for (int i = 0; i < kSumColumns; ++i) {
        *reinterpret_cast<uint32_t*>(queries_ + PanelOffset(kHopperTileRows, row, i) + (Lane() & 3) * 4) =
            Pack(call_.shape.type, sums_[i][2 * r] * factor, sums_[i][2 * r + 1] * factor);
      }
    }
    __syncwarp();  // a warp reads its own rows alone
    for (int index = Lane(); index < 16 * kChunks; index += 32) {
      const int row = group_ * kGroupRows + Warp() * 16 + index / kChunks;
      const int chunk = index % kChunks;
      if (row < tile_.rows) {
        *reinterpret_cast<uint4*>(static_cast<uint16_t*>(call_.context) + Element(row) + chunk * 8) =
            *reinterpret_cast<const uint4*>(queries_ + PanelOffset(kHopperTileRows, row, chunk));
      }
    }
  }

  const AttentionCall& call_;
  const QueryTile& tile_;
  const int group_;
  uint8_t* const queries_;
  StageBarriers* const keys_;
  StageBarriers* const values_;
  // Of rows g + 8 r of the warp's 16.
  float largest_[2];            // not yet scaled
  float weight_[2];             // this lane's part
  float sums_[kSumColumns][4];  // [2 r + e]: elements 8 i + 2 t + e
};
#endif

// Without a body where the device code is not sm_90a's; FindPrefill looks for the barriers.
template <typename C, int kSize>
__global__ void __launch_bounds__(kHopperThreads, 1)
    PrefillHopper(const __grid_constant__ AttentionCall call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(16) uint8_t shared_memory[];
  __shared__ StageBarriers keys;
  __shared__ StageBarriers values;
  using Layout = HopperLayout<kSize>;
  constexpr uint32_t kMask = Layout::kAlignment - 1;
  uint8_t* const shared = shared_memory + ((~SharedAddress(shared_memory) + 1) & kMask);
  ReleaseSuccessor();
  AwaitPredecessor();
  QueryTile tile;
  if (!FindQueryTile(call, kHopperTileRows, static_cast<int32_t>(blockIdx.y), &tile)) return;
  if (threadIdx.x == 0) {
    keys.Init();
    values.Init();
    BarrierInitFence();
  }
  __syncthreads();

  const int32_t first = FirstVisible(tile.position, call.shape.window_tokens) / kHopperKeyTile;
  const int32_t last = (tile.position + tile.rows - 1) / kHopperKeyTile;
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    HopperCopies<kSize>(call, tile, shared + Layout::kQueryBytes, &keys, &values).Run(first, last);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    HopperGroup<C, kSize>(call, tile, group - 1, shared, &keys, &values).Run(first, last);
  }
#endif
}

template <typename C, int kSize>
PrefillVariant MakeHopperVariant() {
  return {PrefillHopper<C, kSize>, kHopperTileRows, kHopperThreads, HopperLayout<kSize>::kSharedBytes};
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_PREFILL_HOPPER_CUH_
