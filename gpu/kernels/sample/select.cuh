// Which tokens remain: the k best, or the fewest best ones that hold a given share of the mass. Keys of 32
// bits order the tokens (larger is better), of equal keys the lower token comes first. A radix search over
// the whole group: each level sorts the tokens that are still in question into bins by their next bits, adds
// the blocks' bins up, and goes on in the bin where the target is reached. Weights are exact, so no order of
// adding matters.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_SELECT_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_SELECT_CUH_

#include <cstdint>

#include "gpu/kernels/sample/block_ops.cuh"
#include "gpu/kernels/sample/row_group.cuh"
#include "gpu/kernels/sample/state.cuh"

namespace tessera::gpu {

// The border between tokens kept and left out, for one block: indices are the block's own.
struct Cut {
  uint32_t least_key;
  int32_t last_tied;  // of the tokens with exactly that key, the last one kept

  __device__ __forceinline__ bool Keeps(uint32_t key, int32_t index) const {
    return key > least_key || (key == least_key && index <= last_tied);
  }
};

// Tokens weigh 1 each; keys are any.
struct CountWeights {
  static constexpr int kFirstShift = 20;
  static constexpr int kSecondShift = 10;
  static constexpr uint32_t kFirstBin = 0;  // of the first level: key >> kFirstShift
  static constexpr uint32_t kFirstBins = 1u << 12;
  static constexpr bool kNeedsLows = false;
  uint64_t count;

  __device__ __forceinline__ uint64_t Target(uint64_t /*total*/) const { return count; }
  // Of a bin of `count` tokens whose keys begin with `high` (above `shift`) and whose lower bits sum up to
  // `low`.
  __device__ __forceinline__ static uint64_t OfBin(uint32_t /*high*/, int /*shift*/, uint32_t count,
                                                   uint64_t /*low*/) {
    return count;
  }
};

// Tokens weigh their probability, and its float's bits are the key: 1 to 2^kUnitBits, or 0 for tokens that
// are out already. In a bin all have one exponent, so the mantissas' common part times the count, and the sum
// of the rest, are its weight exactly.
struct MassWeights {
  static constexpr int kFirstShift = 17;
  static constexpr int kSecondShift = 6;
  static constexpr uint32_t kFirstBin = 127u << (23 - kFirstShift);
  static constexpr uint32_t kFirstBins = (kUnitBits + 1u) << (23 - kFirstShift);
  static constexpr bool kNeedsLows = true;
  float share;  // of the total, below 1

