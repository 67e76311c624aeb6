// e^x on a vector, for the operators that need it (softmax, SiLU). Included once per Highway target.
//
// Range reduction x = k ln2 + r with |r| <= ln2 / 2, ln2 in two parts (Cody and Waite), then a degree-6
// polynomial whose own relative error is 3.1e-9 (fitted by iteratively reweighted least squares). The result
// is within 2 ulp of e^x for x in [-87.3, 88.3]. Below it is 0, above it stays at e^88.3; NaN stays NaN; e^0
// is exactly 1.
#if defined(TESSERA_CORE_CPU_KERNELS_EXP_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CORE_CPU_KERNELS_EXP_EXP_INL_H_
#undef TESSERA_CORE_CPU_KERNELS_EXP_EXP_INL_H_
#else
#define TESSERA_CORE_CPU_KERNELS_EXP_EXP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V ExpVector(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  constexpr float kLowest = -87.3f;  // e^x is still normal here
  constexpr float kHighest = 88.3f;  // k stays below 128 here
  // Added and taken away again, it rounds to a whole number, which then stands in the sum's low bits.
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  const V bounded = hn::Min(hn::Set(d, kHighest), x);
  const V shifted = hn::MulAdd(bounded, hn::Set(d, 1.44269502f), hn::Set(d, kRounder));
  const V k = hn::Sub(shifted, hn::Set(d, kRounder));
  V r = hn::NegMulAdd(k, hn::Set(d, 0.693359375f), bounded);
  r = hn::NegMulAdd(k, hn::Set(d, -2.12194440e-4f), r);

  V p = hn::Set(d, 0.001381459878757596f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.008368716575205326f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166838899254799f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.1666652113199234f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.4999999403953552f));
  p = hn::MulAdd(p, hn::Mul(r, r), r);
  p = hn::Add(p, hn::Set(d, 1.0f));

  // p is within [0.7, 1.5]: adding k to its exponent multiplies by 2^k. Below the range this is nonsense, and
  // dropped.
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const V y = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  const V in_range = hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, kLowest)), y);
  // Min drops a NaN on some processors and keeps it on others; here it always survives.
  return hn::IfThenElse(hn::IsNaN(x), x, in_range);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TESSERA_CORE_CPU_KERNELS_EXP_EXP_INL_H_
