// out = x W^T on a CPU, for every weight type that model files hold. W is re-laid once, at load, in tiles of
// kPackRows outputs; x is prepared once per region; then any thread computes any range of tiles.
// Knows no model, no region and no threads.
//
// Bit-invariance: out[r][n] depends on row r of x and row n of W only. It does not depend on row_count, on
// the range of tiles, on the thread or on the neighbouring rows: each lane of a vector is one output, and
// every blocking walks the columns in the same order with the same operations. With leaves it depends on them
// too, and not on what else the packed matrix holds. (Processors of unlike vector sets may differ in last
// bits.)
#ifndef TESSERA_CORE_CPU_KERNELS_LINEAR_LINEAR_H_
#define TESSERA_CORE_CPU_KERNELS_LINEAR_LINEAR_H_

#include <cstddef>
#include <cstdint>

#include "core/model/fold.h"
#include "core/model/tensor_type.h"

namespace tessera::cpu {

// Activations as the kernels read them. kInt8: groups of 32, int8 with one float scale a group (largest
// magnitude / 127, round to nearest even). kF32: as they are.
enum class ActivationMode : int32_t { kInt8 = 0, kF32 = 1 };

// The mode in which weights of this type are multiplied where `wanted` is asked for: F32, F16 and BF16
// weights always read F32 activations. A caller prepares its rows once in every mode that its tensors need,
// and passes Linear the rows of ModeFor(wanted, type).
inline constexpr ActivationMode ModeFor(ActivationMode wanted, TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16
             ? ActivationMode::kF32
             : wanted;
}

inline constexpr int64_t kPackRows = 16;  // outputs in a tile
inline constexpr int64_t LinearTiles(int64_t rows) { return (rows + kPackRows - 1) / kPackRows; }

// Bytes of a packed tensor; tile t begins at t * PackedLinearBytes(type, kPackRows, columns). Equal to the
// file's bytes but for the last tile's padding, 4 bytes in 144 of Q4_K, and tiles rounded up to 64 bytes.
// `packed` is best aligned to 64 bytes (nothing faults when it is not). columns: a multiple of the type's
// block.
size_t PackedLinearBytes(TensorType type, int64_t rows, int64_t columns);

// Re-lays rows [first_row, first_row + row_count); `source` holds these rows as the file does, `packed` the
// whole tensor. first_row is a multiple of kPackRows, and the end is one too or is `rows`. Any thread; ranges
// are disjoint.
void PackLinear(TensorType type, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
                const void* source, void* packed);

// Bytes of one prepared row: a multiple of 64.
size_t PreparedRowBytes(ActivationMode mode, int64_t columns);
// Where the part of a prepared row begins that holds columns from `column` on; in kInt8 a multiple of 32.
size_t PreparedOffset(ActivationMode mode, int64_t column);

// Prepares one row x [columns]. The same bits on any thread and for any neighbours. A group of 32 with a NaN
// or an infinity makes every output of an Int8 row NaN.
void PrepareRow(ActivationMode mode, const float* x, int64_t columns, void* prepared);

// Leaves of a sum (core/model/fold.h): whole blocks of the columns, and where their activations stand in the
// prepared row. Leaves may share a block, each with its own activations for it.
struct LinearLeaf {
  int64_t first_column = 0;  // of the packed matrix
  int64_t columns = 0;
  int64_t prepared_column = 0;
};
struct LinearLeaves {
  int32_t count = 0;
  LinearLeaf leaves[kMostLeaves];
};

// out[r * out_stride + n] (+)= bias[n] + sum_k x[r][k] W[n][k], for r in [0, row_count) and n in the tiles
// [tile_begin, tile_end), n < rows. mode == ModeFor(mode, type). bias [rows] may be null. accumulate: adds to
// out, else out is only written. With `leaves` (not null, at least one) the sum is over their columns, leaf
// by leaf, along the tree of core/model/fold.h over these leaves; else over all columns as they come.
// Allocates nothing; any number of threads on disjoint ranges of tiles.
void Linear(ActivationMode mode, TensorType type, const void* packed, int64_t rows, int64_t columns,
            int64_t tile_begin, int64_t tile_end, const void* prepared, size_t prepared_stride_bytes,
            int64_t row_count, const float* bias, bool accumulate, float* out, int64_t out_stride,
            const LinearLeaves* leaves = nullptr);

// Row `row` of W, dequantised exactly as the format defines it: out [columns].
void UnpackRow(TensorType type, const void* packed, int64_t rows, int64_t columns, int64_t row, float* out);

// Plain loops over the file's own bytes, in double precision: what the tests compare with.
// One row of W as the format defines it: out [columns].
void DequantizeReference(TensorType type, const void* source, int64_t columns, float* out);
// x [row_count, columns], bias [rows] or null, out [row_count, rows]. kInt8 rounds the activations as
// PrepareRow does. magnitude [row_count, rows], may be null: sum_k |x| |W|, the scale of rounding errors.
void LinearReference(ActivationMode mode, TensorType type, const void* source, int64_t rows, int64_t columns,
                     const float* x, int64_t row_count, const float* bias, double* out, double* magnitude);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_LINEAR_LINEAR_H_
