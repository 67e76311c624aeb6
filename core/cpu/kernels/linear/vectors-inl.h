// The vectors of one target: a tile's 16 outputs lie in kParts vectors of kLanes. Everything above this file
// is written once for all targets; intrinsics stand only here.
#if defined(TESSERA_CPU_LINEAR_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CPU_LINEAR_VECTORS_INL_H_
#undef TESSERA_CPU_LINEAR_VECTORS_INL_H_
#else
#define TESSERA_CPU_LINEAR_VECTORS_INL_H_
#endif

#include <cstring>

#include "core/cpu/kernels/linear/half.h"
#include "core/cpu/kernels/linear/layout.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

// The baseline of processors older than SSE4 runs plain loops instead (plain.h).
#undef TESSERA_LINEAR_PLAIN
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
#define TESSERA_LINEAR_PLAIN 1
#else
#define TESSERA_LINEAR_PLAIN 0
#endif

#ifndef TESSERA_UNROLL
#if defined(__clang__)
#define TESSERA_UNROLL _Pragma("unroll")
#else
#define TESSERA_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

#if !TESSERA_LINEAR_PLAIN
HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kLanes = HWY_TARGET == HWY_AVX3 ? 16 : HWY_TARGET == HWY_AVX2 ? 8 : 4;
constexpr int kParts = static_cast<int>(kPackRows) / kLanes;
constexpr int kPartBytes = 4 * kLanes;  // of a vector of 64 bytes in the layout

using DF = hn::FixedTag<float, kLanes>;
using DI32 = hn::FixedTag<int32_t, kLanes>;
using DU32 = hn::FixedTag<uint32_t, kLanes>;
using DI16 = hn::FixedTag<int16_t, 2 * kLanes>;
using DU16 = hn::FixedTag<uint16_t, 2 * kLanes>;
using DI8 = hn::FixedTag<int8_t, 4 * kLanes>;
using DU8 = hn::FixedTag<uint8_t, 4 * kLanes>;
using VF = hn::Vec<DF>;
using VI32 = hn::Vec<DI32>;
using VU32 = hn::Vec<DU32>;
using VI16 = hn::Vec<DI16>;
using VI8 = hn::Vec<DI8>;
using VU8 = hn::Vec<DU8>;

HWY_INLINE VU8 LoadBytes(const uint8_t* from) { return hn::LoadU(DU8(), from); }
HWY_INLINE VU8 LowNibbles(VU8 v) { return hn::And(v, hn::Set(DU8(), 15)); }
HWY_INLINE VU8 HighNibbles(VU8 v) {
  return LowNibbles(hn::BitCast(DU8(), hn::ShiftRight<4>(hn::BitCast(DU16(), v))));
}

// The same 4 activations for every output.
HWY_INLINE VI8 BroadcastQuad(const int8_t* x) {
  return hn::BitCast(DI8(), hn::Set(DI32(), LoadAs<int32_t>(x)));
}

HWY_INLINE VF LoadHalves(const uint8_t* from) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  const hn::Rebind<hwy::float16_t, DF> d16;
  return hn::PromoteTo(DF(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
#else
  const hn::Rebind<uint16_t, DF> d16;
  const VU32 bits = hn::PromoteTo(DU32(), hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from)));
  const VU32 magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(DU32(), 0x7fff)));
  const VU32 sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(DU32(), 0x8000)));
  const VF finite = hn::Mul(hn::BitCast(DF(), magnitude), hn::Set(DF(), 0x1p112f));
  const VF special = hn::BitCast(DF(), hn::Or(magnitude, hn::Set(DU32(), 0x7f800000u)));
  const auto is_special = hn::Gt(hn::BitCast(DI32(), magnitude), hn::Set(DI32(), (0x7c00 << 13) - 1));
  return hn::Or(hn::IfThenElse(hn::RebindMask(DF(), is_special), special, finite), hn::BitCast(DF(), sign));
#endif
}

HWY_INLINE VF LoadBFloats(const uint8_t* from) {
  const hn::Rebind<uint16_t, DF> d16;
  const VU32 bits = hn::PromoteTo(DU32(), hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from)));
  return hn::BitCast(DF(), hn::ShiftLeft<16>(bits));
}

HWY_INLINE VI32 LoadU8(const uint8_t* from) {
  return hn::PromoteTo(DI32(), hn::LoadU(hn::Rebind<uint8_t, DF>(), from));
}
HWY_INLINE VI32 LoadI8(const uint8_t* from) {
  return hn::PromoteTo(DI32(), hn::LoadU(hn::Rebind<int8_t, DF>(), reinterpret_cast<const int8_t*>(from)));
}

// Compilers regroup long integer sums and then run out of registers: this ends a sum where it stands.
template <class V>
HWY_INLINE V Settled(V v) {
#if HWY_TARGET == HWY_AVX3
  __asm__("" : "+v"(v.raw));
#elif HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4
  __asm__("" : "+x"(v.raw));
#endif
  return v;
}

