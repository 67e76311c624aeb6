// Plain loops over packed weights. Slow, and the same integers as the vector kernels; knows no vector set.
#include "core/cpu/kernels/linear/plain.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/cpu/kernels/linear/half.h"

namespace tessera::cpu {
namespace {

// The stored integers of one output of one group, and the factors around them.
struct Integers {
  int32_t values[kGroup];  // w = scale (value - offset) + shift
  int32_t offset = 0;
  int32_t sub_scales[2] = {1, 1};  // of columns 0-15 and 16-31
  float d = 0;
  float shift = 0;
};

// The two's complement value of a byte.
int32_t Signed(uint8_t byte) { return (byte ^ 128) - 128; }

int32_t NibbleAt(const uint8_t* nibbles, int64_t n, int64_t column) {
  const int64_t quad = column / 4;
  const uint8_t byte = nibbles[64 * (quad % 4) + 4 * n + column % 4];
  return quad < 4 ? byte & 15 : byte >> 4;
}

int32_t PairAt(const uint8_t* pairs, int64_t n, int64_t column) {
  const int64_t quad = column / 4;
  const uint8_t byte = pairs[64 * ((quad % 4) / 2) + 4 * n + column % 4];
  return (byte >> (quad / 4 * 4 + quad % 2 * 2)) & 3;
}

Integers ReadIntegers(const PlainGroup& at, int64_t n) {
  Integers result;
  result.d = HalfToFloat(LoadAs<uint16_t>(at.header + 2 * n));
  const uint8_t* nibbles = at.group;
  if (at.type == TensorType::kQ8_0) {
    for (int64_t k = 0; k < kGroup; ++k) {
      result.values[k] = Signed(at.group[64 * (k / 4) + 4 * n + k % 4]);
    }
    return result;
  }
  if (at.type == TensorType::kQ4_0) {
    result.offset = 8;
  } else if (at.type == TensorType::kQ4_1) {
    result.shift = HalfToFloat(LoadAs<uint16_t>(at.header + 32 + 2 * n));
  } else if (at.type == TensorType::kQ4_K) {
    nibbles = at.group + 32;
    result.sub_scales[0] = result.sub_scales[1] = at.group[n];
    result.shift =
        -(HalfToFloat(LoadAs<uint16_t>(at.header + 32 + 2 * n)) * static_cast<float>(at.group[16 + n]));
  } else {  // kQ6_K
    nibbles = at.group + 32;
    result.offset = 32;
    result.sub_scales[0] = Signed(at.group[n]);
    result.sub_scales[1] = Signed(at.group[16 + n]);
  }
  for (int64_t k = 0; k < kGroup; ++k) {
    result.values[k] = NibbleAt(nibbles, n, k);
    if (at.type == TensorType::kQ6_K) result.values[k] |= PairAt(nibbles + 256, n, k) << 4;
  }
  return result;
}

// The sum over one leaf's columns of output n, for one prepared row.
float LeafSum(const LinearCall& call, const LeafSpan& leaf, const uint8_t* tile, int64_t n,
              const uint8_t* prepared) {
  const QuantLayout* layout = FindLayout(call.type);
  tile += leaf.tile_offset;
  prepared += leaf.prepared_offset;
  const auto* x = reinterpret_cast<const float*>(prepared);
  float sum = 0;
  if (layout == nullptr) {
    for (int64_t k = 0; k < leaf.columns; ++k) sum += UnpackElement(call.type, tile, n, k) * x[k];
    return sum;
  }
  const auto* groups = reinterpret_cast<const ActivationGroup*>(prepared);
  for (int64_t k = 0; k < leaf.columns; k += kGroup) {
    const PlainGroup group = GroupAt(call.type, *layout, tile, k);
    if (call.mode == ActivationMode::kInt8) {
      sum = group.Add(n, groups[k / kGroup], sum);
      continue;
    }
    float weights[kGroup];
    group.Unpack(n, weights);
    for (int64_t i = 0; i < kGroup; ++i) sum += weights[i] * x[k + i];
  }
  return sum;
}

// The leaves' sums along the fold's tree.
float PlainSum(const LinearCall& call, const LeafSpans& leaves, const uint8_t* tile, int64_t n,
               const uint8_t* prepared) {
  float pending[kFoldDepth];
  int32_t depth = 0;
  for (int32_t leaf = 0;; ++leaf) {
    float sum = LeafSum(call, leaves.spans[leaf], tile, n, prepared);
    for (int32_t merges = FoldMerges(leaf, leaves.count, depth); merges > 0; --merges) {
      sum = pending[--depth] + sum;
    }
    if (leaf + 1 == leaves.count) return sum;
    pending[depth++] = sum;
  }
}

}  // namespace

PlainGroup GroupAt(TensorType type, const QuantLayout& layout, const uint8_t* tile, int64_t column) {
  const uint8_t* block = tile + static_cast<size_t>(column / layout.block_columns) * layout.block_bytes();
  const int64_t index = column % layout.block_columns / kGroup;
  return {type, block, block + layout.header_bytes + static_cast<size_t>(index) * layout.group_bytes};
}

void PlainGroup::Unpack(int64_t n, float* out) const {
  const Integers from = ReadIntegers(*this, n);
  for (int64_t k = 0; k < kGroup; ++k) {
    const int32_t sub_scale = from.sub_scales[k < 16 ? 0 : 1];
    const float scale = from.d * static_cast<float>(sub_scale);
    out[k] = scale * static_cast<float>(from.values[k] - from.offset) + from.shift;
  }
}

float PlainGroup::Add(int64_t n, const ActivationGroup& x, float sum) const {
  const Integers from = ReadIntegers(*this, n);
  int32_t dot = 0;
  for (int64_t k = 0; k < kGroup; ++k) {
    dot += from.sub_scales[k / 16] * (from.values[k] - from.offset) * x.values[k];
  }
  sum = static_cast<float>(dot) * (from.d * x.scale) + sum;
  const bool shifted = type == TensorType::kQ4_1 || type == TensorType::kQ4_K;
  return shifted ? from.shift * x.scaled_sum + sum : sum;
}

float UnpackElement(TensorType type, const uint8_t* tile, int64_t n, int64_t column) {
  const int64_t element = column * kPackRows + n;
  if (type == TensorType::kF32) return LoadAs<float>(tile + 4 * element);
  const uint16_t bits = LoadAs<uint16_t>(tile + 2 * element);
  return type == TensorType::kF16 ? HalfToFloat(bits) : BFloatToFloat(bits);
}

void LinearPlain(const LinearCall& call) {
  const LeafSpans leaves = SpansOf(call);
  for (int64_t tile = call.tile_begin; tile < call.tile_end; ++tile) {
    const uint8_t* data = call.packed + static_cast<size_t>(tile) * TileBytes(call.type, call.columns);
    const int64_t first = tile * kPackRows;
    for (int64_t n = first; n < std::min(first + kPackRows, call.rows); ++n) {
      for (int64_t r = 0; r < call.row_count; ++r) {
        float value = PlainSum(call, leaves, data, n - first,
                               call.prepared + static_cast<size_t>(r) * call.prepared_stride_bytes);
        if (call.bias != nullptr) value += call.bias[n];
        float& out = call.out[r * call.out_stride + n];
        out = call.accumulate ? out + value : value;
      }
    }
  }
}

void PreparePlain(const float* x, int64_t columns, ActivationGroup* groups) {
  for (int64_t begin = 0; begin < columns; begin += kGroup) {
    ActivationGroup group = {};
    const int64_t count = std::min(kGroup, columns - begin);
    uint32_t largest = 0;  // magnitudes order as their bits do, with infinities and NaNs above all numbers
    for (int64_t k = 0; k < count; ++k) {
      largest = std::max(largest, std::bit_cast<uint32_t>(x[begin + k]) & 0x7fffffffu);
    }
    const float amax = std::bit_cast<float>(largest);
    if (largest >= 0x7f800000u) {
      group.scale = group.scaled_sum = std::numeric_limits<float>::quiet_NaN();
    } else if (amax >= kSmallestActivation) {
      const float inverse = 127.0f / amax;
      for (int64_t k = 0; k < count; ++k) {
        group.values[k] = static_cast<int8_t>(std::nearbyint(x[begin + k] * inverse));
        group.half_sums[k / 16] = static_cast<int16_t>(group.half_sums[k / 16] + group.values[k]);
      }
      group.sum = group.half_sums[0] + group.half_sums[1];
      group.scale = amax / 127.0f;
      group.scaled_sum = group.scale * static_cast<float>(group.sum);
    }
    groups[begin / kGroup] = group;
  }
}

}  // namespace tessera::cpu
