// The matrix product for where the vendor's library is not there: of any shape, correct, of moderate speed.
#ifndef TESSERA_GPU_KERNELS_GEMM_GEMM_H_
#define TESSERA_GPU_KERNELS_GEMM_GEMM_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

// out = x * weight^T, or += where `accumulate`. Sums are made in F32, along the columns in one order for
// every row and every number of rows: a row's result depends on nothing but the row.
struct GemmArgs {
  const void* x = nullptr;       // [rows, columns] of T
  const void* weight = nullptr;  // [outputs, columns] of T
  int32_t rows = 0;
  int32_t outputs = 0;
  int32_t columns = 0;
  void* out = nullptr;     // [rows, outputs] of the output's type, rows out_stride apart
  int64_t out_stride = 0;  // elements
  bool accumulate = false;
};

// `type` of x and weight; `out_type` the same or F32.
cudaError_t LaunchGemm(const LaunchContext& context, ElementType type, ElementType out_type,
                       const GemmArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_GEMM_GEMM_H_
