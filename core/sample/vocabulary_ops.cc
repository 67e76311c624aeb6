// One body for every instruction set: this file is compiled once for each.
#include "core/sample/vocabulary_ops.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/sample/vocabulary_ops.cc"
// clang-format off
#include "hwy/foreach_target.h"  // includes this file once for each target, so it must come first
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tessera {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Signed = hn::RebindToSigned<Floats>;
using FloatVector = hn::Vec<Floats>;
using SignedVector = hn::Vec<Signed>;

// The last, shorter block of a row, filled up to a whole one.
struct PaddedBlock {
  PaddedBlock(const float* values, int32_t count, float padding) {
    std::copy(values, values + count, lanes);
    std::fill(lanes + count, lanes + kVocabularyBlock, padding);
  }
  float lanes[kVocabularyBlock];
};

void CopyRow(const float* values, int32_t count, float* copy) {
  const Floats f;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(f));
  int32_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto first = hn::LoadU(f, values + i);
    const auto second = hn::LoadU(f, values + i + lanes);
    hn::StoreU(first, f, copy + i);
    hn::StoreU(second, f, copy + i + lanes);
  }
  std::copy(values + i, values + count, copy + i);
}

// Adds one block to the running maxima of values and of magnitudes. Without its sign a float's bits order as
// an integer; infinity and every NaN come after all numbers.
template <bool want_block_largest>
float SummariseBlock(const float* block, FloatVector& largest, SignedVector& magnitude) {
  const Floats f;
  const Signed bits;
  auto block_largest = hn::LoadU(f, block);
  for (size_t i = 0; i < kVocabularyBlock; i += hn::Lanes(f)) {
    const auto values = hn::LoadU(f, block + i);
    block_largest = hn::Max(block_largest, values);
    magnitude = hn::Max(magnitude, hn::BitCast(bits, hn::Abs(values)));
  }
  largest = hn::Max(largest, block_largest);
  return want_block_largest ? hn::GetLane(hn::MaxOfLanes(f, block_largest)) : 0;
}

template <bool want_block_largest>
RowSummary SummariseRow(const float* values, int32_t count, float* block_largest) {
  const Floats f;
  const Signed bits;
  auto largest = hn::Set(f, -std::numeric_limits<float>::infinity());
  auto magnitude = hn::Zero(bits);
  for (int32_t i = 0; i < count; i += kVocabularyBlock) {
    const float of_block = i + kVocabularyBlock <= count
                               ? SummariseBlock<want_block_largest>(values + i, largest, magnitude)
                               : SummariseBlock<want_block_largest>(
                                     PaddedBlock(values + i, count - i, values[i]).lanes, largest, magnitude);
    if (want_block_largest) block_largest[i / kVocabularyBlock] = of_block;
  }
  constexpr int32_t kInfinityBits = 0x7f800000;
  return {hn::GetLane(hn::MaxOfLanes(f, largest)),
          hn::GetLane(hn::MaxOfLanes(bits, magnitude)) < kInfinityBits};
}

RowSummary Summarise(const float* values, int32_t count, float* block_largest) {
  return block_largest != nullptr ? SummariseRow<true>(values, count, block_largest)
                                  : SummariseRow<false>(values, count, nullptr);
}

int32_t FirstEqual(const float* values, int32_t count, float value) {
  const Floats f;
  const auto wanted = hn::Set(f, value);
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(f));
  int32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const intptr_t found = hn::FindFirstTrue(f, hn::Eq(hn::LoadU(f, values + i), wanted));
    if (found >= 0) return i + static_cast<int32_t>(found);
  }
  for (; i < count; ++i) {
    if (values[i] == value) return i;
  }
  return -1;
}

// Adds the lanes of a float vector to sums in double precision.
#if HWY_TARGET == HWY_SCALAR
using Doubles = hn::ScalableTag<double>;
HWY_INLINE void AddAsDoubles(FloatVector values, hn::Vec<Doubles>& lower, hn::Vec<Doubles>& /*upper*/) {
  lower = hn::Add(lower, hn::PromoteTo(Doubles(), values));
}
#else
using Doubles = hn::Repartition<double, Floats>;
HWY_INLINE void AddAsDoubles(FloatVector values, hn::Vec<Doubles>& lower, hn::Vec<Doubles>& upper) {
  const Doubles d;
  const hn::Half<Floats> half;
  lower = hn::Add(lower, hn::PromoteTo(d, hn::LowerHalf(half, values)));
  upper = hn::Add(upper, hn::PromoteTo(d, hn::UpperHalf(half, values)));
}
#endif

