#include "core/cpu/kernels/rotary/rotary.h"

#include <cmath>

#include "core/cpu/kernels/linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/rotary/rotary.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/cpu/kernels/tail-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::Vec<D>>
HWY_INLINE void RotateVectors(D, V cos, V sin, V* a, V* b) {
  const V first = *a;
  const V second = *b;
  *a = hn::NegMulAdd(second, sin, hn::Mul(first, cos));
  *b = hn::MulAdd(second, cos, hn::Mul(first, sin));
}

void RotateImpl(RotaryPairing pairing, float* x, int32_t heads, int32_t head_size, int32_t pairs,
                const float* cos, const float* sin) {
  const Floats d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t head = 0; head < heads; ++head) {
    float* const elements = x + static_cast<int64_t>(head) * head_size;
    int32_t i = 0;
    if (pairing == RotaryPairing::kInterleaved) {
      for (; i + lanes <= pairs; i += lanes) {
        hn::Vec<Floats> a;
        hn::Vec<Floats> b;
        hn::LoadInterleaved2(d, elements + 2 * i, a, b);
        RotateVectors(d, hn::LoadU(d, cos + i), hn::LoadU(d, sin + i), &a, &b);
        hn::StoreInterleaved2(a, b, d, elements + 2 * i);
      }
    } else {
      for (; i < pairs; i += lanes) {
        const int32_t count = pairs - i;
        auto a = LoadFirst(d, elements + i, count);
        auto b = LoadFirst(d, elements + pairs + i, count);
        RotateVectors(d, LoadFirst(d, cos + i, count), LoadFirst(d, sin + i, count), &a, &b);
        StoreFirst(d, a, elements + i, count);
        StoreFirst(d, b, elements + pairs + i, count);
      }
    }
    for (; i < pairs; ++i) {  // interleaved pairs that fill no vector
      const float first = elements[2 * i];
      const float second = elements[2 * i + 1];
      elements[2 * i] = first * cos[i] - second * sin[i];
      elements[2 * i + 1] = first * sin[i] + second * cos[i];
    }
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
namespace {

constexpr int32_t kFine = 256;  // positions that share one coarse entry

int32_t CoarseCount(int32_t max_positions) { return max_positions / kFine + 1; }

void FillAngles(const RotarySpec& spec, int32_t count, int32_t step, double* table) {
  const int32_t pairs = spec.dimensions / 2;
  for (int32_t entry = 0; entry < count; ++entry) {
    for (int32_t i = 0; i < pairs; ++i) {
      // A float's 24 bits times a position's: exact in double.
      const double angle = static_cast<double>(entry) * step * spec.inverse_frequencies[i];
      table[(2 * static_cast<int64_t>(entry)) * pairs + i] = std::cos(angle);
      table[(2 * static_cast<int64_t>(entry) + 1) * pairs + i] = std::sin(angle);
    }
  }
}

}  // namespace

HWY_EXPORT(RotateImpl);

size_t RotaryTable::Bytes(const RotarySpec& spec, int32_t max_positions) {
  const size_t entries = static_cast<size_t>(kFine) + CoarseCount(max_positions);
  return entries * 2 * (spec.dimensions / 2) * sizeof(double);
}

RotaryTable::RotaryTable(const RotarySpec& spec, int32_t max_positions, void* memory)
    : pairs_(spec.dimensions / 2), magnitude_(spec.magnitude) {
  auto* const fine = static_cast<double*>(memory);
  double* const coarse = fine + static_cast<int64_t>(kFine) * 2 * pairs_;
  FillAngles(spec, kFine, 1, fine);
  FillAngles(spec, CoarseCount(max_positions), kFine, coarse);
  fine_ = fine;
  coarse_ = coarse;
}

void RotaryTable::Angles(int32_t position, float* cos, float* sin) const {
  const double* const fine_cos = fine_ + static_cast<int64_t>(position % kFine) * 2 * pairs_;
  const double* const fine_sin = fine_cos + pairs_;
  const double* const coarse_cos = coarse_ + static_cast<int64_t>(position / kFine) * 2 * pairs_;
  const double* const coarse_sin = coarse_cos + pairs_;
  for (int32_t i = 0; i < pairs_; ++i) {
    cos[i] = static_cast<float>((coarse_cos[i] * fine_cos[i] - coarse_sin[i] * fine_sin[i]) * magnitude_);
    sin[i] = static_cast<float>((coarse_sin[i] * fine_cos[i] + coarse_cos[i] * fine_sin[i]) * magnitude_);
  }
}

void Rotate(RotaryPairing pairing, float* x, int32_t heads, int32_t head_size, int32_t pairs,
            const float* cos, const float* sin) {
  HWY_DYNAMIC_DISPATCH(RotateImpl)(pairing, x, heads, head_size, pairs, cos, sin);
}

}  // namespace tessera::cpu
#endif  // HWY_ONCE
