// cuBLASLt's functions, found at run time: it weighs half a gigabyte, and the module works without it.
#ifndef TESSERA_GPU_BLAS_CUBLAS_LT_H_
#define TESSERA_GPU_BLAS_CUBLAS_LT_H_

#include <cublasLt.h>

namespace tessera::gpu {

struct CublasLt {
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtGetVersion) get_version = nullptr;
  decltype(&::cublasLtMatmul) matmul = nullptr;
  decltype(&::cublasLtMatmulDescCreate) create_operation = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) destroy_operation = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&::cublasLtMatrixLayoutSetAttribute) set_layout = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) find_algorithms = nullptr;
};

// The library that the process has already, or that the system finds; null: there is none. It is looked for
// once and never unloaded. Any thread.
const CublasLt* FindCublasLt();

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_BLAS_CUBLAS_LT_H_
