// Root-mean-square norm of one row.
#ifndef TESSERA_CORE_CPU_KERNELS_RMS_NORM_RMS_NORM_H_
#define TESSERA_CORE_CPU_KERNELS_RMS_NORM_RMS_NORM_H_

#include <cstdint>

namespace tessera::cpu {

// out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i] for i in [0, size); may work in place. The order of
// the sum depends on `size` alone. Relative error of an element at most about (size / lanes / 4 + 8) ulp,
// commonly 2.
void RmsNorm(const float* x, const float* weight, float epsilon, int64_t size, float* out);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_RMS_NORM_RMS_NORM_H_
