// The cache's types as vectors of float, for the operators that read and write the cache. Included once per
// target.
#if defined(TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_INL_H_
#undef TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_INL_H_
#else
#define TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/cpu/kernels/cache_rows/cache_rows_reference.h"
#include "core/cpu/kernels/tail-inl.h"

// Where x86 has no F16C, Highway's emulation cuts instead of rounding and knows no infinity: ours does it
// there.
#undef TESSERA_VECTOR_HALF
#if HWY_ARCH_X86 && (HWY_TARGET >= HWY_SSE4 || defined(HWY_DISABLE_F16C))
#define TESSERA_VECTOR_HALF 0
#else
#define TESSERA_VECTOR_HALF 1
#endif

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

template <class D, class V16>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> HalvesToFloats(D d, V16 halves) {
  namespace hn = hwy::HWY_NAMESPACE;
#if TESSERA_VECTOR_HALF
  return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), halves));
#else
  // As HalfToFloat: the magnitude read as float bits is 2^112 too small, infinity and NaN get their own
  // exponent.
  const hn::Rebind<uint32_t, D> du32;
  const auto bits = hn::PromoteTo(du32, halves);
  const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(du32, 0x7FFF)));
  const auto finite = hn::BitCast(du32, hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f)));
  const auto exponent = hn::Set(du32, 0x1Fu << 23);
  const auto special = hn::Eq(hn::And(magnitude, exponent), exponent);
  const auto value = hn::IfThenElse(special, hn::Or(magnitude, hn::Set(du32, 0x7F800000)), finite);
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(du32, 0x8000)));
  return hn::BitCast(d, hn::Or(value, sign));
#endif
}

// Elements of a group as floats, without their scale.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> Int8ToFloats(D d, const int8_t* values) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<int8_t, D> di8;
  const hn::Rebind<int32_t, D> di32;
  return hn::ConvertTo(d, hn::PromoteTo(di32, hn::LoadU(di8, values)));
}

inline void LoadInt8Row(const void* row, int32_t count, float* x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const hn::Rebind<uint16_t, Floats> du16;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto* const values = static_cast<const int8_t*>(row);
  const uint16_t* const scales = Int8Scales(row, count);
  for (int32_t first = 0; first < count; first += kCacheGroup) {
    const int32_t end = std::min(count, first + kCacheGroup);
    const auto scale = HalvesToFloats(d, hn::Set(du16, scales[first / kCacheGroup]));
    int32_t i = first;
    for (; i + lanes <= end; i += lanes) hn::StoreU(hn::Mul(Int8ToFloats(d, values + i), scale), d, x + i);
    for (; i < end; ++i) x[i] = static_cast<float>(values[i]) * hn::GetLane(scale);
  }
}

// One group of `count` elements; returns its scale.
inline uint16_t StoreInt8Group(const float* x, int32_t count, int8_t* values) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const hn::Rebind<int8_t, Floats> di8;
  const hn::Rebind<int32_t, Floats> di32;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const int32_t whole = count / lanes * lanes;
  auto most = hn::Zero(d);
  auto fault = hn::Zero(d);  // x - x: NaN where x is NaN or infinite
  for (int32_t i = 0; i < whole; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    most = hn::Max(most, hn::Abs(v));
    fault = hn::Add(fault, hn::Sub(v, v));
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  bool finite = hn::AllFalse(d, hn::IsNaN(fault));
  for (int32_t i = whole; i < count; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    finite &= std::isfinite(x[i]);
  }
  const uint16_t scale = finite ? Int8Scale(largest) : kInt8NotANumber;
  if (!Int8ScaleIsFinite(scale)) {
    std::fill(values, values + count, int8_t{0});
    return kInt8NotANumber;
  }
  const float inverse = Int8Inverse(scale);
  const auto wide = hn::Set(d, inverse);
  const auto limit = hn::Set(di32, static_cast<int32_t>(kLargestInt8));
  for (int32_t i = 0; i < whole; i += lanes) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), wide));
    const auto kept = hn::Max(hn::Min(rounded, limit), hn::Neg(limit));
    hn::StoreU(hn::DemoteTo(di8, kept), di8, values + i);
  }
  for (int32_t i = whole; i < count; ++i) values[i] = FloatToInt8(x[i], inverse);
  return scale;
}

inline void LoadRow(CacheType type, const void* row, int32_t count, float* x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  int32_t i = 0;
  if (type == CacheType::kF32) {
    std::memcpy(x, row, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  if (type == CacheType::kInt8) {
    LoadInt8Row(row, count, x);
    return;
  }
  const auto* const values = static_cast<const uint16_t*>(row);
  if (type == CacheType::kF16) {
    const hn::Rebind<uint16_t, Floats> du16;
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(HalvesToFloats(d, hn::LoadU(du16, values + i)), d, x + i);
    }
    for (; i < count; ++i) x[i] = HalfToFloat(values[i]);
    return;
  }
  const hn::Rebind<uint16_t, Floats> du16;
  const hn::Rebind<uint32_t, Floats> du32;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, values + i)))), d, x + i);
  }
  for (; i < count; ++i) x[i] = BFloatToFloat(values[i]);
}

inline void StoreRow(CacheType type, const float* x, int32_t count, void* row) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  int32_t i = 0;
  if (type == CacheType::kF32) {
    std::memcpy(row, x, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  if (type == CacheType::kInt8) {
    for (int32_t first = 0; first < count; first += kCacheGroup) {
      Int8Scales(row, count)[first / kCacheGroup] =
          StoreInt8Group(x + first, std::min(kCacheGroup, count - first), static_cast<int8_t*>(row) + first);
    }
    return;
  }
  auto* const values = static_cast<uint16_t*>(row);
  if (type == CacheType::kF16) {
#if TESSERA_VECTOR_HALF
    const hn::Rebind<hwy::float16_t, Floats> d16;
    const hn::Rebind<uint16_t, Floats> du16;
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(hn::BitCast(du16, hn::DemoteTo(d16, hn::LoadU(d, x + i))), du16, values + i);
    }
#endif
    for (; i < count; ++i) values[i] = FloatToHalf(x[i]);
    return;
  }
  const hn::Rebind<uint16_t, Floats> du16;
  const hn::Rebind<uint32_t, Floats> du32;
  const hn::Rebind<int32_t, Floats> di32;
  for (; i + lanes <= count; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    const auto bits = hn::BitCast(du32, v);
    const auto top = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(top, hn::Set(du32, 1));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du32, 0x7FFF))));
    const auto quiet = hn::Or(top, hn::Set(du32, 0x40));
    const auto chosen = hn::IfThenElse(hn::RebindMask(du32, hn::IsNaN(v)), quiet, rounded);
    hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di32, chosen)), du16, values + i);
  }
  for (; i < count; ++i) values[i] = FloatToBFloat(x[i]);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_INL_H_
