// The feed-forward's gate: SiLU of one projection times the other.
#ifndef TESSERA_CORE_CPU_KERNELS_SILU_MULTIPLY_SILU_MULTIPLY_H_
#define TESSERA_CORE_CPU_KERNELS_SILU_MULTIPLY_SILU_MULTIPLY_H_

#include <cstdint>

namespace tessera::cpu {

// out[i] = gate[i] / (1 + e^-gate[i]) * up[i] for i in [0, count); out may be gate. Each element alone: the
// result does not depend on where a range was cut. Within 5 ulp, plus 1e-36 |up[i]| absolute where e^-gate[i]
// leaves its range.
void SiluMultiply(const float* gate, const float* up, int64_t count, float* out);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_SILU_MULTIPLY_SILU_MULTIPLY_H_
