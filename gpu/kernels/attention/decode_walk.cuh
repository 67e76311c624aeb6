// A CTA's items, found by every warp for itself from the lengths in device memory: items are numbered by
// sequence, split, head group, and CTA c takes c, c + grid, ... Sequences that do not decode have none.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_WALK_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_WALK_CUH_

#include <cstdint>

#include "gpu/kernels/attention/decode_plan.h"

namespace tessera::gpu {

constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

__host__ __device__ __forceinline__ int32_t CeilDivide(int32_t a, int32_t b) { return (a + b - 1) / b; }
__host__ __device__ __forceinline__ int32_t RoundUp(int32_t a, int32_t b) { return CeilDivide(a, b) * b; }

__host__ __device__ __forceinline__ int32_t FirstVisible(int32_t position, int32_t window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}
// Where a row's splits begin: the first tile with a key that it sees.
__host__ __device__ __forceinline__ int32_t FirstTileToken(int32_t position, int32_t window) {
  return FirstVisible(position, window) / kTileTokens * kTileTokens;
}

struct DecodeItem {
  int32_t sequence;
  int32_t row;
  int32_t position;
  int32_t head_group;
  int32_t splits;
  int32_t begin;  // tokens of this split: [begin, end)
  int32_t end;
  int32_t index;        // of the item
  int32_t first_index;  // of the same head group's first split; the others follow head_groups apart
};

// Every call is made by a whole warp, with the same arguments in each lane.
class ItemWalk {
 public:
  __device__ ItemWalk(const AttentionCall& call, const DecodePlan& plan)
      : row_count_(call.step.row_count),
        first_position_(call.step.first_position),
        first_row_(call.step.first_row),
        most_sequences_(call.max_sequences),
        sequences_(min(call.step.counts[StepArrays::kSequences], call.max_sequences)),
        head_groups_(plan.head_groups),
        window_(call.shape.window_tokens) {
    LoadSequences(0);
    split_tokens_ = call.batch_invariant ? 0 : CommonSplitTokens();
    CountItems();
  }

  // The item of this number, or none: false. Numbers must not fall from call to call.
  __device__ bool Seek(int32_t number, DecodeItem* item) {
    int32_t end = __shfl_sync(kAllLanes, last_item_, 31);
    while (number >= end) {
      if (first_sequence_ + 32 >= sequences_) return false;
      first_item_ = end;
      LoadSequences(first_sequence_ + 32);
      CountItems();
      end = __shfl_sync(kAllLanes, last_item_, 31);
    }
    const int lane = __ffs(static_cast<int>(__ballot_sync(kAllLanes, last_item_ > number))) - 1;
    const int32_t splits = __shfl_sync(kAllLanes, splits_, lane);
    const int32_t before = __shfl_sync(kAllLanes, last_item_, lane) - splits * head_groups_;
    const int32_t split = (number - before) / head_groups_;
    item->sequence = first_sequence_ + lane;
    item->row = __shfl_sync(kAllLanes, row_, lane);
    item->position = __shfl_sync(kAllLanes, position_, lane);
    item->head_group = (number - before) % head_groups_;
    item->splits = splits;
    const int32_t tokens = SplitTokens(Span(item->position));
    item->begin = FirstTileToken(item->position, window_) + split * tokens;
    item->end = min(item->begin + tokens, item->position + 1);
    item->index = number;
    item->first_index = before + item->head_group;
    return true;
  }

 private:
  static __device__ int32_t Lane() { return static_cast<int32_t>(threadIdx.x & 31); }
  __device__ int32_t Span(int32_t position) const { return position + 1 - FirstTileToken(position, window_); }

  // Tokens of each split of a row that spans so many; the last split may have fewer.
  __device__ int32_t SplitTokens(int32_t span) const {
    return split_tokens_ > 0 ? split_tokens_ : RoundUp(CeilDivide(span, kInvariantSplits), kInvariantStep);
  }

  // position_: this lane's sequence's, or -1 where it has nothing to decode.
  __device__ void LoadSequences(int32_t first) {
    first_sequence_ = first;
    const int32_t sequence = first + Lane();
    position_ = -1;
    if (sequence >= most_sequences_) return;
    // All at once, before it is known how many sequences there are.
    const int32_t rows = row_count_[sequence];
    const int32_t position = first_position_[sequence];
    row_ = first_row_[sequence];
    if (sequence < sequences_ && rows == 1) position_ = position;
  }

  __device__ void CountItems() {
    splits_ = 0;
    if (position_ >= 0) {
      const int32_t span = Span(position_);
      splits_ = CeilDivide(span, SplitTokens(span));
    }
    int32_t sum = splits_ * head_groups_;
    for (int distance = 1; distance < 32; distance *= 2) {
      const int32_t other = __shfl_up_sync(kAllLanes, sum, distance);
      if (Lane() >= distance) sum += other;
    }
    last_item_ = first_item_ + sum;
  }

  // One size for all, so that the CTAs are busy and equally so: the smallest with which there are at most
  // `items` items, by either of two bounds: none is cut into more than items / pairs; all together fill
  // items, less one unfilled split for each.
  __device__ int32_t CommonSplitTokens() {
    int32_t decoding = 0;
    int32_t longest = 1;
    float total = 0;
    for (int32_t first = 0;;) {
      const int32_t span = position_ >= 0 ? Span(position_) : 0;
      decoding += __popc(__ballot_sync(kAllLanes, position_ >= 0));
      longest = max(longest, __reduce_max_sync(kAllLanes, span));
      total += static_cast<float>(__reduce_add_sync(kAllLanes, span / kTileTokens + 1)) * kTileTokens;
      first += 32;
      if (first >= sequences_) break;
      LoadSequences(first);
    }
    if (sequences_ > 32) LoadSequences(0);
    const int32_t pairs = max(decoding * head_groups_, 1);
    const int32_t ctas = static_cast<int32_t>(gridDim.x);
    const bool few = pairs * 4 <= ctas;
    const int32_t items = few ? ctas : ctas * kItemsPerCta;
    int32_t tokens = CeilDivide(longest, max(items / pairs, 1));
    if (items > pairs) {
      // Rounded up by more than the division may be off.
      const float share = total * static_cast<float>(head_groups_) / static_cast<float>(items - pairs);
      tokens = min(tokens, static_cast<int32_t>(share * 1.00001f) + 1);
    }
    if (!few) tokens = max(tokens, kLeastSplitTokens);
    return RoundUp(tokens, kTileTokens);
  }

  const int32_t* row_count_;
  const int32_t* first_position_;
  const int32_t* first_row_;
  int32_t most_sequences_;
  int32_t sequences_;
  int32_t head_groups_;
  int32_t window_;
  int32_t split_tokens_ = 0;  // 0: by each row's own span
  int32_t first_sequence_ = 0;
  int32_t first_item_ = 0;
  int32_t position_ = -1;
  int32_t row_ = 0;
  int32_t splits_ = 0;
  int32_t last_item_ = 0;  // one past the items of the sequences up to this lane's
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_WALK_CUH_