// sum += a b, rounded once. As assembly because compilers move a dozen running sums between registers.
HWY_INLINE void Accumulate(VF& sum, VF a, VF b) {
#if HWY_TARGET == HWY_AVX3
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#elif HWY_TARGET == HWY_AVX2
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum.raw) : "x"(a.raw), "x"(b.raw));
#else
  sum = hn::MulAdd(a, b, sum);
#endif
}

// w[2i] x[2i] + w[2i+1] x[2i+1]; callers keep the sum within int16.
HWY_INLINE VI16 MulPairs(VU8 w, VI8 x) {
#if HWY_TARGET == HWY_AVX3
  return VI16{_mm512_maddubs_epi16(w.raw, x.raw)};
#elif HWY_TARGET == HWY_AVX2
  return VI16{_mm256_maddubs_epi16(w.raw, x.raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI16{_mm_maddubs_epi16(w.raw, x.raw)};
#else
  const VI16 w16 = hn::BitCast(DI16(), w), x16 = hn::BitCast(DI16(), x);
  const VI16 even = hn::Mul(hn::And(w16, hn::Set(DI16(), 255)), hn::ShiftRight<8>(hn::ShiftLeft<8>(x16)));
  const VI16 w_odd = hn::BitCast(DI16(), hn::ShiftRight<8>(hn::BitCast(DU16(), w)));
  return hn::Add(even, hn::Mul(w_odd, hn::ShiftRight<8>(x16)));
#endif
}

// a[2i] b[2i] + a[2i+1] b[2i+1], exact.
HWY_INLINE VI32 MulPairs(VI16 a, VI16 b) {
#if HWY_TARGET == HWY_AVX3
  return VI32{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return VI32{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI32{_mm_madd_epi16(a.raw, b.raw)};
#else
  const VI32 a32 = hn::BitCast(DI32(), a), b32 = hn::BitCast(DI32(), b);
  const VI32 even =
      hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a32)), hn::ShiftRight<16>(hn::ShiftLeft<16>(b32)));
  return hn::Add(even, hn::Mul(hn::ShiftRight<16>(a32), hn::ShiftRight<16>(b32)));
#endif
}

HWY_INLINE VI32 SumPairs(VI16 a) { return MulPairs(a, hn::Set(DI16(), 1)); }

// |w| and x with w's sign: their products are w x, also for w = -128. x is not -128.
HWY_INLINE VU8 Magnitude(VI8 w) { return hn::BitCast(DU8(), hn::Abs(w)); }
HWY_INLINE VI8 WithSign(VI8 x, VI8 w) {
#if HWY_TARGET == HWY_AVX3
  return VI8{_mm512_mask_sub_epi8(x.raw, _mm512_movepi8_mask(w.raw), _mm512_setzero_si512(), x.raw)};
#elif HWY_TARGET == HWY_AVX2
  return VI8{_mm256_sign_epi8(x.raw, w.raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI8{_mm_sign_epi8(x.raw, w.raw)};
#else
  const VI8 negative = hn::VecFromMask(DI8(), hn::Lt(w, hn::Zero(DI8())));
  return hn::Sub(hn::Xor(x, negative), negative);
#endif
}

// Two ways to the same integers. Both take unsigned weights w and signed activations x.

// By pairs in int16: at most 8 products of 4-bit weights, or 2 of 6-bit weights, before they are widened.
struct PairDots {
  static constexpr bool kWide = false;
  using Sum = VI16;  // partial sums: 2 for each output
  static HWY_INLINE Sum First(VU8 w, VI8 x) { return MulPairs(w, x); }
  static HWY_INLINE Sum Add(Sum sum, VU8 w, VI8 x) { return Settled(hn::Add(sum, MulPairs(w, x))); }
  static HWY_INLINE VI32 Total(Sum sum) { return SumPairs(sum); }
  // Integer factors of each output, for Scaled.
  using Factor = VI16;
  static HWY_INLINE Factor MakeFactor(VI32 v) {
    const VI32 low = hn::And(v, hn::Set(DI32(), 0xffff));
    return hn::BitCast(DI16(), hn::Or(low, hn::ShiftLeft<16>(v)));
  }
  static HWY_INLINE VI32 Scaled(Sum sum, Factor factor) { return MulPairs(sum, factor); }
};

#if HWY_TARGET == HWY_AVX3
// By AVX-512 VNNI. Written as assembly since no compiler target of Highway's has just these instructions.
struct WideDots {
  static constexpr bool kWide = true;
  using Sum = VI32;
  static HWY_INLINE Sum Add(Sum sum, VU8 w, VI8 x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
    return sum;
  }
  static HWY_INLINE Sum First(VU8 w, VI8 x) { return Add(hn::Zero(DI32()), w, x); }
  static HWY_INLINE VI32 Total(Sum sum) { return sum; }
  using Factor = VI32;
  static HWY_INLINE Factor MakeFactor(VI32 v) { return v; }
  static HWY_INLINE VI32 Scaled(Sum sum, Factor factor) { return hn::Mul(sum, factor); }
};
#endif

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();
#endif  // !TESSERA_LINEAR_PLAIN

#endif  // TESSERA_CPU_LINEAR_VECTORS_INL_H_
