// The oracle of RmsNorm: plain loops in double precision.
#ifndef TESSERA_CORE_CPU_KERNELS_RMS_NORM_RMS_NORM_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_RMS_NORM_RMS_NORM_REFERENCE_H_

#include <cmath>
#include <cstdint>

namespace tessera::cpu {

template <typename Out>
void RmsNormReference(const float* x, const float* weight, float epsilon, int64_t size, Out* out) {
  double squares = 0;
  for (int64_t i = 0; i < size; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double root = std::sqrt(squares / static_cast<double>(size) + epsilon);
  for (int64_t i = 0; i < size; ++i) out[i] = static_cast<Out>(x[i] / root * weight[i]);
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_RMS_NORM_RMS_NORM_REFERENCE_H_
