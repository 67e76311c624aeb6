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
// Else: more items than sequences make, for each CTA at most; and what an item costs beside its tokens, in
// tokens.
inline constexpr int32_t kItemsPerCta = 4;
inline constexpr int32_t kItemCostTokens = 48;
inline constexpr int32_t kMostClusterBlocks = 16;

struct DecodePlan {
  int32_t passes = 1;          // over the keys and values of one kv head, where its group is large
  int32_t heads_per_pass = 1;  // query heads of an item; the last pass may have fewer
  int32_t head_groups = 1;     // kv_heads * passes: items of one split of one sequence
  int32_t ring_slots = 0;      // of each warp
  int32_t slot_bytes = 0;
  int32_t merge_bytes = 0;  // MergeBytes
  float scale_log2 = 1;     // scale * log2(e)
  // Partial results, by item: sums [items][heads_per_pass][head_size], and beside them the largest score
  // and the sum of weights [items][heads_per_pass][2].
  float* sums = nullptr;
  float2* weights = nullptr;
  int32_t* arrived = nullptr;  // [max_sequences][head_groups]; 0 between launches
};

// A variant: an instance of the kernel.
using DecodeKernel = void (*)(AttentionCall, DecodePlan);
struct DecodeVariant {
  DecodeKernel items = nullptr;     // any number of rows (decode.cuh); nullptr: there is none for this shape
  DecodeKernel clusters = nullptr;  // few rows (decode_cluster.cuh)
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

// A cluster's CTAs share the merge of splits: each takes so many vectors of 4 elements.
__host__ __device__ inline int32_t VectorsPerBlock(int32_t heads, int32_t head_size, int32_t blocks) {
  return (heads * (head_size / 4) + blocks - 1) / blocks;
}
// And behind the rest has room for what the cluster's splits send it: vectors, and with each the largest
// score and the sum of weights.
inline size_t ReceiveBytes(const DecodePlan& plan, int32_t head_size, int32_t blocks) {
  return static_cast<size_t>(kInvariantSplits) * VectorsPerBlock(plan.heads_per_pass, head_size, blocks) *
         (sizeof(float4) + sizeof(float2));
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_PLAN_H_
