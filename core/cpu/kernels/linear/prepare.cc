// Prepares one row of activations. Each group of 32 is rounded alone, so neither the thread nor the
// neighbours matter; all steps are IEEE operations, so neither does the vector set.
#include "core/cpu/kernels/linear/linear.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/linear/prepare.cc"
#include "core/cpu/kernels/linear/targets.h"
#include "hwy/foreach_target.h"
//
#include <limits>

#include "core/cpu/kernels/linear/plain.h"
#include "core/cpu/kernels/linear/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

#if TESSERA_LINEAR_PLAIN
void PrepareInt8Target(const float* x, int64_t columns, ActivationGroup* groups) {
  PreparePlain(x, columns, groups);
}
#else

// x [32] to one group.
HWY_INLINE void PrepareGroup(const float* HWY_RESTRICT x, ActivationGroup* HWY_RESTRICT group) {
  constexpr int kSteps = static_cast<int>(kGroup) / kLanes;
  VI32 largest = hn::Zero(DI32());
  TESSERA_UNROLL
  for (int i = 0; i < kSteps; ++i) {
    // Magnitudes order as their bits do, with infinities and NaNs above all numbers.
    const VF magnitude = hn::Abs(hn::LoadU(DF(), x + i * kLanes));
    largest = hn::Max(largest, hn::BitCast(DI32(), magnitude));
  }
  const float amax = hn::GetLane(hn::BitCast(DF(), hn::MaxOfLanes(DI32(), largest)));
  if (!(amax >= kSmallestActivation && amax <= std::numeric_limits<float>::max())) {
    std::memset(group, 0, sizeof(*group));
    if (amax < kSmallestActivation) return;
    group->scale = group->scaled_sum = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const VF inverse = hn::Set(DF(), 127.0f / amax);
  const hn::Rebind<int8_t, DI32> d8;
  int32_t sums[2];
  TESSERA_UNROLL
  for (int half = 0; half < 2; ++half) {
    VI32 sum = hn::Zero(DI32());
    TESSERA_UNROLL
    for (int i = half * kSteps / 2; i < (half + 1) * kSteps / 2; ++i) {
      const VI32 q = hn::NearestInt(hn::Mul(hn::LoadU(DF(), x + i * kLanes), inverse));
      hn::StoreU(hn::DemoteTo(d8, q), d8, group->values + i * kLanes);
      sum = hn::Add(sum, q);
    }
    sums[half] = hn::GetLane(hn::SumOfLanes(DI32(), sum));
    group->half_sums[half] = static_cast<int16_t>(sums[half]);
  }
  group->scale = amax / 127.0f;
  group->sum = sums[0] + sums[1];
  group->scaled_sum = group->scale * static_cast<float>(group->sum);
}

void PrepareInt8Target(const float* x, int64_t columns, ActivationGroup* groups) {
  for (; columns >= kGroup; columns -= kGroup) {
    PrepareGroup(x, groups++);
    x += kGroup;
  }
  if (columns > 0) {
    float last[kGroup] = {};
    std::memcpy(last, x, static_cast<size_t>(columns) * sizeof(float));
    PrepareGroup(last, groups);
  }
}
#endif  // TESSERA_LINEAR_PLAIN

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
HWY_EXPORT(PrepareInt8Target);

void PrepareRow(ActivationMode mode, const float* x, int64_t columns, void* prepared) {
  if (mode == ActivationMode::kF32) {
    std::memcpy(prepared, x, static_cast<size_t>(columns) * sizeof(float));
  } else {
    HWY_DYNAMIC_DISPATCH(PrepareInt8Target)(x, columns, static_cast<ActivationGroup*>(prepared));
  }
}

}  // namespace tessera::cpu
#endif
