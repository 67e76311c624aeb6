// Rotary positions: the angles' cosines and sines, and the rotation of a row's heads.
#ifndef TESSERA_CORE_CPU_KERNELS_ROTARY_ROTARY_H_
#define TESSERA_CORE_CPU_KERNELS_ROTARY_ROTARY_H_

#include <cstddef>
#include <cstdint>

#include "core/model/model_spec.h"

namespace tessera::cpu {

// cos and sin of position * inverse_frequency for every position below max_positions, in memory that grows
// with max_positions / 256: position p = 256 c + f, and cos, sin of both parts are kept in double precision,
// so that their product differs from the direct value by less than 1e-15 before it becomes a float.
class RotaryTable {
 public:
  static size_t Bytes(const RotarySpec& spec, int32_t max_positions);

  RotaryTable() = default;
  // Fills `memory`, of Bytes(), aligned for double. It stays the caller's.
  RotaryTable(const RotarySpec& spec, int32_t max_positions, void* memory);

  // cos, sin: [pairs()], times the spec's magnitude. position < max_positions.
  void Angles(int32_t position, float* cos, float* sin) const;
  int32_t pairs() const { return pairs_; }

 private:
  int32_t pairs_ = 0;
  double magnitude_ = 1;
  const double* fine_ = nullptr;    // [256, 2, pairs]: cos, then sin
  const double* coarse_ = nullptr;  // [ceil(max_positions / 256), 2, pairs]
};

// Rotates the leading 2 * pairs elements of each head in place: x [heads, head_size]; cos, sin [pairs]. Error
// within 2 ulp of the larger of a pair.
void Rotate(RotaryPairing pairing, float* x, int32_t heads, int32_t head_size, int32_t pairs,
            const float* cos, const float* sin);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_ROTARY_ROTARY_H_