// The sum of a block's exponentials; stores them where store is true.
template <bool store>
double ExponentialsOfBlock(const float* block, float largest, float scale, float* results) {
  const Floats f;
  const Doubles d;
  const auto largests = hn::Set(f, largest);
  const auto scales = hn::Set(f, scale);
  auto lower = hn::Zero(d);
  auto upper = hn::Zero(d);
  for (size_t i = 0; i < kVocabularyBlock; i += hn::Lanes(f)) {
    const auto power = hn::Exp(f, hn::Mul(hn::Sub(hn::LoadU(f, block + i), largests), scales));
    if (store) hn::StoreU(power, f, results + i);
    AddAsDoubles(power, lower, upper);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(lower, upper)));
}

template <bool store>
double ExponentialsOfRow(const float* values, int32_t count, float largest, float scale, float* results,
                         double* block_sums) {
  double total = 0;
  int32_t i = 0;
  for (; i < count; i += kVocabularyBlock) {
    double sum;
    if (i + kVocabularyBlock <= count) {
      sum = ExponentialsOfBlock<store>(values + i, largest, scale, store ? results + i : nullptr);
    } else {
      const PaddedBlock padded(values + i, count - i, -std::numeric_limits<float>::infinity());
      float powers[kVocabularyBlock];
      sum = ExponentialsOfBlock<store>(padded.lanes, largest, scale, powers);
      if (store) std::copy(powers, powers + (count - i), results + i);
    }
    if (block_sums != nullptr) block_sums[i / kVocabularyBlock] = sum;
    total += sum;
  }
  return total;
}

double Exponentials(const float* values, int32_t count, float largest, float scale, float* results,
                    double* block_sums) {
  return results != nullptr ? ExponentialsOfRow<true>(values, count, largest, scale, results, block_sums)
                            : ExponentialsOfRow<false>(values, count, largest, scale, nullptr, block_sums);
}

int32_t GatherAtLeast(const float* values, int32_t count, float least, int32_t* indices, float* gathered) {
  const Floats f;
  const auto bound = hn::Set(f, least);
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(f));
  int32_t found = 0;
  const auto take = [&](int32_t index) {
    indices[found] = index;
    gathered[found] = values[index];
    found += values[index] >= least;
  };
  int32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    if (hn::AllFalse(f, hn::Ge(hn::LoadU(f, values + i), bound))) continue;
    for (int32_t lane = 0; lane < lanes; ++lane) take(i + lane);
  }
  for (; i < count; ++i) {
    if (values[i] >= least) take(i);
  }
  return found;
}

}  // namespace HWY_NAMESPACE
}  // namespace tessera
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera {

HWY_EXPORT(CopyRow);
HWY_EXPORT(Summarise);
HWY_EXPORT(FirstEqual);
HWY_EXPORT(Exponentials);
HWY_EXPORT(GatherAtLeast);

void CopyRow(const float* values, int32_t count, float* copy) {
  HWY_DYNAMIC_DISPATCH(CopyRow)(values, count, copy);
}

RowSummary Summarise(const float* values, int32_t count, float* block_largest) {
  return HWY_DYNAMIC_DISPATCH(Summarise)(values, count, block_largest);
}

int32_t FirstEqual(const float* values, int32_t count, float value) {
  return HWY_DYNAMIC_DISPATCH(FirstEqual)(values, count, value);
}

double Exponentials(const float* values, int32_t count, float largest, float scale, float* results,
                    double* block_sums) {
  return HWY_DYNAMIC_DISPATCH(Exponentials)(values, count, largest, scale, results, block_sums);
}

int32_t GatherAtLeast(const float* values, int32_t count, float least, int32_t* indices, float* gathered) {
  return HWY_DYNAMIC_DISPATCH(GatherAtLeast)(values, count, least, indices, gathered);
}

}  // namespace tessera
#endif  // HWY_ONCE
