// From the product with the query, key and value matrices to rotated queries and to rows of the cache; and
// what else writes the cache: copies of blocks. Knows no attention.
#ifndef TESSERA_GPU_KERNELS_CACHE_APPEND_CACHE_APPEND_H_
#define TESSERA_GPU_KERNELS_CACHE_APPEND_CACHE_APPEND_H_

#include <cstddef>
#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

enum class RotaryPairing : int32_t { kInterleaved = 0, kHalves = 1 };  // (2i, 2i + 1); (i, i + n / 2)

// Cosine and sine of position * inverse_frequencies[i], each times magnitude: table [max_positions][pairs] of
// (cos, sin). Angles are in double precision: exact products, errors of the functions below 2 ulp of a
// double.
size_t RotaryTableBytes(int32_t max_positions, int32_t pairs);
cudaError_t LaunchRotaryTable(const LaunchContext& context, const float* inverse_frequencies, int32_t pairs,
                              float magnitude, int32_t max_positions, float2* table);

struct RotateAppendCall {
  // [capacity, (heads + 2 kv_heads) * head_size] of input_type: queries, keys, values; aligned to 16 bytes.
  const void* qkv = nullptr;
  ElementType input_type = ElementType::kBF16;  // kBF16, kF16 or kF32
  // Added first; each nullptr: none.
  const float* query_bias = nullptr;     // [heads * head_size]
  const float* key_bias = nullptr;       // [kv_heads * head_size]
  const float* value_bias = nullptr;     // [kv_heads * head_size]
  const float2* rotary_table = nullptr;  // LaunchRotaryTable's; covers every position
  RotaryPairing pairing = RotaryPairing::kInterleaved;
  int32_t rotary_dimensions = 0;  // leading elements of each head; even
  int32_t heads = 0;
  void* query = nullptr;                        // [capacity, heads * head_size], written
  ElementType query_type = ElementType::kBF16;  // kBF16 or kF16
  CacheLayout cache;  // written: a row for each key and value, rounded as core/cpu/kernels/cache_rows does
  StepArrays step;
  int32_t capacity = 0;  // rows
};
// Computes in FP32 and rounds once. Rows from counts[kRows] on are left alone, and nothing is appended where
// the block is -1.
cudaError_t LaunchRotateAppend(const LaunchContext& context, const RotateAppendCall& call);

struct BlockCopies {
  const int32_t* pairs = nullptr;  // [count][2]: from, to
  const int32_t* count = nullptr;  // in device memory
};
// Within one cache group, all layers, in order: a copy sees what the ones before it wrote.
cudaError_t LaunchCopyBlocks(const LaunchContext& context, uint8_t* cache, int64_t block_bytes,
                             const BlockCopies& copies);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_CACHE_APPEND_CACHE_APPEND_H_
