// The walk over tiles and rows that all kernels share, and the store of results. A kernel multiplies one tile
// by up to kMaxRows rows, through all columns of a leaf, with its sums in registers; so no blocking here can
// change a result.
#if defined(TESSERA_CPU_LINEAR_WALK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CPU_LINEAR_WALK_INL_H_
#undef TESSERA_CPU_LINEAR_WALK_INL_H_
#else
#define TESSERA_CPU_LINEAR_WALK_INL_H_
#endif

#include <algorithm>

#include "core/cpu/kernels/linear/linear_call.h"
#include "core/cpu/kernels/linear/vectors-inl.h"

#if !TESSERA_LINEAR_PLAIN
HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

// sums [R][16 outputs] of tile `tile` to rows [row, row + R) of out.
template <int R>
HWY_INLINE void StoreTile(const LinearCall& call, int64_t tile, int64_t row,
                          const float (&sums)[R][kPackRows]) {
  const int64_t n = tile * kPackRows;
  const int64_t count = std::min(kPackRows, call.rows - n);
  float bias[kPackRows] = {};
  if (call.bias != nullptr) std::memcpy(bias, call.bias + n, static_cast<size_t>(count) * sizeof(float));
  TESSERA_UNROLL
  for (int r = 0; r < R; ++r) {
    float* out = call.out + (row + r) * call.out_stride + n;
    float edge[kPackRows] = {};
    if (count < kPackRows && call.accumulate) {
      std::memcpy(edge, out, static_cast<size_t>(count) * sizeof(float));
    }
    float* to = count < kPackRows ? edge : out;
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      VF value = hn::LoadU(DF(), sums[r] + p * kLanes);
      if (call.bias != nullptr) value = hn::Add(value, hn::LoadU(DF(), bias + p * kLanes));
      if (call.accumulate) value = hn::Add(hn::LoadU(DF(), to + p * kLanes), value);
      hn::StoreU(value, DF(), to + p * kLanes);
    }
    if (count < kPackRows) std::memcpy(out, edge, static_cast<size_t>(count) * sizeof(float));
  }
}

// What a kernel is given: the tile, and R prepared rows, both from the leaf's first column on.
template <int R>
struct TileRows {
  const uint8_t* tile;
  const uint8_t* rows[R];
};

// One leaf of R rows. A function of its own, so that the compiler has all registers for the kernel.
template <class Kernel, int R>
HWY_NOINLINE void RunLeaf(const uint8_t* tile, const uint8_t* prepared, size_t prepared_stride_bytes,
                          int64_t columns, float (&out)[R][kPackRows]) {
  TileRows<R> at;
  at.tile = tile;
  TESSERA_UNROLL
  for (int r = 0; r < R; ++r) at.rows[r] = prepared + static_cast<size_t>(r) * prepared_stride_bytes;
  VF sums[R][kParts];
  TESSERA_UNROLL
  for (int r = 0; r < R; ++r) {
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) sums[r][p] = hn::Zero(DF());
  }
  Kernel::template Run<R>(at, columns, sums);
  TESSERA_UNROLL
  for (int r = 0; r < R; ++r) {
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) hn::StoreU(sums[r][p], DF(), out[r] + p * kLanes);
  }
}

// left = left + right.
template <int R>
HWY_INLINE void Merge(float (&left)[R][kPackRows], const float (&right)[R][kPackRows]) {
  TESSERA_UNROLL
  for (int r = 0; r < R; ++r) {
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      const VF sum = hn::Add(hn::LoadU(DF(), left[r] + p * kLanes), hn::LoadU(DF(), right[r] + p * kLanes));
      hn::StoreU(sum, DF(), left[r] + p * kLanes);
    }
  }
}

// The leaves' sums along the fold's tree (core/model/fold.h).
template <class Kernel, int R>
HWY_NOINLINE void RunTile(const LinearCall& call, const LeafSpans& leaves, const uint8_t* tile_data,
                          int64_t tile, int64_t row) {
  const uint8_t* prepared = call.prepared + static_cast<size_t>(row) * call.prepared_stride_bytes;
  float sums[kFoldDepth + 1][R][kPackRows];  // a stack: those below the topmost wait for their right half
  int32_t top = 0;
  for (int32_t leaf = 0; leaf < leaves.count; ++leaf, ++top) {
    const LeafSpan& span = leaves.spans[leaf];
    RunLeaf<Kernel, R>(tile_data + span.tile_offset, prepared + span.prepared_offset,
                       call.prepared_stride_bytes, span.columns, sums[top]);
    for (int32_t merges = FoldMerges(leaf, leaves.count, top); merges > 0; --merges) {
      --top;
      Merge<R>(sums[top], sums[top + 1]);
    }
  }
  StoreTile<R>(call, tile, row, sums[0]);
}

// Runs the largest of 8, 6, 4, 3, 2, 1 rows that is at most `limit` and that the kernel takes; returns how
// many.
template <class Kernel, int R>
HWY_INLINE int64_t RunRows(const LinearCall& call, const LeafSpans& leaves, const uint8_t* tile_data,
                           int64_t tile, int64_t row, int64_t limit) {
  if constexpr (R <= Kernel::kMaxRows) {
    if (limit >= R) {
      RunTile<Kernel, R>(call, leaves, tile_data, tile, row);
      return R;
    }
  }
  if constexpr (R > 1) {
    constexpr int kNext = R > 4 ? R - 2 : R - 1;
    return RunRows<Kernel, kNext>(call, leaves, tile_data, tile, row, limit);
  }
  return 0;
}

// How many of the rows left to take at once: as few steps as can be, of about one size.
template <class Kernel>
HWY_INLINE int64_t RowLimit(int64_t left) {
  const int64_t steps = (left + Kernel::kMaxRows - 1) / Kernel::kMaxRows;
  return (left + steps - 1) / steps;
}

// Rows of activations that all tiles share stay in the second cache when few; else a block of tiles does.
constexpr size_t kFewBytes = size_t{96} << 10;
constexpr size_t kTileBlockBytes = size_t{224} << 10;

template <class Kernel>
HWY_INLINE void Walk(const LinearCall& call) {
  const LeafSpans leaves = SpansOf(call);
  const size_t tile_bytes = TileBytes(call.type, call.columns);
  const bool few = static_cast<size_t>(call.row_count) * call.prepared_stride_bytes <= kFewBytes;
  const int64_t block =
      few ? 1
          : std::max<int64_t>(1, static_cast<int64_t>(kTileBlockBytes / std::max<size_t>(64, tile_bytes)));
  for (int64_t begin = call.tile_begin; begin < call.tile_end; begin += block) {
    const int64_t end = std::min(begin + block, call.tile_end);
    int64_t step = 0;
    for (int64_t row = 0; row < call.row_count; row += step) {
      const int64_t limit = RowLimit<Kernel>(call.row_count - row);
      for (int64_t tile = begin; tile < end; ++tile) {
        step = RunRows<Kernel, 8>(call, leaves, call.packed + static_cast<size_t>(tile) * tile_bytes, tile,
                                  row, limit);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();
#endif  // !TESSERA_LINEAR_PLAIN

#endif  // TESSERA_CPU_LINEAR_WALK_INL_H_