  __device__ __forceinline__ uint64_t Target(uint64_t total) const {
    const double target = ceil(static_cast<double>(share) * static_cast<double>(total));
    if (!(target >= 1)) return 1;
    return min(static_cast<uint64_t>(target), total);
  }
  __device__ __forceinline__ static uint64_t OfBin(uint32_t high, int shift, uint32_t count, uint64_t low) {
    const uint32_t key = high << shift;
    const int exponent = static_cast<int>(key >> 23) - 127 - 23;
    const uint64_t mantissas = static_cast<uint64_t>(count) * (0x800000u | (key & 0x7fffffu)) + low;
    return exponent >= 0 ? mantissas << exponent : mantissas >> -exponent;
  }
};
static_assert(MassWeights::kFirstBins <= kMostBins && CountWeights::kFirstBins <= kMostBins, "bins fit");

// Of the tokens with the border's key only `wanted` are kept, fewer than there are: the first ones by id. All
// blocks call it. Returns this block's last one, -1 for none.
template <typename KeyAt>
__device__ __forceinline__ int32_t LastTied(const RowGroup& group, int32_t count, KeyAt key_at, uint32_t key,
                                            uint32_t tied_here, uint64_t wanted, SampleShared* shared) {
  TellGroup(group, tied_here, shared->tied_counts);
  SyncGroup();
  const uint64_t in_earlier_blocks = WarpSum(LaneIndex() < group.rank ? shared->tied_counts[LaneIndex()] : 0);
  wanted -= min(wanted, in_earlier_blocks);
  if (wanted == 0) return -1;
  if (wanted >= tied_here) return count;
  for (int32_t begin = 0;; begin += kSampleThreads) {
    const int32_t i = begin + ThreadIndex();
    const bool tied = i < count && key_at(i) == key;
    const uint32_t found = static_cast<uint32_t>(__syncthreads_count(tied));
    if (found >= wanted) {
      const Reached last = FindReached(
          min(kSampleThreads, count - begin), wanted,
          [&](int32_t index) { return static_cast<uint64_t>(key_at(begin + index) == key); },
          &shared->scratch);
      return begin + last.index;
    }
    wanted -= found;
  }
}

// key_at(i): of the block's i-th token, of `count`. All blocks of the group call it with the same `weights`.
template <typename Weights, typename LowSum, typename KeyAt>
__device__ __forceinline__ Cut SelectBest(const RowGroup& group, int32_t count, KeyAt key_at, Weights weights,
                                          const BinTable<LowSum>& table, SampleShared* shared) {
  int shift = Weights::kFirstShift;
  uint32_t first = Weights::kFirstBin;  // key >> shift of bin 0
  uint32_t bins = Weights::kFirstBins;
  uint64_t target = 0;  // what the tokens in question must still reach
  for (;;) {
    for (uint32_t bin = threadIdx.x; bin < bins; bin += kSampleThreads) {
      table.counts[bin] = 0;
      if (Weights::kNeedsLows) table.lows[bin] = 0;
    }
    __syncthreads();
#pragma unroll 2
    for (int32_t i = ThreadIndex(); i < count; i += kSampleThreads) {
      const uint32_t key = key_at(i);
      const uint32_t bin = (key >> shift) - first;
      if (bin >= bins) continue;
      atomicAdd(&table.counts[bin], 1u);
      if (Weights::kNeedsLows && shift > 0) {
        atomicAdd(&table.lows[bin], static_cast<LowSum>(key & ((1u << shift) - 1)));
      }
    }
    SyncGroup();

    // This block's slice of bins, over all blocks.
    const uint32_t slice = (bins + group.size - 1) / group.size;
    uint64_t sum = 0;
    for (uint32_t i = threadIdx.x; i < slice; i += kSampleThreads) {
      const uint32_t bin = group.rank * slice + i;
      uint32_t bin_count = 0;
      uint64_t low = 0;
      if (bin < bins) {
#pragma unroll 4
        for (int rank = 0; rank < group.size; ++rank) {
          bin_count += LoadFrom(&table.counts[bin], rank);
          if (Weights::kNeedsLows) low += LoadFrom(&table.lows[bin], rank);
        }
      }
      const uint64_t weight = Weights::OfBin(first + bin, shift, bin_count, low);
      table.slice_counts[i] = bin_count;
      table.slice_weights[i] = weight;
      sum += weight;
    }
    TellGroup(group, BlockSum(sum, &shared->scratch), shared->slice_sums);
    SyncGroup();

    // From the best slice down, then from its best bin down.
    const uint64_t of_lane = LaneIndex() < group.size ? shared->slice_sums[group.size - 1 - LaneIndex()] : 0;
    const uint64_t until = WarpRunningSum(of_lane);
    if (shift == Weights::kFirstShift) target = weights.Target(OfLane(until, 31));
    const int owner_lane = __ffs(__ballot_sync(kAllLanes, until >= target)) - 1;
    const int owner = group.size - 1 - owner_lane;
    target -= OfLane(until - of_lane, owner_lane);
    const Reached reached = FindReached(
        static_cast<int32_t>(slice), target,
        [&](int32_t i) { return LoadFrom(&table.slice_weights[slice - 1 - i], owner); }, &shared->scratch);
    target -= reached.before;
    const uint32_t in_slice = slice - 1 - static_cast<uint32_t>(reached.index);
    const uint32_t bin = owner * slice + in_slice;
    const uint32_t border = first + bin;
    const uint32_t border_count = LoadFrom(&table.slice_counts[in_slice], owner);
    if (border_count == 1) return {border << shift, count};
    if (shift == 0) {
      const uint64_t each = Weights::OfBin(border, 0, 1, 0);
      const uint64_t wanted = (target + each - 1) / each;
      if (wanted >= border_count) return {border, count};
      return {border, LastTied(group, count, key_at, border, table.counts[bin], wanted, shared)};
    }
    const int next_shift = shift == Weights::kFirstShift ? Weights::kSecondShift : 0;
    first = border << (shift - next_shift);
    bins = 1u << (shift - next_shift);
    shift = next_shift;
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_SELECT_CUH_
