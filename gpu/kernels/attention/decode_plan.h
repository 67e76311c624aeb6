// How decode cuts its work: what the host settles at launch. Item = (sequence, heads that share keys and
// values, split of its tokens); the lengths that it depends on are in device memory (decode_walk.cuh).
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_PLAN_H_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_PLAN_H_

#include <cstddef>
#include <cstdint>

#include "gpu/kernels/attention/attention.h"

namespace tessera::gpu {

inline constexpr int32_t kTileTokens = 16;  // what a warp computes at a time; never crosses a block

// Splits of batch-invariant mode: whole multiples of kInvariantStep tokens, at most kInvariantSplits.
inline constexpr int32_t kInvariantStep = 128;
inline constexpr int32_t kInvariantSplits = 16;
// Else: items for each CTA where there are more than a few sequences, and the fewest tokens of a split then.
inline constexpr int32_t kItemsPerCta = 4;
inline constexpr int32_t kLeastSplitTokens = 128;

struct DecodePlan {
  int32_t passes = 1;          // over the keys and values of one kv head, where its group is large
  int32_t heads_per_pass = 1;  // query heads of an item; the last pass may have fewer
  int32_t head_groups = 1;     // kv_heads * passes: items of one split of one sequence
  int32_t ring_slots = 0;      // of each warp
  int32_t slot_bytes = 0;
  float scale_log2 = 1;  // scale * log2(e)
  // Partial results, by item: sums [items][heads_per_pass][head_size], and beside them the largest score
  // and the sum of weights [items][heads_per_pass][2].
  float* sums = nullptr;
  float2* weights = nullptr;
  int32_t* arrived = nullptr;  // [max_sequences][head_groups]; 0 between launches
};

// A variant: an instance of the kernel.
using DecodeKernel = void (*)(AttentionCall, DecodePlan);
struct DecodeVariant {
  DecodeKernel kernel = nullptr;  // nullptr: there is none for this shape
  int32_t warps = 0;
};
// head_tiles: of 8 query heads; 1 or 2. Defined where the instances are.
DecodeVariant FindDecodeBF16(int32_t head_size, int32_t head_tiles);
DecodeVariant FindDecodeF16(int32_t head_size, int32_t head_tiles);
DecodeVariant FindDecodeInt8(int32_t head_size, int32_t head_tiles);

// Bytes of dynamic shared memory: ring, barriers, and where a CTA's warps merge.
inline size_t MergeBytes(int32_t warps, int32_t heads_per_pass, int32_t head_size) {
  return static_cast<size_t>(warps) * heads_per_pass * (head_size + 4 + 2) * sizeof(float);
}
inline size_t DecodeSharedBytes(const DecodePlan& plan, int32_t warps, int32_t head_size) {
  const size_t slots = static_cast<size_t>(warps) * plan.ring_slots;
  return slots * (plan.slot_bytes + sizeof(uint64_t)) + MergeBytes(warps, plan.heads_per_pass, head_size);
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_PLAN_H_
