// The K formats: blocks of 256 with integer sub-scales. Q4_K: w = (d s) q - (dmin m), s and m of 32 columns;
// Q6_K: w = (d s) (q - 32), s of 16 columns. With Int8 activations the sub-scales are applied in integers: a
// group's sum stays below 2^24, so its conversion to float is exact.
#include "core/cpu/kernels/linear/linear_call.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/linear/linear_kquants.cc"
#include "core/cpu/kernels/linear/targets.h"
#include "hwy/foreach_target.h"
//
#include "core/cpu/kernels/linear/plain.h"
#include "core/cpu/kernels/linear/quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

#if TESSERA_LINEAR_PLAIN
void LinearKQuantsTarget(const LinearCall& call) { LinearPlain(call); }
#else

struct Q4_K {
  static constexpr const QuantLayout& kLayout = kQ4_KLayout;
  static constexpr bool kSignedValues = false;
  struct Header {
    explicit HWY_INLINE Header(const uint8_t* at) : block(at) {}
    const uint8_t* block;
    HWY_INLINE VF d(int p) const { return LoadHalves(block + 2 * kLanes * p); }
    HWY_INLINE VF dmin(int p) const { return LoadHalves(block + 32 + 2 * kLanes * p); }
  };

  template <class Dots, int R>
  static HWY_INLINE void Int8(const Header& header, const uint8_t* HWY_RESTRICT group, Groups<R>& x,
                              VF (&sums)[R][kParts]) {
    typename Dots::Sum dots[R][kParts];
    NibbleDots<Dots, R>(group + 32, x, dots);
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      const auto factor = Dots::MakeFactor(LoadU8(group + kLanes * p));
      const VF minimum = hn::Mul(header.dmin(p), hn::ConvertTo(DF(), LoadU8(group + 16 + kLanes * p)));
      const VF d = header.d(p);
      TESSERA_UNROLL
      for (int r = 0; r < R; ++r) {
        const VF scale = hn::Mul(d, hn::Set(DF(), x[r]->scale));
        sums[r][p] = hn::MulAdd(hn::ConvertTo(DF(), Dots::Scaled(dots[r][p], factor)), scale, sums[r][p]);
        sums[r][p] = hn::NegMulAdd(minimum, hn::Set(DF(), x[r]->scaled_sum), sums[r][p]);
      }
    }
  }

  static HWY_INLINE void Affine(const Header& header, const uint8_t* group, int, int p, VF& scale, VF& offset,
                                VF& shift) {
    scale = hn::Mul(header.d(p), hn::ConvertTo(DF(), LoadU8(group + kLanes * p)));
    offset = hn::Zero(DF());
    shift = hn::Neg(hn::Mul(header.dmin(p), hn::ConvertTo(DF(), LoadU8(group + 16 + kLanes * p))));
  }
  static HWY_INLINE VU8 Values(const uint8_t* group, int quad, int p) {
    return NibbleValues(group + 32, quad, p);
  }
};

struct Q6_K {
  static constexpr const QuantLayout& kLayout = kQ6_KLayout;
  static constexpr bool kSignedValues = false;
  struct Header {
    explicit HWY_INLINE Header(const uint8_t* at) : block(at) {}
    const uint8_t* block;
    HWY_INLINE VF d(int p) const { return LoadHalves(block + 2 * kLanes * p); }
  };

  template <class Dots, int R>
  static HWY_INLINE void Int8(const Header& header, const uint8_t* HWY_RESTRICT group, Groups<R>& x,
                              VF (&sums)[R][kParts]) {
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      Reread<R>(x);
      Part<Dots, R>(header, group, x, p, sums);
    }
  }

  static HWY_INLINE void Affine(const Header& header, const uint8_t* group, int half, int p, VF& scale,
                                VF& offset, VF& shift) {
    scale = hn::Mul(header.d(p), hn::ConvertTo(DF(), LoadI8(group + 16 * half + kLanes * p)));
    offset = hn::Set(DF(), 32.0f);
    shift = hn::Zero(DF());
  }
  static HWY_INLINE VU8 Values(const uint8_t* group, int quad, int p) {
    const auto pairs =
        hn::BitCast(DU16(), LoadBytes(group + 32 + 256 + 64 * ((quad % 4) / 2) + p * kPartBytes));
    const int at = quad / 4 * 4 + quad % 2 * 2;  // where the pair begins in its byte; it goes to bits 5:4
    const auto moved = at == 0   ? hn::ShiftLeft<4>(pairs)
                       : at == 2 ? hn::ShiftLeft<2>(pairs)
                       : at == 4 ? pairs
                                 : hn::ShiftRight<2>(pairs);
    const VU8 high = hn::And(hn::BitCast(DU8(), moved), hn::Set(DU8(), 0x30));
    return hn::Or(NibbleValues(group + 32, quad, p), high);
  }

 private:
  // One part of the outputs at a time: its decoded weights and sums fit into 16 registers.
  template <class Dots, int R>
  static HWY_INLINE void Part(const Header& header, const uint8_t* HWY_RESTRICT group, Groups<R>& x, int p,
                              VF (&sums)[R][kParts]) {
    const VI32 first = LoadI8(group + kLanes * p), second = LoadI8(group + 16 + kLanes * p);
    // Both in one lane, as the halves' sums are: one product of pairs takes off 32 times the activations'
    // sums.
    const VI16 both =
        hn::BitCast(DI16(), hn::Or(hn::And(first, hn::Set(DI32(), 0xffff)), hn::ShiftLeft<16>(second)));
    VI32 dots[R];
    TESSERA_UNROLL
    for (int r = 0; r < R; ++r) {
      const VI16 half_sums = hn::BitCast(DI16(), hn::Set(DI32(), LoadAs<int32_t>(x[r]->half_sums)));
      dots[r] = Settled(hn::Neg(hn::ShiftLeft<5>(MulPairs(both, half_sums))));
    }
    TESSERA_UNROLL
    for (int half = 0; half < 2; ++half) {
      const typename Dots::Factor factor = Dots::MakeFactor(half == 0 ? first : second);
      TESSERA_UNROLL
      for (int q = 4 * half; q < 4 * half + 4; q += 2) {
        const VU8 w0 = Settled(Values(group, q, p)), w1 = Settled(Values(group, q + 1, p));
        TESSERA_UNROLL
        for (int r = 0; r < R; ++r) {
          const VI8 x0 = BroadcastQuad(x[r]->values + 4 * q), x1 = BroadcastQuad(x[r]->values + 4 * q + 4);
          const typename Dots::Sum sum = Dots::Add(Dots::First(w0, x0), w1, x1);
          dots[r] = Settled(hn::Add(dots[r], Dots::Scaled(sum, factor)));
        }
      }
    }
    const VF d = header.d(p);
    TESSERA_UNROLL
    for (int r = 0; r < R; ++r) {
      sums[r][p] =
          hn::MulAdd(hn::ConvertTo(DF(), dots[r]), hn::Mul(d, hn::Set(DF(), x[r]->scale)), sums[r][p]);
    }
  }
};

void LinearKQuantsTarget(const LinearCall& call) {
  if (call.type == TensorType::kQ4_K) {
    RunType<Q4_K>(call);
  } else {
    RunType<Q6_K>(call);
  }
}

#endif  // TESSERA_LINEAR_PLAIN

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
HWY_EXPORT(LinearKQuantsTarget);
void LinearKQuants(const LinearCall& call) { HWY_DYNAMIC_DISPATCH(LinearKQuantsTarget)(call); }
}  // namespace tessera::cpu
#endif
