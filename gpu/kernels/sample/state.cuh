// What the blocks of a row keep in shared memory, and how it is laid out. Host and device agree on it here.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_STATE_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_STATE_CUH_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "gpu/kernels/sample/block_ops.cuh"
#include "gpu/kernels/sample/row_group.cuh"
#include "gpu/kernels/sample/sample.h"

namespace tessera::gpu {

// Probabilities are integers: floor(exp((logit - largest) / temperature) * 2^44), kept as floats, which hold
// them exactly. All of kMostSampledVocabulary tokens at probability 1 sum up to 2^63.
inline constexpr int kUnitBits = 44;
inline constexpr float kUnits = static_cast<float>(uint64_t{1} << kUnitBits);

inline constexpr int kMostBins = 4096;   // of one level of a selection
inline constexpr int kDrawTokens = 512;  // of which a draw knows the sum

struct SampleShared {
  BlockScratch scratch;
  SampleParams params;  // of the row; here, since a barrier of the group throws cached global memory away
  // slots of TellGroup, each used by one exchange only, but for those of selections
  uint64_t bests[kMostGroupBlocks];
  uint64_t raw_bests[kMostGroupBlocks];
  uint32_t faulty[kMostGroupBlocks];
  uint64_t kept_sums[kMostGroupBlocks];
  uint64_t raw_sums[kMostGroupBlocks];
  uint64_t slice_sums[kMostGroupBlocks];
  uint32_t tied_counts[kMostGroupBlocks];
  // in block 0
  int32_t token;
  int32_t top_count;
  uint64_t top_keys[kMostTopLogprobs];
};

// One level of a selection: this block's tokens by bins, and what all blocks have in this block's slice of
// bins.
template <typename LowSum>
struct BinTable {
  LowSum* lows;             // [kMostBins]
  uint32_t* counts;         // [kMostBins], right behind `lows`
  uint64_t* slice_weights;  // [kMostBins / group size]
  uint32_t* slice_counts;   // [kMostBins / group size]
};

// A block whose tokens fit into shared memory has so few that the low parts of their keys sum up within 32
// bits: 2^15 tokens, 17 bits.
inline constexpr int32_t kMostSharedTokens = 1 << 15;
template <bool kRowInShared>
using LowSumOf = std::conditional_t<kRowInShared, uint32_t, unsigned long long>;

__host__ __device__ constexpr int32_t TokensOfBlock(int32_t vocabulary, int32_t group_blocks) {
  return ((vocabulary + group_blocks - 1) / group_blocks + 31) / 32 * 32;
}

template <bool kRowInShared>
__host__ __device__ constexpr size_t SharedBytesWithoutRow(int32_t group_blocks) {
  return sizeof(SampleShared) + kMostBins * (sizeof(LowSumOf<kRowInShared>) + sizeof(uint32_t)) +
         kMostBins / group_blocks * (sizeof(uint64_t) + sizeof(uint32_t));
}

// The parts of a block's shared memory; the row's values, where they are there, follow.
template <bool kRowInShared>
struct SharedParts {
  SampleShared* shared;
  BinTable<LowSumOf<kRowInShared>> bins;
  float* values;

  __device__ __forceinline__ SharedParts(uint8_t* memory, int group_size) {
    shared = reinterpret_cast<SampleShared*>(memory);
    bins.lows = reinterpret_cast<LowSumOf<kRowInShared>*>(memory + sizeof(SampleShared));
    bins.counts = reinterpret_cast<uint32_t*>(bins.lows + kMostBins);
    bins.slice_weights = reinterpret_cast<uint64_t*>(bins.counts + kMostBins);
    bins.slice_counts = reinterpret_cast<uint32_t*>(bins.slice_weights + kMostBins / group_size);
    values = reinterpret_cast<float*>(bins.slice_counts + kMostBins / group_size);
  }

  // Scratch between selections, in the place of the bins.
  __device__ __forceinline__ uint32_t* counters() const { return reinterpret_cast<uint32_t*>(bins.lows); }
  __device__ __forceinline__ uint64_t* draw_sums() const { return reinterpret_cast<uint64_t*>(bins.lows); }
};
inline constexpr int32_t kCounters = 2 * kMostBins;
static_assert(kMostSampledVocabulary / kDrawTokens * sizeof(uint64_t) <= kCounters * sizeof(uint32_t),
              "the sums that a draw keeps fit into the place of the bins");
static_assert(sizeof(SampleShared) % sizeof(uint64_t) == 0, "what follows is aligned");

// What a block saw of its tokens.
struct BlockSummary {
  uint64_t best;      // BestKey after bias and penalties; 0 for no tokens
  uint64_t raw_best;  // the same of the raw logits
  uint32_t faulty;    // not 0: NaN or infinity among the raw logits
};

// The run of neighbouring tokens that this block has of a row.
struct BlockTokens {
  int32_t first;
  int32_t count;

  __device__ __forceinline__ bool Has(int32_t token) const { return token >= first && token < first + count; }
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_STATE_CUH_
