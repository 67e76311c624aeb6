// Sizes, the choice of the kernel family, and exact unpacking of one row.
#include "core/cpu/kernels/linear/linear.h"

#include "core/cpu/kernels/linear/layout.h"
#include "core/cpu/kernels/linear/linear_call.h"
#include "core/cpu/kernels/linear/plain.h"

namespace tessera::cpu {
size_t PackedLinearBytes(TensorType type, int64_t rows, int64_t columns) {
  return static_cast<size_t>(LinearTiles(rows)) * TileBytes(type, columns);
}

size_t PreparedRowBytes(ActivationMode mode, int64_t columns) {
  const size_t bytes = mode == ActivationMode::kInt8
                           ? static_cast<size_t>((columns + kGroup - 1) / kGroup) * sizeof(ActivationGroup)
                           : static_cast<size_t>(columns) * sizeof(float);
  const size_t lines = (bytes + 63) / 64;
  // Rows a multiple of 1 KiB apart would share the cache's sets.
  return (lines % 16 == 0 ? lines + 1 : lines) * 64;
}

size_t PreparedOffset(ActivationMode mode, int64_t column) {
  return mode == ActivationMode::kInt8 ? static_cast<size_t>(column / kGroup) * sizeof(ActivationGroup)
                                       : static_cast<size_t>(column) * sizeof(float);
}

LeafSpans SpansOf(const LinearCall& call) {
  LeafSpans spans;
  if (call.leaves == nullptr) {
    spans.count = 1;
    spans.spans[0] = {0, 0, call.columns};
    return spans;
  }
  spans.count = call.leaves->count;
  for (int32_t i = 0; i < spans.count; ++i) {
    const LinearLeaf& leaf = call.leaves->leaves[i];
    spans.spans[i] = {TileOffset(call.type, leaf.first_column),
                      PreparedOffset(call.mode, leaf.prepared_column), leaf.columns};
  }
  return spans;
}

bool HasVnni() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

void LinearDispatch(const LinearCall& call) {
  if (call.tile_begin >= call.tile_end || call.row_count <= 0) return;
  switch (call.type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
      return LinearFloat(call);
    case TensorType::kQ8_0:
      return LinearQ8(call);
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
      return LinearQ4(call);
    case TensorType::kQ4_K:
    case TensorType::kQ6_K:
      return LinearKQuants(call);
  }
}

void Linear(ActivationMode mode, TensorType type, const void* packed, int64_t rows, int64_t columns,
            int64_t tile_begin, int64_t tile_end, const void* prepared, size_t prepared_stride_bytes,
            int64_t row_count, const float* bias, bool accumulate, float* out, int64_t out_stride,
            const LinearLeaves* leaves) {
  LinearDispatch({mode, type, static_cast<const uint8_t*>(packed), rows, columns, tile_begin, tile_end,
                  static_cast<const uint8_t*>(prepared), prepared_stride_bytes, row_count, bias, accumulate,
                  out, out_stride, HasVnni(), leaves});
}

void UnpackRow(TensorType type, const void* packed, int64_t rows, int64_t columns, int64_t row, float* out) {
  (void)rows;
  const int64_t n = row % kPackRows;
  const uint8_t* tile =
      static_cast<const uint8_t*>(packed) + static_cast<size_t>(row / kPackRows) * TileBytes(type, columns);
  const QuantLayout* layout = FindLayout(type);
  if (layout == nullptr) {
    for (int64_t k = 0; k < columns; ++k) out[k] = UnpackElement(type, tile, n, k);
    return;
  }
  for (int64_t k = 0; k < columns; k += kGroup) GroupAt(type, *layout, tile, k).Unpack(n, out + k);
}

}  // namespace tessera::cpu
