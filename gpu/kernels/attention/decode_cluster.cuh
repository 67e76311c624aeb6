// Attention of few rows: the CTAs of a cluster share the splits of one row and head group, and merge them
// through one another's shared memory. All that was in the cache before this step is on its way, and mostly
// there, when the predecessor ends; the row's own key and value, and its queries, follow.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_CLUSTER_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_CLUSTER_CUH_

#include <cstdint>

#include "gpu/kernels/attention/cluster.cuh"
#include "gpu/kernels/attention/decode_feed.cuh"
#include "gpu/kernels/attention/decode_merge.cuh"
#include "gpu/kernels/attention/decode_tile.cuh"
#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/ptx.cuh"

namespace tessera::gpu {

#if __CUDA_ARCH__ >= 900
// The one item of a CTA, if it has one.
class ClusterWalk {
 public:
  __device__ ClusterWalk(const AttentionCall& call, const DecodePlan& plan) {
    const int32_t blocks = ClusterSize();
    const int32_t pair = static_cast<int32_t>(blockIdx.x) / blocks;
    item_.sequence = pair / plan.head_groups;
    item_.head_group = pair % plan.head_groups;
    // All at once; the launch has no more sequences than the arrays.
    const int32_t sequences = call.step.counts[StepArrays::kSequences];
    const int32_t rows = call.step.row_count[item_.sequence];
    item_.row = call.step.first_row[item_.sequence];
    item_.position = call.step.first_position[item_.sequence];
    decodes_ = item_.sequence < sequences && rows == 1;
    const int32_t first = FirstTileToken(item_.position, call.shape.window_tokens);
    const int32_t span = item_.position + 1 - first;
    item_.split_tokens =
        call.batch_invariant ? InvariantSplitTokens(span) : RoundUp(CeilDivide(span, blocks), kTileTokens);
    item_.splits = CeilDivide(span, item_.split_tokens);
    const int32_t together = CeilDivide(item_.splits, blocks);
    item_.first_split = ClusterRank() * together;
    item_.begin = first + item_.first_split * item_.split_tokens;
    item_.end = min(item_.begin + together * item_.split_tokens, item_.position + 1);
  }

  __device__ bool Seek(int32_t number, DecodeItem* item) const {
    if (!decodes_ || item_.begin >= item_.end || number != static_cast<int32_t>(blockIdx.x)) return false;
    *item = item_;
    return true;
  }
  // Of the whole cluster: whether there is a row.
  __device__ bool decodes() const { return decodes_; }
  // Also where this CTA has none of its splits.
  __device__ const DecodeItem& item() const { return item_; }

 private:
  DecodeItem item_;
  bool decodes_;
};

// The row that this step adds: the tile that has it may have been copied before it was written. One warp's,
// the one that computes the tile. Calls are made by the whole warp.
template <int kRowBytes>
class NewestRow {
  static constexpr int kWords = kRowBytes / 4;
  static constexpr int kEach = (kWords + 31) / 32;

 public:
  static constexpr int kBytes = 2 * kRowBytes;

  // Finds the place; needs only what is older than the step.
  __device__ NewestRow(const AttentionCall& call, const DecodePlan& plan, const DecodeItem& item) {
    const CacheLayout& cache = call.cache;
    const int32_t block = call.step.block_table[static_cast<int64_t>(item.sequence) * call.step.table_stride +
                                                item.position / cache.block_tokens];
    const int32_t row =
        item.head_group / plan.passes * cache.block_tokens + item.position % cache.block_tokens;
    key_ = cache.data + block * cache.block_bytes + cache.layer_offset_bytes +
           static_cast<int64_t>(row) * cache.row_bytes;
    value_ = key_ + cache.value_offset_bytes;
  }

  __device__ void Load() {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (Word(i) >= kWords) continue;
      words_[0][i] = __ldcg(reinterpret_cast<const uint32_t*>(key_) + Word(i));
      words_[1][i] = __ldcg(reinterpret_cast<const uint32_t*>(value_) + Word(i));
    }
  }
  // key: [kBytes] of shared memory, the value behind it.
  __device__ void Keep(uint32_t* key) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (Word(i) >= kWords) continue;
      key[Word(i)] = words_[0][i];
      key[kWords + Word(i)] = words_[1][i];
    }
  }
  // Copies what was kept to the row's place in the slot of its tile.
  static __device__ void Patch(const uint32_t* key, uint8_t* slot, int32_t slot_bytes, int32_t position) {
    slot += position % kTileTokens * kRowBytes;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (Word(i) >= kWords) continue;
      reinterpret_cast<uint32_t*>(slot)[Word(i)] = key[Word(i)];
      reinterpret_cast<uint32_t*>(slot + slot_bytes / 2)[Word(i)] = key[kWords + Word(i)];
    }
    __syncwarp();
  }

 private:
  static __device__ int Word(int i) { return static_cast<int>(threadIdx.x & 31) + 32 * i; }

  const uint8_t* key_;
  const uint8_t* value_;
  uint32_t words_[2][kEach] = {};
};

// What the cluster's splits send this CTA: its vectors of each split.
class SplitInbox {
 public:
  // memory: ReceiveBytes, aligned to 16 bytes. barrier: not yet initialised. By the whole CTA.
  __device__ SplitInbox(uint8_t* memory, uint64_t* barrier)
      : memory_(memory), barrier_(SharedAddress(barrier)) {
    if (threadIdx.x == 0) {
      BarrierInit(barrier_, 1);
      BarrierInitFence();
    }
  }

