// A projection's bias, added to the hidden state behind the product.
#ifndef TESSERA_GPU_KERNELS_BIAS_ADD_BIAS_ADD_H_
#define TESSERA_GPU_KERNELS_BIAS_ADD_BIAS_ADD_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/kernels/common/launch.h"

namespace tessera::gpu {

struct BiasAddArgs {
  const float* bias = nullptr;  // [columns]
  int32_t rows = 0;
  int32_t columns = 0;
  float* hidden = nullptr;  // [rows, columns]
};

cudaError_t LaunchBiasAdd(const LaunchContext& context, const BiasAddArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_BIAS_ADD_BIAS_ADD_H_
