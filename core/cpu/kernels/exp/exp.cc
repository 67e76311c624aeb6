#include "core/cpu/kernels/exp/exp.h"

#include "core/cpu/kernels/linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/exp/exp.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/cpu/kernels/exp/exp-inl.h"
#include "core/cpu/kernels/tail-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

void ExpImpl(const float* x, int64_t count, float* out) {
  const Floats d;
  ForEachVector(count, [&](int64_t i, int64_t lanes) HWY_ATTR {
    StoreFirst(d, ExpVector(d, LoadFirst(d, x + i, lanes)), out + i, lanes);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(ExpImpl);

void Exp(const float* x, int64_t count, float* out) { HWY_DYNAMIC_DISPATCH(ExpImpl)(x, count, out); }

}  // namespace tessera::cpu
#endif  // HWY_ONCE
