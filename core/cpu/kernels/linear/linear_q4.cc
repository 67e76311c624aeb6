// Weights of 4 bits in blocks of 32: Q4_0 (w = d (q - 8)) and Q4_1 (w = d q + m).
#include "core/cpu/kernels/linear/linear_call.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/linear/linear_q4.cc"
#include "core/cpu/kernels/linear/targets.h"
#include "hwy/foreach_target.h"
//
#include "core/cpu/kernels/linear/plain.h"
#include "core/cpu/kernels/linear/quant-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

#if TESSERA_LINEAR_PLAIN
void LinearQ4Target(const LinearCall& call) { LinearPlain(call); }
#else

struct Q4_0 {
  static constexpr const QuantLayout& kLayout = kQ4_0Layout;
  static constexpr bool kSignedValues = false;
  struct Header {
    explicit HWY_INLINE Header(const uint8_t* at) : block(at) {}
    const uint8_t* block;
    HWY_INLINE VF d(int p) const { return LoadHalves(block + 2 * kLanes * p); }
  };

  template <class Dots, int R>
  static HWY_INLINE void Int8(const Header& header, const uint8_t* HWY_RESTRICT group, Groups<R>& x,
                              VF (&sums)[R][kParts]) {
    typename Dots::Sum dots[R][kParts];
    NibbleDots<Dots, R>(group, x, dots);
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      const VF d = header.d(p);
      TESSERA_UNROLL
      for (int r = 0; r < R; ++r) {
        const VI32 dot = hn::Sub(Dots::Total(dots[r][p]), hn::ShiftLeft<3>(hn::Set(DI32(), x[r]->sum)));
        sums[r][p] = hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(d, hn::Set(DF(), x[r]->scale)), sums[r][p]);
      }
    }
  }

  static HWY_INLINE void Affine(const Header& header, const uint8_t*, int, int p, VF& scale, VF& offset,
                                VF& shift) {
    scale = header.d(p);
    offset = hn::Set(DF(), 8.0f);
    shift = hn::Zero(DF());
  }
  static HWY_INLINE VU8 Values(const uint8_t* group, int quad, int p) { return NibbleValues(group, quad, p); }
};

struct Q4_1 {
  static constexpr const QuantLayout& kLayout = kQ4_1Layout;
  static constexpr bool kSignedValues = false;
  struct Header {
    explicit HWY_INLINE Header(const uint8_t* at) : block(at) {}
    const uint8_t* block;
    HWY_INLINE VF d(int p) const { return LoadHalves(block + 2 * kLanes * p); }
    HWY_INLINE VF m(int p) const { return LoadHalves(block + 32 + 2 * kLanes * p); }
  };

  template <class Dots, int R>
  static HWY_INLINE void Int8(const Header& header, const uint8_t* HWY_RESTRICT group, Groups<R>& x,
                              VF (&sums)[R][kParts]) {
    typename Dots::Sum dots[R][kParts];
    NibbleDots<Dots, R>(group, x, dots);
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      const VF d = header.d(p), m = header.m(p);
      TESSERA_UNROLL
      for (int r = 0; r < R; ++r) {
        const VF scale = hn::Mul(d, hn::Set(DF(), x[r]->scale));
        sums[r][p] = hn::MulAdd(hn::ConvertTo(DF(), Dots::Total(dots[r][p])), scale, sums[r][p]);
        sums[r][p] = hn::MulAdd(m, hn::Set(DF(), x[r]->scaled_sum), sums[r][p]);
      }
    }
  }

  static HWY_INLINE void Affine(const Header& header, const uint8_t*, int, int p, VF& scale, VF& offset,
                                VF& shift) {
    scale = header.d(p);
    offset = hn::Zero(DF());
    shift = header.m(p);
  }
  static HWY_INLINE VU8 Values(const uint8_t* group, int quad, int p) { return NibbleValues(group, quad, p); }
};

void LinearQ4Target(const LinearCall& call) {
  if (call.type == TensorType::kQ4_0) {
    RunType<Q4_0>(call);
  } else {
    RunType<Q4_1>(call);
  }
}

#endif  // TESSERA_LINEAR_PLAIN

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
HWY_EXPORT(LinearQ4Target);
void LinearQ4(const LinearCall& call) { HWY_DYNAMIC_DISPATCH(LinearQ4Target)(call); }
}  // namespace tessera::cpu
#endif
