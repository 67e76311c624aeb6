// The oracle of SiluMultiply: double precision.
#ifndef TESSERA_CORE_CPU_KERNELS_SILU_MULTIPLY_SILU_MULTIPLY_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_SILU_MULTIPLY_SILU_MULTIPLY_REFERENCE_H_

#include <cmath>

namespace tessera::cpu {

inline double SiluMultiplyReference(float gate, float up) {
  return static_cast<double>(gate) / (1.0 + std::exp(-static_cast<double>(gate))) * up;
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_SILU_MULTIPLY_SILU_MULTIPLY_REFERENCE_H_
