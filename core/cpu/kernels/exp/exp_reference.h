// The oracle of Exp: the C library in double precision.
#ifndef TESSERA_CORE_CPU_KERNELS_EXP_EXP_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_EXP_EXP_REFERENCE_H_

#include <cmath>

namespace tessera::cpu {

inline double ExpReference(float x) { return std::exp(static_cast<double>(x)); }

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_EXP_EXP_REFERENCE_H_
