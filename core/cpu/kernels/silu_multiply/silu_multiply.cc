#include "core/cpu/kernels/silu_multiply/silu_multiply.h"

#include "core/cpu/kernels/linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/silu_multiply/silu_multiply.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/cpu/kernels/exp/exp-inl.h"
#include "core/cpu/kernels/tail-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void SiluMultiplyImpl(const float* gate, const float* up, int64_t count, float* out) {
  const Floats d;
  const auto one = hn::Set(d, 1.0f);
  ForEachVector(count, [&](int64_t i, int64_t lanes) HWY_ATTR {
    const auto g = LoadFirst(d, gate + i, lanes);
    const auto silu = hn::Div(g, hn::Add(one, ExpVector(d, hn::Neg(g))));
    StoreFirst(d, hn::Mul(silu, LoadFirst(d, up + i, lanes)), out + i, lanes);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(SiluMultiplyImpl);

void SiluMultiply(const float* gate, const float* up, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(SiluMultiplyImpl)(gate, up, count, out);
}

}  // namespace tessera::cpu
#endif  // HWY_ONCE
