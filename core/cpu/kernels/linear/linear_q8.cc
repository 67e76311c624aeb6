// Q8_0: signed weights of 8 bits in blocks of 32, w = d q.
#include "core/cpu/kernels/linear/linear_call.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/linear/linear_q8.cc"
#include "core/cpu/kernels/linear/targets.h"
#include "hwy/foreach_target.h"
//
#include "core/cpu/kernels/linear/plain.h"
#include "core/cpu/kernels/linear/quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

#if TESSERA_LINEAR_PLAIN
void LinearQ8Target(const LinearCall& call) { LinearPlain(call); }
#else

struct Q8_0 {
  static constexpr const QuantLayout& kLayout = kQ8_0Layout;
  static constexpr bool kSignedValues = true;
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
      VI32 dots[R];
      Reread<R>(x);
      GroupDots<Dots, R>(group + p * kPartBytes, x, dots);
      const VF d = header.d(p);
      TESSERA_UNROLL
      for (int r = 0; r < R; ++r) {
        sums[r][p] =
            hn::MulAdd(hn::ConvertTo(DF(), dots[r]), hn::Mul(d, hn::Set(DF(), x[r]->scale)), sums[r][p]);
      }
    }
  }

  static HWY_INLINE void Affine(const Header& header, const uint8_t*, int, int p, VF& scale, VF& offset,
                                VF& shift) {
    scale = header.d(p);
    offset = shift = hn::Zero(DF());
  }
  static HWY_INLINE VU8 Values(const uint8_t* group, int quad, int p) {
    return LoadBytes(group + 64 * quad + p * kPartBytes);
  }

 private:
  // dots [R]: the group's integer products, for the part of the outputs whose bytes begin at `group`.
  template <class Dots, int R>
  static HWY_INLINE void GroupDots(const uint8_t* HWY_RESTRICT group, Groups<R>& x, VI32 (&dots)[R]) {
    TESSERA_UNROLL
    for (int q = 0; q < 8; ++q) {
      const VI8 w = hn::BitCast(DI8(), LoadBytes(group + 64 * q));
      // w + 128 where the instruction sums in 32 bits; else |w|, whose pairs fit into 16.
      const VU8 unsigned_w =
          Settled(Dots::kWide ? hn::BitCast(DU8(), hn::Xor(w, hn::Set(DI8(), -128))) : Magnitude(w));
      TESSERA_UNROLL
      for (int r = 0; r < R; ++r) {
        const VI8 quad = BroadcastQuad(x[r]->values + 4 * q);
        if constexpr (Dots::kWide) {
          if (q == 0) dots[r] = hn::Set(DI32(), -128 * x[r]->sum);
          dots[r] = Dots::Add(dots[r], unsigned_w, quad);
        } else {
          const VI32 sum = SumPairs(MulPairs(unsigned_w, WithSign(quad, w)));
          dots[r] = q == 0 ? sum : Settled(hn::Add(dots[r], sum));
        }
      }
    }
  }
};

void LinearQ8Target(const LinearCall& call) { RunType<Q8_0>(call); }

#endif  // TESSERA_LINEAR_PLAIN

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
HWY_EXPORT(LinearQ8Target);
void LinearQ8(const LinearCall& call) { HWY_DYNAMIC_DISPATCH(LinearQ8Target)(call); }
}  // namespace tessera::cpu
#endif