  // vectors: of the row and head group, spread over the CTAs in order.
  __device__ void Expect(int32_t splits, int32_t vectors) {
    each_ = CeilDivide(vectors, ClusterSize());
    mine_ = min(max(vectors - ClusterRank() * each_, 0), each_);
    splits_ = splits;
    if (threadIdx.x == 0) {
      BarrierArriveExpect(barrier_,
                          static_cast<uint32_t>(splits * mine_) * (sizeof(float4) + sizeof(float2)));
    }
  }

  // After all of the cluster have made their inboxes.
  __device__ void SendTo(int32_t split, int32_t vector, const Partial& partial) const {
    const int32_t rank = vector / each_;
    const int32_t slot = split * each_ + vector % each_;
    const uint32_t barrier = AddressIn(barrier_, rank);
    Send(AddressIn(SharedAddress(Sums() + slot), rank), partial.sum, barrier);
    Send(AddressIn(SharedAddress(Weights() + slot), rank), partial.weight, barrier);
  }

  // take(vector, partial): each of this CTA's vectors, of all splits. By the whole CTA.
  template <typename Take>
  __device__ void Receive(const Take& take) const {
    const int32_t first = ClusterRank() * each_;
    const auto threads = static_cast<int32_t>(blockDim.x);
    BarrierWait(barrier_, 0);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < mine_; i += threads) {
      take(first + i, FoldSplits(splits_, [&](int32_t split) {
             Partial partial;
             partial.weight = Weights()[split * each_ + i];
             partial.sum = Sums()[split * each_ + i];
             return partial;
           }));
    }
  }

 private:
  __device__ float4* Sums() const { return reinterpret_cast<float4*>(memory_); }
  __device__ float2* Weights() const { return reinterpret_cast<float2*>(Sums() + splits_ * each_); }

  uint8_t* const memory_;
  const uint32_t barrier_;
  int32_t each_ = 0;
  int32_t mine_ = 0;
  int32_t splits_ = 0;
};
#endif

// Grid: clusters of sequence, then head group.
template <typename Tile, int kWarps>
__global__ void __launch_bounds__(kWarps * 32,
                                  Tile::kMostHeads* Tile::kHeadSize <= 1024 && Tile::kHeadSize < 256 ? 2 : 1)
    DecodeClusters(const __grid_constant__ AttentionCall call, const __grid_constant__ DecodePlan plan) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ uint64_t inbox_barrier;
  __shared__ uint32_t newest_row[NewestRow<Tile::kRowBytes>::kBytes / 4];
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int slots = kWarps * plan.ring_slots;
  uint64_t* const barriers = reinterpret_cast<uint64_t*>(shared + slots * plan.slot_bytes);
  uint8_t* const merge_memory = reinterpret_cast<uint8_t*>(barriers + slots);
  SplitInbox inbox(merge_memory + plan.merge_bytes, &inbox_barrier);
  WarpRing ring(shared + warp * plan.ring_slots * plan.slot_bytes, barriers + warp * plan.ring_slots,
                plan.ring_slots, plan.slot_bytes);
  __syncthreads();  // thread 0's barrier is there
  ArriveAtCluster();
  const WarpMerge<Tile, kWarps> warps(plan, reinterpret_cast<float*>(merge_memory));

  ReleaseSuccessor();
  if (!call.prefetch_before_wait) AwaitPredecessor();
  const ClusterWalk walk(call, plan);
  if (!walk.decodes()) {
    if (call.prefetch_before_wait) AwaitPredecessor();
    AwaitCluster();
    return;
  }
  TileFeed<ClusterWalk, kWarps> feed(call, plan, walk);
  feed.Fill(&ring, false);
  const DecodeItem& item = walk.item();
  const bool has_item = item.begin < item.end;
  const bool has_newest =
      has_item && item.position < item.end && (item.position - item.begin) / kTileTokens % kWarps == warp;
  NewestRow<Tile::kRowBytes> newest(call, plan, item);
  const ItemHeads heads = HeadsOf(call, plan, item);
  inbox.Expect(item.splits, heads.count * (Tile::kHeadSize / 4));
  if (call.prefetch_before_wait) AwaitPredecessor();

  if (has_item) {
    int32_t token = item.begin + warp * kTileTokens;
    Tile tile;
    if (token < item.end) {
      tile.LoadQuery(static_cast<const uint16_t*>(call.query) + heads.first_element, heads.count);
      if (has_newest) newest.Load();
      tile.UseQuery(call.shape.type);
      if (has_newest) newest.Keep(newest_row);
    }
    int32_t split = item.first_split;
    for (int32_t begin = item.begin; begin < item.end; begin += item.split_tokens, ++split) {
      const int32_t end = min(begin + item.split_tokens, item.end);
      tile.Reset();
      ComputeTiles<kWarps>(
          call, plan, item, end, &token, &ring, &feed, &tile, [&](uint8_t* slot, int32_t at) {
            if (at + kTileTokens <= item.position) return;
            NewestRow<Tile::kRowBytes>::Patch(newest_row, slot, plan.slot_bytes, item.position);
          });
      if (begin == item.begin) AwaitCluster();
      if (begin > item.begin) __syncthreads();  // the split before has been read
      warps.Finish(end - begin, heads.count, &tile, [&](int, int32_t vector, const Partial& partial) {
        inbox.SendTo(split, vector, partial);
      });
    }
  } else {
    AwaitCluster();
  }
  uint16_t* const context = static_cast<uint16_t*>(call.context) + heads.first_element;
  inbox.Receive([&](int32_t vector, const Partial& partial) {
    StorePartial(call.shape.type, partial, context + vector * 4);
  });
#endif
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_CLUSTER_CUH_
