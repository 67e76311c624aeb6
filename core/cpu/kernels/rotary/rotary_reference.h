// The oracle of Rotate: each pair by its own angle, in double precision.
#ifndef TESSERA_CORE_CPU_KERNELS_ROTARY_ROTARY_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_ROTARY_ROTARY_REFERENCE_H_

#include <cmath>
#include <cstdint>

#include "core/model/model_spec.h"

namespace tessera::cpu {

// x [heads, head_size], in place.
template <typename Value>
void RotateReference(const RotarySpec& spec, int32_t position, int32_t heads, int32_t head_size, Value* x) {
  const int32_t pairs = spec.dimensions / 2;
  const bool interleaved = spec.pairing == RotaryPairing::kInterleaved;
  for (int32_t head = 0; head < heads; ++head) {
    for (int32_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(position) * spec.inverse_frequencies[i];
      const double cos = std::cos(angle) * spec.magnitude;
      const double sin = std::sin(angle) * spec.magnitude;
      Value* const a = x + static_cast<int64_t>(head) * head_size + (interleaved ? 2 * i : i);
      Value* const b = a + (interleaved ? 1 : pairs);
      const double first = *a;
      const double second = *b;
      *a = static_cast<Value>(first * cos - second * sin);
      *b = static_cast<Value>(first * sin + second * cos);
    }
  }
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_ROTARY_ROTARY_REFERENCE_H_
