// The ends of arrays that are no multiple of a vector: the last lanes go through a padded copy and the very
// same vector operations, so that an element's result does not depend on where a range was cut. Included once
// per target.
#if defined(TESSERA_CORE_CPU_KERNELS_TAIL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CORE_CPU_KERNELS_TAIL_INL_H_
#undef TESSERA_CORE_CPU_KERNELS_TAIL_INL_H_
#else
#define TESSERA_CORE_CPU_KERNELS_TAIL_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

inline constexpr size_t kMostLanes = 16;
using Floats = hwy::HWY_NAMESPACE::CappedTag<float, kMostLanes>;

// The first `lanes` lanes of x; the others are 0.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V LoadFirst(D d, const float* x, int64_t lanes) {
  namespace hn = hwy::HWY_NAMESPACE;
  if (lanes >= static_cast<int64_t>(hn::Lanes(d))) return hn::LoadU(d, x);
  HWY_ALIGN float padded[kMostLanes] = {};
  for (int64_t i = 0; i < lanes; ++i) padded[i] = x[i];
  return hn::Load(d, padded);
}

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE void StoreFirst(D d, V v, float* out, int64_t lanes) {
  namespace hn = hwy::HWY_NAMESPACE;
  if (lanes >= static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(v, d, out);
    return;
  }
  HWY_ALIGN float padded[kMostLanes];
  hn::Store(v, d, padded);
  for (int64_t i = 0; i < lanes; ++i) out[i] = padded[i];
}

// function(first element, how many of the vector's lanes count), over [0, count).
template <class Function>
HWY_INLINE void ForEachVector(int64_t count, const Function& function) {
  const auto lanes = static_cast<int64_t>(hwy::HWY_NAMESPACE::Lanes(Floats()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) function(i, lanes);
  if (i < count) function(i, count - i);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TESSERA_CORE_CPU_KERNELS_TAIL_INL_H_
