// Where every bit lies in packed weights and prepared rows. Packing, the kernels of all vector sets and the
// exact unpacking share these facts; nothing here computes.
//
// A tile holds kPackRows = 16 outputs. Float types: [columns][16] elements. Quantised types: a sequence of
// blocks of 32 or 256 columns; a block is a header followed by groups of 32 columns. The bytes of a group are
// vectors of 64: byte 4 n + b belongs to output n and to the b-th of 4 consecutive columns (a "quad", as
// dot-product instructions take it; quad q of a group covers columns 4 q .. 4 q + 3).
//   nibbles [4][64]   vector j: quad j in the low half of each byte, quad j + 4 in the high half
//   bytes   [8][64]   vector q: quad q
//   pairs   [2][64]   vector i: bits 5:4 of quad 2i in bits 1:0, of 2i + 1 in 3:2, of 2i + 4 in 5:4, of 2i +
//   5 in 7:6
// Halves (f16) and sub-scales stand as [16], one for each output.
//   Q4_0  header d f16                    group nibbles
//   Q4_1  header d f16, m f16             group nibbles
//   Q8_0  header d f16                    group bytes
//   Q4_K  header d f16, dmin f16          8 groups: scale u8, min u8, nibbles      (6-bit fields widened to
//   8) Q6_K  header d f16                    8 groups: scale i8 of columns 0-15, of 16-31, nibbles, pairs
#ifndef TESSERA_CORE_CPU_KERNELS_LINEAR_LAYOUT_H_
#define TESSERA_CORE_CPU_KERNELS_LINEAR_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "core/cpu/kernels/linear/linear.h"

namespace tessera::cpu {

inline constexpr int64_t kGroup = 32;  // columns that share one activation scale

struct QuantLayout {
  int64_t block_columns;
  size_t header_bytes;
  size_t group_bytes;
  constexpr size_t block_bytes() const {
    return header_bytes + static_cast<size_t>(block_columns / kGroup) * group_bytes;
  }
};

inline constexpr QuantLayout kQ4_0Layout{32, 32, 256};
inline constexpr QuantLayout kQ4_1Layout{32, 64, 256};
inline constexpr QuantLayout kQ8_0Layout{32, 32, 512};
inline constexpr QuantLayout kQ4_KLayout{256, 64, 32 + 256};
inline constexpr QuantLayout kQ6_KLayout{256, 32, 32 + 256 + 128};

// Null for float types.
inline constexpr const QuantLayout* FindLayout(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return &kQ4_0Layout;
    case TensorType::kQ4_1:
      return &kQ4_1Layout;
    case TensorType::kQ8_0:
      return &kQ8_0Layout;
    case TensorType::kQ4_K:
      return &kQ4_KLayout;
    case TensorType::kQ6_K:
      return &kQ6_KLayout;
    default:
      return nullptr;
  }
}

// Where the block of `column` begins in a tile; `column` is a block's first.
inline constexpr size_t TileOffset(TensorType type, int64_t column) {
  const QuantLayout* layout = FindLayout(type);
  if (layout != nullptr) return static_cast<size_t>(column / layout->block_columns) * layout->block_bytes();
  return static_cast<size_t>(column) * kPackRows * (type == TensorType::kF32 ? 4 : 2);
}

// Bytes of one tile, a multiple of 64.
inline constexpr size_t TileBytes(TensorType type, int64_t columns) {
  return (TileOffset(type, columns) + 63) / 64 * 64;
}

// One group of a row prepared in kInt8. x is about scale * values.
struct ActivationGroup {
  int8_t values[32];     // within [-127, 127]
  float scale;           // NaN where x is not finite
  float scaled_sum;      // scale * sum
  int32_t sum;           // of values
  int16_t half_sums[2];  // of values[0, 16) and values[16, 32)
};
static_assert(sizeof(ActivationGroup) == 48, "prepared rows are read by offset");

// Groups whose largest magnitude is below this count as zero: 127 / magnitude could overflow.
inline constexpr float kSmallestActivation = 0x1p-100f;

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_LINEAR_LAYOUT_H_
