// Attention of single rows: an item's keys and values stream once through the warps' rings, for all query
// heads of the item. Warp w takes every W-th tile of 16 tokens.
//
// Transposed throughout: S^T = K Q^T has keys as rows and query heads as columns, O^T = V^T P^T elements of
// the head as rows and heads as columns. So 8 heads fill a tile, and a lane's columns, 2t and 2t + 1, are the
// same heads in both: largest score, sum of weights and rescaling stay in its registers.
//
// Tiles lie in shared memory as in the cache, rows one behind the other. Their rows begin in the same banks,
// so ldmatrix would be served one row at a time. Products do not mind how the summed index is numbered, if
// both factors agree, and rows of O^T may be any elements if the end knows which: a lane (g, t) reads whole
// vectors of 16 bytes, of keys g and g + 8 and of values 2t, 2t + 1, 2t + 8, 2t + 9.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_CUH_

#include <cstdint>

#include "gpu/kernels/attention/decode_merge.cuh"
#include "gpu/kernels/attention/decode_plan.h"
#include "gpu/kernels/attention/decode_tile.cuh"
#include "gpu/kernels/attention/decode_walk.cuh"
#include "gpu/kernels/attention/ring.cuh"
#include "gpu/kernels/common/dependency.cuh"

namespace tessera::gpu {

// Up to 32 tiles of one warp in one item, and where they lie.
struct TileRun {
  DecodeItem item;
  int32_t first;  // tile of the item: first, first + warps, ...
  int32_t count;
  int32_t taken;
  int32_t block;  // lane l: the block of the run's tile l
};

// A warp's tiles in the order in which it will compute them, copied into its ring ahead of it. The next run's
// block ids are on their way while a run is copied.
template <int kWarps>
class TileFeed {
 public:
  __device__ TileFeed(const AttentionCall& call, const DecodePlan& plan, const ItemWalk& walk)
      : cache_(call.cache),
        block_table_(call.step.block_table),
        table_stride_(call.step.table_stride),
        passes_(plan.passes),
        walk_(walk),
        number_(static_cast<int32_t>(blockIdx.x)) {
    ahead_.count = 0;
    has_item_ = walk_.Seek(number_, &ahead_.item);
    ahead_.first = static_cast<int32_t>(threadIdx.x / 32);
    SettleAhead();
    Turn();
  }

  // Fills the ring; until the predecessor has ended only with tiles of which no token is this step's.
  __device__ void Fill(WarpRing* ring, bool only_old) {
    while (run_.count > 0 && ring->HasRoom()) {
      const int32_t token = run_.item.begin + (run_.first + run_.taken * kWarps) * kTileTokens;
      if (only_old && token + kTileTokens > run_.item.position) return;
      const int32_t block = __shfl_sync(kAllLanes, run_.block, run_.taken);
      const int32_t row = run_.item.head_group / passes_ * cache_.block_tokens + token % cache_.block_tokens;
      const uint8_t* const keys = cache_.data + block * cache_.block_bytes + cache_.layer_offset_bytes +
                                  static_cast<int64_t>(row) * cache_.row_bytes;
      ring->Fill(keys, keys + cache_.value_offset_bytes, kTileTokens * cache_.row_bytes);
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
      ahead_.block = block_table_[static_cast<int64_t>(ahead_.item.sequence) * table_stride_ +
                                  token / cache_.block_tokens];
    }
  }

  CacheLayout cache_;
  const int32_t* block_table_;
  int32_t table_stride_;
  int32_t passes_;
  ItemWalk walk_;
  int32_t number_;
  bool has_item_;
  TileRun run_;
  TileRun ahead_;
};

template <typename Tile, int kWarps>
__global__ void __launch_bounds__(kWarps * 32, 1)
    DecodeItems(const __grid_constant__ AttentionCall call, const __grid_constant__ DecodePlan plan) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int slots = kWarps * plan.ring_slots;
  uint64_t* const barriers = reinterpret_cast<uint64_t*>(shared + slots * plan.slot_bytes);
  WarpRing ring(shared + warp * plan.ring_slots * plan.slot_bytes, barriers + warp * plan.ring_slots,
                plan.ring_slots, plan.slot_bytes);
  const WarpMerge<Tile, kWarps> merge(call, plan, reinterpret_cast<float*>(barriers + slots));

  ReleaseSuccessor();
  if (!call.prefetch_before_wait) AwaitPredecessor();
  ItemWalk walk(call, plan);
  TileFeed<kWarps> feed(call, plan, walk);
  if (call.prefetch_before_wait) {
    feed.Fill(&ring, true);
    AwaitPredecessor();
  }
  feed.Fill(&ring, false);

  DecodeItem item;
  for (int32_t number = static_cast<int32_t>(blockIdx.x); walk.Seek(number, &item);
       number += static_cast<int32_t>(gridDim.x)) {
    const int32_t pass = item.head_group % plan.passes;
    const int32_t group = call.shape.heads / call.shape.kv_heads;
    const int32_t first_head = item.head_group / plan.passes * group + pass * plan.heads_per_pass;
    const int32_t heads = min(plan.heads_per_pass, group - pass * plan.heads_per_pass);
    const int64_t first_element =
        (static_cast<int64_t>(item.row) * call.shape.heads + first_head) * Tile::kHeadSize;

    Tile tile;
    tile.Begin(call.shape.type, static_cast<const uint16_t*>(call.query) + first_element, heads);
    const int32_t first_visible = FirstVisible(item.position, call.shape.window_tokens);
    for (int32_t token = item.begin + warp * kTileTokens; token < item.end; token += kWarps * kTileTokens) {
      const uint8_t* const keys = ring.Front();
      const uint8_t* const values = keys + plan.slot_bytes / 2;
      if (token >= first_visible && token + kTileTokens - 1 <= item.position) {
        tile.template Compute<false>(keys, values, plan.scale_log2, 0, 0);
      } else {
        tile.template Compute<true>(keys, values, plan.scale_log2, first_visible - token,
                                    item.position - token);
      }
      ring.Release();
      feed.Fill(&ring, false);
    }
    merge.Finish(item, heads, &tile, static_cast<uint16_t*>(call.context) + first_element);
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_CUH_
