#include "core/cpu/kernels/rms_norm/rms_norm.h"

#include <cmath>

#include "core/cpu/kernels/linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/rms_norm/rms_norm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/cpu/kernels/tail-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void RmsNormImpl(const float* x, const float* weight, float epsilon, int64_t size, float* out) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  // Four chains hide the latency of the sums.
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  auto sum2 = hn::Zero(d);
  auto sum3 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 4 * lanes <= size; i += 4 * lanes) {
    const auto x0 = hn::LoadU(d, x + i);
    const auto x1 = hn::LoadU(d, x + i + lanes);
    const auto x2 = hn::LoadU(d, x + i + 2 * lanes);
    const auto x3 = hn::LoadU(d, x + i + 3 * lanes);
    sum0 = hn::MulAdd(x0, x0, sum0);
    sum1 = hn::MulAdd(x1, x1, sum1);
    sum2 = hn::MulAdd(x2, x2, sum2);
    sum3 = hn::MulAdd(x3, x3, sum3);
  }
  for (; i < size; i += lanes) {
    const auto x0 = LoadFirst(d, x + i, size - i);
    sum0 = hn::MulAdd(x0, x0, sum0);
  }
  const float squares = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
  const auto scale = hn::Set(d, 1.0f / std::sqrt(squares / static_cast<float>(size) + epsilon));
  ForEachVector(size, [&](int64_t j, int64_t count) HWY_ATTR {
    const auto scaled = hn::Mul(LoadFirst(d, x + j, count), scale);
    StoreFirst(d, hn::Mul(scaled, LoadFirst(d, weight + j, count)), out + j, count);
  });
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(RmsNormImpl);

void RmsNorm(const float* x, const float* weight, float epsilon, int64_t size, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormImpl)(x, weight, epsilon, size, out);
}

}  // namespace tessera::cpu
#endif  // HWY_ONCE
