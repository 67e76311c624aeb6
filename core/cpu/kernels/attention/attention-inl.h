// The vector loops of attention: scores of four keys at once, softmax of a chunk, weighted sum of values, and
// the merge of partial results. Rows are `width` elements long, a whole number of vectors (padded with zeros
// where the head is not). Included once per target.
#if defined(TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_INL_H_
#undef TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_INL_H_
#else
#define TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/cpu/kernels/attention/attention.h"
#include "core/cpu/kernels/exp/exp-inl.h"
#include "core/cpu/kernels/tail-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

using FloatVector = hwy::HWY_NAMESPACE::Vec<Floats>;

// What a query sees of a chunk: positions [begin, end) counted from the chunk's first.
struct Span {
  int32_t begin = 0;
  int32_t end = 0;
};

// A query's partial result: context [padded head size], then the largest score and the sum of exponentials.
struct Partial {
  float* context = nullptr;
  float* largest = nullptr;
  float* sum = nullptr;
};

#if HWY_TARGET != HWY_SCALAR  // which has one lane, and neither halves nor interleaving
// Sums within 128-bit blocks are done; adds the blocks, halves first.
template <class D, class V>
HWY_INLINE auto AddBlocks(D d, V v) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(D()) <= 4) {
    (void)d;
    return v;
  } else {
    const hn::Half<D> half;
    return AddBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

#endif

// out[i] = the sum of vector i's lanes, for four vectors; each in an order that the other three do not
// change.
HWY_INLINE void StoreSums(Floats d, FloatVector a, FloatVector b, FloatVector c, FloatVector e, float* out) {
  namespace hn = hwy::HWY_NAMESPACE;
#if HWY_TARGET == HWY_SCALAR
  out[0] = hn::GetLane(a);
  out[1] = hn::GetLane(b);
  out[2] = hn::GetLane(c);
  out[3] = hn::GetLane(e);
  (void)d;
#else
  const hn::Repartition<uint64_t, Floats> pairs;
  const auto ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const auto ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto low = hn::InterleaveLower(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce));
  const auto high = hn::InterleaveUpper(pairs, hn::BitCast(pairs, ab), hn::BitCast(pairs, ce));
  const hn::CappedTag<float, 4> four;
  hn::StoreU(AddBlocks(d, hn::Add(hn::BitCast(d, low), hn::BitCast(d, high))), four, out);
#endif
}

// Queries that are taken together: with four keys or four vectors of values they fill the 16 registers of
// AVX2.
inline constexpr int kMostQueries = 3;

// Keeps a loaded vector in its register; compilers else load it again for each of its uses.
HWY_INLINE FloatVector Pinned(FloatVector v) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  asm("" : "+v"(v.raw));
#endif
  return v;
}

// scores[q][0..4) = query q . key 0..3, for kQueries queries; their rows lie query_stride and kAttentionChunk
// apart.
template <int kQueries>
HWY_INLINE void ScoreFourKeys(const float* query, int64_t query_stride, const float* const* keys,
                              int32_t width, float* scores) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  FloatVector sums[kQueries][4];
  for (int q = 0; q < kQueries; ++q) {
    for (int k = 0; k < 4; ++k) sums[q][k] = hn::Zero(d);
  }
  const float* const rows[4] = {keys[0], keys[1], keys[2], keys[3]};
  for (int32_t i = 0; i < width; i += lanes) {
    FloatVector x[kQueries];
    for (int q = 0; q < kQueries; ++q) x[q] = Pinned(hn::Load(d, query + q * query_stride + i));
    for (int k = 0; k < 4; ++k) {
      const FloatVector key = kQueries == 1 ? hn::LoadU(d, rows[k] + i) : Pinned(hn::LoadU(d, rows[k] + i));
      for (int q = 0; q < kQueries; ++q) sums[q][k] = hn::MulAdd(x[q], key, sums[q][k]);
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    StoreSums(d, sums[q][0], sums[q][1], sums[q][2], sums[q][3], scores + q * kAttentionChunk);
  }
}

