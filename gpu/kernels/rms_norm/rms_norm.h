// RMS norm of rows of the hidden state, as the input of a matrix product: y = x / rms(x) * weight.
#ifndef TESSERA_GPU_KERNELS_RMS_NORM_RMS_NORM_H_
#define TESSERA_GPU_KERNELS_RMS_NORM_RMS_NORM_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

struct RmsNormArgs {
  const float* hidden = nullptr;  // [rows, columns]
  const float* weight = nullptr;  // [columns]
  float epsilon = 0;
  int32_t columns = 0;
  // Which row of `hidden` each row of `out` comes from, so that sampled rows alone are gathered; null: its
  // own.
  const int32_t* gather = nullptr;  // [rows]
  int32_t rows = 0;                 // of `out`
  void* out = nullptr;              // [rows, columns] of T
};

// A row's result depends on nothing but the row.
cudaError_t LaunchRmsNorm(const LaunchContext& context, ElementType type, const RmsNormArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_RMS_NORM_RMS_NORM_H_
