// A step as kernels see it: arrays in device memory at addresses that never change, written by one copy at
// the head of each step, so that a captured graph finds the new step in the old place.
#ifndef TESSERA_GPU_KERNELS_COMMON_STEP_ARRAYS_H_
#define TESSERA_GPU_KERNELS_COMMON_STEP_ARRAYS_H_

#include <cstddef>
#include <cstdint>

namespace tessera::gpu {

// Element type of matrices, activations and cache rows. (cache: also kInt8Rows, see CacheLayout.)
enum class ElementType : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2, kInt8Rows = 3 };

// Graphs are captured for a bucket of rows, so launches cover `capacity` rows while a step may have fewer:
// rows from counts[kRows] on have sequence -1 and position 0, and kernels leave what belongs to them alone.
struct StepArrays {
  enum Count { kRows = 0, kSequences = 1, kSamples = 2, kCountsSize = 4 };
  const int32_t* counts = nullptr;          // [kCountsSize]
  const int32_t* tokens = nullptr;          // [capacity]; sampled ones are resolved already
  const int32_t* positions = nullptr;       // [capacity]
  const int32_t* row_sequence = nullptr;    // [capacity]
  const int32_t* first_row = nullptr;       // [sequences]
  const int32_t* row_count = nullptr;       // [sequences]
  const int32_t* first_position = nullptr;  // [sequences], of first_row
  // [sequences][table_stride]: block ids of one cache group; -1 where a block has passed out of the window
  const int32_t* block_table = nullptr;
  int32_t table_stride = 0;
  const int32_t* sample_rows = nullptr;  // [samples]: rows whose logits are wanted, ascending
};

// One layer's keys and values in the paged cache. Block b's keys stand at data + b * block_bytes +
// layer_offset_bytes, its values value_offset_bytes behind them; each is [kv_heads, block_tokens] rows of
// row_bytes. kInt8Rows: a row is head_size int8 (padded to an even count) and then one F16 scale for each 32
// elements; element = int8 * scale.
struct CacheLayout {
  uint8_t* data = nullptr;
  ElementType type = ElementType::kBF16;
  int32_t block_tokens = 0;
  int32_t kv_heads = 0;
  int32_t head_size = 0;
  int32_t row_bytes = 0;
  int64_t block_bytes = 0;
  int64_t layer_offset_bytes = 0;
  int64_t value_offset_bytes = 0;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_COMMON_STEP_ARRAYS_H_
