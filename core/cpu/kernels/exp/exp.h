// e^x of an array. The operators use the inline form (exp-inl.h); this one is how it is tested, target by
// target.
#ifndef TESSERA_CORE_CPU_KERNELS_EXP_EXP_H_
#define TESSERA_CORE_CPU_KERNELS_EXP_EXP_H_

#include <cstdint>

namespace tessera::cpu {

// Each element alone: the result does not depend on where in the array it stands. May work in place.
void Exp(const float* x, int64_t count, float* out);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_EXP_EXP_H_
