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

// Of a split in batch-invariant mode, for a row that spans so many tokens.
__host__ __device__ __forceinline__ int32_t InvariantSplitTokens(int32_t span) {
  return RoundUp(CeilDivide(span, kInvariantSplits), kInvariantStep);
}

// One or more neighbouring splits of a row, for one head group.
struct DecodeItem {
  int32_t sequence;
  int32_t row;
  int32_t position;
  int32_t head_group;
  int32_t begin;  // tokens: [begin, end)
  int32_t end;
  int32_t split_tokens;  // the row's last split may have fewer
  int32_t first_split;   // which begins at `begin`
  int32_t splits;        // of the row
  int32_t items;         // that the row's splits of this head group are spread over
  int32_t partial;       // place of split 0's partial result; split s has partial + s * partial_stride
  int32_t partial_stride;
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
        window_(call.shape.window_tokens),
        invariant_(call.batch_invariant) {
    LoadSequences(0);
    item_tokens_ = ItemTokens();
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
    item->items = __shfl_sync(kAllLanes, items_, lane);
    const int32_t before = __shfl_sync(kAllLanes, last_item_, lane) - item->items * head_groups_;
    item->sequence = first_sequence_ + lane;
    item->row = __shfl_sync(kAllLanes, row_, lane);
    item->position = __shfl_sync(kAllLanes, position_, lane);
    item->head_group = (number - before) % head_groups_;
    const int32_t span = Span(item->position);
    const int32_t together = SplitsOfItem(span);
    item->split_tokens = SplitTokens(span);
    item->splits = CeilDivide(span, item->split_tokens);
    item->first_split = (number - before) / head_groups_ * together;
    item->begin = FirstTileToken(item->position, window_) + item->first_split * item->split_tokens;
    item->end = min(item->begin + together * item->split_tokens, item->position + 1);
    if (invariant_) {
      item->partial = (item->sequence * head_groups_ + item->head_group) * kInvariantSplits;
      item->partial_stride = 1;
    } else {
      item->partial = before + item->head_group;
      item->partial_stride = head_groups_;
    }
    return true;
  }

 private:
  static __device__ int32_t Lane() { return static_cast<int32_t>(threadIdx.x & 31); }
  __device__ int32_t Span(int32_t position) const { return position + 1 - FirstTileToken(position, window_); }

  __device__ int32_t SplitTokens(int32_t span) const {
    return invariant_ ? InvariantSplitTokens(span) : item_tokens_;
  }
  __device__ int32_t SplitsOfItem(int32_t span) const {
    return invariant_ ? max(item_tokens_ / InvariantSplitTokens(span), 1) : 1;
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
    items_ = 0;
    if (position_ >= 0) {
      const int32_t span = Span(position_);
      items_ = CeilDivide(CeilDivide(span, SplitTokens(span)), SplitsOfItem(span));
    }
    int32_t sum = items_ * head_groups_;
    for (int distance = 1; distance < 32; distance *= 2) {
      const int32_t other = __shfl_up_sync(kAllLanes, sum, distance);
      if (Lane() >= distance) sum += other;
    }
    last_item_ = first_item_ + sum;
  }

  // The most tokens of an item, one number for all rows: each lane tries another, and that one is taken with
  // which the CTAs have done soonest if they take the items in turn.
  __device__ int32_t ItemTokens() {
    int32_t decoding = 0;
    int32_t longest = 1;
    for (int32_t first = 0;;) {
      decoding += __popc(__ballot_sync(kAllLanes, position_ >= 0));
      longest = max(longest, __reduce_max_sync(kAllLanes, position_ >= 0 ? Span(position_) : 0));
      first += 32;
      if (first >= sequences_) break;
      LoadSequences(first);
    }
    if (sequences_ > 32) LoadSequences(0);
    const int32_t pairs = max(decoding * head_groups_, 1);
    const int32_t ctas = static_cast<int32_t>(gridDim.x);
    // The longest row in 1 to 24 parts, and in as many as there are CTAs for it, and multiples of that.
    constexpr int32_t kEach = 24;
    const int32_t parts = Lane() < kEach ? Lane() + 1 : max((Lane() - kEach + 1) * ctas / pairs, 1);
    const int32_t tokens = RoundUp(CeilDivide(longest, parts), kTileTokens);
    const int32_t items = CountWith(tokens, longest) * head_groups_;
    int32_t cost = CeilDivide(items, ctas) * (tokens + kItemCostTokens);
    if (parts > 1 && items > pairs + ctas * kItemsPerCta) cost = INT32_MAX;  // there is no scratch for them
    const int32_t least = __reduce_min_sync(kAllLanes, cost);
    const int32_t best = __ffs(static_cast<int>(__ballot_sync(kAllLanes, cost == least))) - 1;
    return __shfl_sync(kAllLanes, tokens, best);
  }

  // Parts of all rows, each of at most `tokens`, which may differ from lane to lane.
  __device__ int32_t CountWith(int32_t tokens, int32_t longest) {
    const float inverse = 1.0f / static_cast<float>(tokens);
    const bool precise = longest < (1 << 20);  // then half a token is more than the product's error
    int32_t count = 0;
    for (int32_t first = 0;;) {
      const int32_t span = position_ >= 0 ? Span(position_) : 0;
      const int32_t loaded = min(sequences_ - first, 32);
      for (int32_t i = 0; i < loaded; ++i) {
        const int32_t other = __shfl_sync(kAllLanes, span, i) + tokens - 1;
        count +=
            precise ? static_cast<int32_t>((static_cast<float>(other) + 0.5f) * inverse) : other / tokens;
      }
      first += 32;
      if (first >= sequences_) break;
      LoadSequences(first);
    }
    if (sequences_ > 32) LoadSequences(0);
    return count;
  }

  const int32_t* row_count_;
  const int32_t* first_position_;
  const int32_t* first_row_;
  int32_t most_sequences_;
  int32_t sequences_;
  int32_t head_groups_;
  int32_t window_;
  bool invariant_;
  int32_t item_tokens_ = 0;
  int32_t first_sequence_ = 0;
  int32_t first_item_ = 0;
  int32_t position_ = -1;
  int32_t row_ = 0;
  int32_t items_ = 0;
  int32_t last_item_ = 0;  // one past the items of the sequences up to this lane's
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_WALK_CUH_
