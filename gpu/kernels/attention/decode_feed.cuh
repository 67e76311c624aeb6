// A decoding warp's way through its items: which tiles, where they lie, and how they get into its ring; then
// what it does with those of one split.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_FEED_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_FEED_CUH_

#include <cstdint>

#include "gpu/kernels/attention/decode_plan.h"
#include "gpu/kernels/attention/decode_walk.cuh"
#include "gpu/kernels/attention/ring.cuh"

namespace tessera::gpu {

// Which query heads an item has, and where their elements begin in query and context.
struct ItemHeads {
  int32_t count;
  int64_t first_element;
};
__device__ __forceinline__ ItemHeads HeadsOf(const AttentionCall& call, const DecodePlan& plan,
                                             const DecodeItem& item) {
  const int32_t pass = item.head_group % plan.passes;
  const int32_t group = call.shape.heads / call.shape.kv_heads;
  const int32_t first = item.head_group / plan.passes * group + pass * plan.heads_per_pass;
  return {min(plan.heads_per_pass, group - pass * plan.heads_per_pass),
          (static_cast<int64_t>(item.row) * call.shape.heads + first) * call.shape.head_size};
}

// Up to 32 tiles of one warp in one item, and where they lie.
struct TileRun {
  DecodeItem item;
  int32_t first;  // tile of the item: first, first + warps, ...
  int32_t count;
  int32_t taken;
  int32_t block;  // lane l: the block of the run's tile l
};

// A warp's tiles in the order in which it will compute them, copied into its ring ahead of it. The next run's
// block ids are on their way while a run is copied. Walk: ItemWalk, or what finds items like it.
template <typename Walk, int kWarps>
class TileFeed {
 public:
  __device__ TileFeed(const AttentionCall& call, const DecodePlan& plan, const Walk& walk)
      : call_(call), passes_(plan.passes), walk_(walk), number_(static_cast<int32_t>(blockIdx.x)) {
    ahead_.count = 0;
    has_item_ = walk_.Seek(number_, &ahead_.item);
    ahead_.first = static_cast<int32_t>(threadIdx.x / 32);
    SettleAhead();
    Turn();
  }

  // Fills the ring; only_old: with tiles of which no token is this step's.
  __device__ void Fill(WarpRing* ring, bool only_old) {
    const CacheLayout& cache = call_.cache;
    while (run_.count > 0 && ring->HasRoom()) {
      const int32_t token = run_.item.begin + (run_.first + run_.taken * kWarps) * kTileTokens;
      if (only_old && token + kTileTokens > run_.item.position) return;
      const int32_t block = __shfl_sync(kAllLanes, run_.block, run_.taken);
      const int32_t row = run_.item.head_group / passes_ * cache.block_tokens + token % cache.block_tokens;
      const uint8_t* const keys = cache.data + block * cache.block_bytes + cache.layer_offset_bytes +
                                  static_cast<int64_t>(row) * cache.row_bytes;
      ring->Fill(keys, keys + cache.value_offset_bytes, kTileTokens * cache.row_bytes);
      if (++run_.taken == run_.count) Turn();
    }
  }

 private:
  __device__ void Turn() {
    run_ = ahead_;
    if (run_.count == 0) return;
    ahead_.first += run_.count * kWarps;
    SettleAhead();
  }

  // ahead_.item and .first become those of a run that has tiles; count 0 where there is none.
  __device__ void SettleAhead() {
    ahead_.taken = 0;
    ahead_.count = 0;
    while (has_item_) {
      const int32_t tiles = CeilDivide(ahead_.item.end - ahead_.item.begin, kTileTokens);
      if (ahead_.first < tiles) {
        ahead_.count = min(CeilDivide(tiles - ahead_.first, kWarps), 32);
        break;
      }
      number_ += static_cast<int32_t>(gridDim.x);
      has_item_ = walk_.Seek(number_, &ahead_.item);
      ahead_.first = static_cast<int32_t>(threadIdx.x / 32);
    }
    const int32_t lane = static_cast<int32_t>(threadIdx.x & 31);
    if (lane < ahead_.count) {
      const int32_t token = ahead_.item.begin + (ahead_.first + lane * kWarps) * kTileTokens;
      ahead_.block =
          call_.step.block_table[static_cast<int64_t>(ahead_.item.sequence) * call_.step.table_stride +
                                 token / call_.cache.block_tokens];
    }
  }

  const AttentionCall& call_;
  const int32_t passes_;
  Walk walk_;
  int32_t number_;
  bool has_item_;
  TileRun run_;
  TileRun ahead_;
};

// This warp's tiles of an item below the token `end`, the next being at *token. arrived(slot, token): before
// a tile is computed.
template <int kWarps, typename Tile, typename Feed, typename Arrived>
__device__ __forceinline__ void ComputeTiles(const AttentionCall& call, const DecodePlan& plan,
                                             const DecodeItem& item, int32_t end, int32_t* token,
                                             WarpRing* ring, Feed* feed, Tile* tile, const Arrived& arrived) {
  const int32_t first_visible = FirstVisible(item.position, call.shape.window_tokens);
  for (; *token < end; *token += kWarps * kTileTokens) {
    uint8_t* const keys = ring->Front();
    const uint8_t* const values = keys + plan.slot_bytes / 2;
    arrived(keys, *token);
    if (*token >= first_visible && *token + kTileTokens - 1 <= item.position) {
      tile->template Compute<false>(keys, values, plan.scale_log2, 0, 0);
    } else {
      tile->template Compute<true>(keys, values, plan.scale_log2, first_visible - *token,
                                   item.position - *token);
    }
    ring->Release();
    feed->Fill(ring, false);
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_FEED_CUH_
