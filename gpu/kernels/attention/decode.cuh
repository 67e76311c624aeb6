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

#include "gpu/kernels/attention/decode_feed.cuh"
#include "gpu/kernels/attention/decode_merge.cuh"
#include "gpu/kernels/attention/decode_tile.cuh"
#include "gpu/kernels/common/dependency.cuh"

namespace tessera::gpu {

// Splits of a row that are spread over several items meet through device memory.
template <typename Tile, int kWarps>
class ItemMerge {
  using Warps = WarpMerge<Tile, kWarps>;
  static constexpr int kSize = Tile::kHeadSize;

 public:
  __device__ ItemMerge(const AttentionCall& call, const DecodePlan& plan) : call_(call), plan_(plan) {}

  __device__ void Put(const DecodeItem& item, int32_t split, int32_t vector, const Partial& partial) const {
    const int64_t row = Row(item, split, vector);
    const int32_t element = vector % (kSize / 4) * 4;
    __stcg(reinterpret_cast<float4*>(plan_.sums + row * kSize + element), partial.sum);
    if (element == 0) __stcg(plan_.weights + row, partial.weight);
  }

  // After all of the item's splits have been put; the last of the row's items to come makes the context. By
  // the whole CTA.
  __device__ void Finish(const DecodeItem& item, int32_t heads, uint16_t* context) const {
    __syncthreads();  // all has been written
    if (!ArrivesLast(item)) return;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < heads * (kSize / 4); i += Warps::kThreads) {
      const Partial all = FoldSplits(item.splits, [&](int32_t split) {
        const int64_t row = Row(item, split, i);
        Partial partial;
        partial.weight = __ldcg(plan_.weights + row);
        partial.sum = __ldcg(reinterpret_cast<const float4*>(plan_.sums + row * kSize + i % (kSize / 4) * 4));
        return partial;
      });
      StorePartial(call_.shape.type, all, context + i * 4);
    }
  }

 private:
  __device__ int64_t Row(const DecodeItem& item, int32_t split, int32_t vector) const {
    const int64_t partial = item.partial + static_cast<int64_t>(split) * item.partial_stride;
    return partial * plan_.heads_per_pass + vector / (kSize / 4);
  }

  // The last one also puts the counter back for the next launch.
  __device__ bool ArrivesLast(const DecodeItem& item) const {
    __shared__ int32_t last;
    if (threadIdx.x == 0) {
      int32_t* const arrived =
          plan_.arrived + static_cast<int64_t>(item.sequence) * plan_.head_groups + item.head_group;
      __threadfence();
      last = atomicAdd(arrived, 1) == item.items - 1;
      if (last) {
        *arrived = 0;
        __threadfence();
      }
    }
    __syncthreads();
    const bool result = last != 0;
    __syncthreads();  // the next item may write it
    return result;
  }

  const AttentionCall& call_;
  const DecodePlan& plan_;
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
  using Warps = WarpMerge<Tile, kWarps>;
  const Warps warps(plan, reinterpret_cast<float*>(barriers + slots));
  const ItemMerge<Tile, kWarps> items(call, plan);

  ReleaseSuccessor();
  if (!call.prefetch_before_wait) AwaitPredecessor();
  ItemWalk walk(call, plan);
  TileFeed<ItemWalk, kWarps> feed(call, plan, walk);
  if (call.prefetch_before_wait) {
    feed.Fill(&ring, true);
    AwaitPredecessor();
  }

  // An item's queries are loaded while the item before it is computed.
  int32_t number = static_cast<int32_t>(blockIdx.x);
  DecodeItem next;
  bool more = walk.Seek(number, &next);
  Tile tile;
  const auto* const queries = static_cast<const uint16_t*>(call.query);
  const auto load_query = [&] {
    const ItemHeads heads = HeadsOf(call, plan, next);
    tile.LoadQuery(queries + heads.first_element, heads.count);
  };
  if (more) load_query();
  feed.Fill(&ring, false);
  while (more) {
    const DecodeItem item = next;
    const ItemHeads heads = HeadsOf(call, plan, item);
    uint16_t* const context = static_cast<uint16_t*>(call.context) + heads.first_element;
    tile.UseQuery(call.shape.type);
    number += static_cast<int32_t>(gridDim.x);
    more = walk.Seek(number, &next);
    if (more) load_query();

    Partial all[Warps::kVectors];  // of the splits so far, where the row has no other item
    int32_t token = item.begin + warp * kTileTokens;
    int32_t split = item.first_split;
    for (int32_t begin = item.begin; begin < item.end; begin += item.split_tokens, ++split) {
      const int32_t end = min(begin + item.split_tokens, item.end);
      tile.Reset();
      ComputeTiles<kWarps>(call, plan, item, end, &token, &ring, &feed, &tile, [](uint8_t*, int32_t) {});
      warps.Finish(end - begin, heads.count, &tile, [&](int k, int32_t vector, const Partial& partial) {
        if (item.items > 1) {
          items.Put(item, split, vector, partial);
          return;
        }
        Fold(partial, &all[k]);
        if (end == item.end) StorePartial(call.shape.type, all[k], context + vector * 4);
      });
      __syncthreads();
    }
    if (item.items > 1) items.Finish(item, heads.count, context);
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_CUH_
