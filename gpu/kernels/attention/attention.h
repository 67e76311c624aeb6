// Attention of a step's rows over the paged cache: one row a sequence (decode), or a run of rows (prompts).
// Both are launched for every step that may have such sequences; each leaves the other's alone.
//
// The row at position p sees the keys at [max(0, p - window + 1), p]. They are in the cache already, this
// step's own included. Blocks with id -1 lie before the window and are not read.
//
// Sums are made in an order that is given by lengths and shapes alone: the same step has the same bits. With
// `batch_invariant` a decode row's bits depend on its own sequence only. A prompt's rows always do, but a run
// of one row is decoded, and decode sums in another order.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_ATTENTION_H_
#define TESSERA_GPU_KERNELS_ATTENTION_ATTENTION_H_

#include <cstddef>
#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

struct AttentionShape {
  ElementType type = ElementType::kBF16;  // of query and context: kBF16 or kF16
  int32_t heads = 0;                      // a multiple of kv_heads
  int32_t kv_heads = 0;
  int32_t head_size = 0;      // even, at most 256; fast: 64, 80, 96, 128, 256 (int8 cache: 64, 128, 256)
  int32_t window_tokens = 0;  // 0: the whole context
  float scale = 1;            // above 0
};

struct AttentionCall {
  AttentionShape shape;
  CacheLayout cache;  // fast where block_tokens is a multiple of 16
  StepArrays step;
  int32_t capacity = 0;         // rows
  int32_t max_sequences = 0;    // that a step may have: the length of the arrays for sequences
  const void* query = nullptr;  // [capacity, heads, head_size], rotated; aligned to 16 bytes
  void* context = nullptr;      // the same shape; rows that belong to no such sequence stay as they are
  void* scratch = nullptr;      // AttentionScratchBytes, zeroed once; used by one launch at a time
  bool batch_invariant = false;
  // Prompts' kernels take sequences of one row too. They add up keys in one order wherever a sequence is cut
  // into steps; those of decode in another.
  bool single_rows_as_prompts = false;
  // Keys and values older than this step may be read before the predecessor has ended. Needs that no node
  // since the last but one writes the step's arrays or old rows of the cache.
  bool prefetch_before_wait = false;
  // For measurements; 0: by the shape.
  int32_t ring_bytes = 0;      // shared memory of decode's ring
  int32_t cluster_blocks = 0;  // thread blocks that share a row's kv head in decode; 1: any, by lengths
};

// Of decode; prompts need none. Aligned to 256 bytes.
size_t AttentionScratchBytes(const AttentionShape& shape, int32_t max_sequences, int32_t sm_count,
                             bool batch_invariant);

// Allows the shared memory that launches for this shape and cache will use. Once, outside of any capture.
cudaError_t PrepareAttention(const AttentionShape& shape, const CacheLayout& cache);

// Sequences with row_count == 1.
cudaError_t LaunchAttentionDecode(const LaunchContext& context, const AttentionCall& call);
// Sequences with row_count > 1, and others where single_rows_as_prompts says so.
cudaError_t LaunchAttentionPrefill(const LaunchContext& context, const AttentionCall& call);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_ATTENTION_H_
