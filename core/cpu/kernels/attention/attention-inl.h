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
  const float* const key0 = keys[0];
  const float* const key1 = keys[1];
  const float* const key2 = keys[2];
  const float* const key3 = keys[3];
  for (int32_t i = 0; i < width; i += lanes) {
    const auto k0 = hn::LoadU(d, key0 + i);
    const auto k1 = hn::LoadU(d, key1 + i);
    const auto k2 = hn::LoadU(d, key2 + i);
    const auto k3 = hn::LoadU(d, key3 + i);
    for (int q = 0; q < kQueries; ++q) {
      const auto x = hn::Load(d, query + q * query_stride + i);
      sums[q][0] = hn::MulAdd(x, k0, sums[q][0]);
      sums[q][1] = hn::MulAdd(x, k1, sums[q][1]);
      sums[q][2] = hn::MulAdd(x, k2, sums[q][2]);
      sums[q][3] = hn::MulAdd(x, k3, sums[q][3]);
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

template <int kVectors>
HWY_INLINE void AddWeighted(float weight, const float* row, FloatVector* sums) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto w = hn::Set(d, weight);
  for (int v = 0; v < kVectors; ++v) {
    sums[v] = hn::MulAdd(w, hn::LoadU(d, row + v * static_cast<int64_t>(hn::Lanes(d))), sums[v]);
  }
}

// out = sum over the span of weights[j] * values[j], kVectors vectors at `offset` of one query.
template <int kVectors>
HWY_INLINE void WeighOne(const float* weights, Span span, const float* const* values, int64_t offset,
                         float* out) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
  for (int32_t j = span.begin; j < span.end; ++j) AddWeighted<kVectors>(weights[j], values[j] + offset, sums);
  for (int v = 0; v < kVectors; ++v)
    hn::Store(sums[v], d, out + offset + v * static_cast<int64_t>(hn::Lanes(d)));
}

// Two queries whose spans overlap: the positions that both see are read once. Each query's own order is that
// of WeighOne.
template <int kVectors>
HWY_INLINE void WeighTwo(const float* weights, const Span* spans, const float* const* values, int64_t offset,
                         float* out0, float* out1) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const float* const weights0 = weights;
  const float* const weights1 = weights + kAttentionChunk;
  const Span both{std::max(spans[0].begin, spans[1].begin), std::min(spans[0].end, spans[1].end)};
  FloatVector sums0[kVectors];
  FloatVector sums1[kVectors];
  for (int v = 0; v < kVectors; ++v) sums0[v] = sums1[v] = hn::Zero(d);
  for (int32_t j = spans[0].begin; j < both.begin; ++j) {
    AddWeighted<kVectors>(weights0[j], values[j] + offset, sums0);
  }
  for (int32_t j = spans[1].begin; j < both.begin; ++j) {
    AddWeighted<kVectors>(weights1[j], values[j] + offset, sums1);
  }
  for (int32_t j = both.begin; j < both.end; ++j) {
    const float* const row = values[j] + offset;
    const auto w0 = hn::Set(d, weights0[j]);
    const auto w1 = hn::Set(d, weights1[j]);
    for (int v = 0; v < kVectors; ++v) {
      const auto value = hn::LoadU(d, row + v * static_cast<int64_t>(hn::Lanes(d)));
      sums0[v] = hn::MulAdd(w0, value, sums0[v]);
      sums1[v] = hn::MulAdd(w1, value, sums1[v]);
    }
  }
  for (int32_t j = both.end; j < spans[0].end; ++j)
    AddWeighted<kVectors>(weights0[j], values[j] + offset, sums0);
  for (int32_t j = both.end; j < spans[1].end; ++j)
    AddWeighted<kVectors>(weights1[j], values[j] + offset, sums1);
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = offset + v * static_cast<int64_t>(hn::Lanes(d));
    hn::Store(sums0[v], d, out0 + at);
    hn::Store(sums1[v], d, out1 + at);
  }
}

// One or two queries over all `width` elements.
HWY_INLINE void WeighValues(int32_t queries, const float* weights, const Span* spans,
                            const float* const* values, int32_t width, float* out0, float* out1) {
  const auto lanes = static_cast<int32_t>(hwy::HWY_NAMESPACE::Lanes(Floats()));
  const bool together =
      queries == 2 && std::max(spans[0].begin, spans[1].begin) < std::min(spans[0].end, spans[1].end);
  int32_t offset = 0;
  if (together) {
    for (; offset + 4 * lanes <= width; offset += 4 * lanes) {
      WeighTwo<4>(weights, spans, values, offset, out0, out1);
    }
    for (; offset < width; offset += lanes) WeighTwo<1>(weights, spans, values, offset, out0, out1);
    return;
  }
  for (int32_t q = 0; q < queries; ++q) {
    const float* const own = weights + q * kAttentionChunk;
    float* const out = q == 0 ? out0 : out1;
    for (offset = 0; offset + 4 * lanes <= width; offset += 4 * lanes) {
      WeighOne<4>(own, spans[q], values, offset, out);
    }
    for (; offset < width; offset += lanes) WeighOne<1>(own, spans[q], values, offset, out);
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