// Turns the scores of a span into e^(score - largest). Vectors start at multiples of the lanes from the
// chunk's first position and hidden lanes add exact zeros, so the order of the sum is fixed by the positions.
HWY_INLINE void ChunkSoftmax(float* scores, Span span, float* largest_out, float* sum_out) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const float hidden = -std::numeric_limits<float>::infinity();
  const int32_t first = span.begin / lanes * lanes;
  const int32_t end = (span.end + lanes - 1) / lanes * lanes;
  for (int32_t i = first; i < span.begin; ++i) scores[i] = hidden;
  for (int32_t i = span.end; i < end; ++i) scores[i] = hidden;
  auto most = hn::Set(d, hidden);
  for (int32_t i = first; i < end; i += lanes) most = hn::Max(most, hn::Load(d, scores + i));
  const auto largest = hn::MaxOfLanes(d, most);
  auto sum = hn::Zero(d);
  for (int32_t i = first; i < end; i += lanes) {
    const auto weight = ExpVector(d, hn::Sub(hn::Load(d, scores + i), largest));
    hn::Store(weight, d, scores + i);
    sum = hn::Add(sum, weight);
  }
  *largest_out = hn::GetLane(largest);
  *sum_out = hn::GetLane(hn::SumOfLanes(d, sum));
}

// sums += weights of kQueries queries * kVectors vectors of one row of values.
template <int kQueries, int kVectors>
HWY_INLINE void AddWeighted(const float* weights, const float* row, FloatVector (*sums)[kVectors]) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector weight[kQueries];
  for (int q = 0; q < kQueries; ++q) weight[q] = Pinned(hn::Set(d, weights[q * kAttentionChunk]));
  for (int v = 0; v < kVectors; ++v) {
    const FloatVector loaded = hn::LoadU(d, row + v * static_cast<int64_t>(hn::Lanes(d)));
    const FloatVector value = kQueries == 1 ? loaded : Pinned(loaded);
    for (int q = 0; q < kQueries; ++q) sums[q][v] = hn::MulAdd(weight[q], value, sums[q][v]);
  }
}

// out[q] = sum over span q of weights[q][j] * values[j], kVectors vectors at `offset`. Positions that all
// queries see, `common`, are read once for all; a query's own order is that of its positions in any case.
template <int kQueries, int kVectors>
HWY_INLINE void WeighVectors(const float* weights, const Span* spans, Span common, const float* const* values,
                             int64_t offset, const Partial* out) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector sums[kQueries][kVectors];
  for (int q = 0; q < kQueries; ++q) {
    for (int v = 0; v < kVectors; ++v) sums[q][v] = hn::Zero(d);
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int32_t j = spans[q].begin; j < common.begin; ++j) {
      AddWeighted<1, kVectors>(weights + q * kAttentionChunk + j, values[j] + offset, sums + q);
    }
  }
  for (int32_t j = common.begin; j < common.end; ++j) {
    AddWeighted<kQueries, kVectors>(weights + j, values[j] + offset, sums);
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int32_t j = common.end; j < spans[q].end; ++j) {
      AddWeighted<1, kVectors>(weights + q * kAttentionChunk + j, values[j] + offset, sums + q);
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(sums[q][v], d, out[q].context + offset + v * static_cast<int64_t>(hn::Lanes(d)));
    }
  }
}

// All `width` elements of kQueries queries whose spans overlap.
template <int kQueries>
HWY_INLINE void WeighValues(const float* weights, const Span* spans, const float* const* values,
                            int32_t width, const Partial* out) {
  const auto lanes = static_cast<int32_t>(hwy::HWY_NAMESPACE::Lanes(Floats()));
  Span common = spans[0];
  for (int q = 1; q < kQueries; ++q) {
    common.begin = std::max(common.begin, spans[q].begin);
    common.end = std::min(common.end, spans[q].end);
  }
  int32_t offset = 0;
  for (; offset + 4 * lanes <= width; offset += 4 * lanes) {
    WeighVectors<kQueries, 4>(weights, spans, common, values, offset, out);
  }
  for (; offset < width; offset += lanes) {
    WeighVectors<kQueries, 1>(weights, spans, common, values, offset, out);
  }
}

// total = total (+) part. A total that holds nothing yet has largest = -infinity, sum and context 0.
HWY_INLINE void MergePartial(const Partial& part, int32_t width, const Partial& total) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto old_largest = hn::Set(d, *total.largest);
  const auto part_largest = hn::Set(d, *part.largest);
  const auto largest = hn::Max(old_largest, part_largest);
  const auto keep = ExpVector(d, hn::Sub(old_largest, largest));
  const auto take = ExpVector(d, hn::Sub(part_largest, largest));
  *total.largest = hn::GetLane(largest);
  *total.sum = *total.sum * hn::GetLane(keep) + *part.sum * hn::GetLane(take);
  for (int32_t i = 0; i < width; i += static_cast<int32_t>(hn::Lanes(d))) {
    const auto kept = hn::Mul(hn::Load(d, total.context + i), keep);
    hn::Store(hn::MulAdd(hn::Load(d, part.context + i), take, kept), d, total.context + i);
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_INL_H_
