#include "gpu/blas/cublas_lt.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

namespace tessera::gpu {
namespace {

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

bool FindAll(void* library, CublasLt* found) {
  return Find(library, "cublasLtCreate", &found->create) &&
         Find(library, "cublasLtDestroy", &found->destroy) &&
         Find(library, "cublasLtGetVersion", &found->get_version) &&
         Find(library, "cublasLtMatmul", &found->matmul) &&
         Find(library, "cublasLtMatmulDescCreate", &found->create_operation) &&
         Find(library, "cublasLtMatmulDescDestroy", &found->destroy_operation) &&
         Find(library, "cublasLtMatmulDescSetAttribute", &found->set_operation) &&
         Find(library, "cublasLtMatrixLayoutCreate", &found->create_layout) &&
         Find(library, "cublasLtMatrixLayoutDestroy", &found->destroy_layout) &&
         Find(library, "cublasLtMatrixLayoutSetAttribute", &found->set_layout) &&
         Find(library, "cublasLtMatmulPreferenceCreate", &found->create_preference) &&
         Find(library, "cublasLtMatmulPreferenceDestroy", &found->destroy_preference) &&
         Find(library, "cublasLtMatmulPreferenceSetAttribute", &found->set_preference) &&
         Find(library, "cublasLtMatmulAlgoGetHeuristic", &found->find_algorithms);
}

struct Search {
  CublasLt functions;
  bool found = false;

  Search() {
    // What is used of it has been the same in both; the toolkit's own comes first.
    const char* const names[] = {CUDART_VERSION >= 13000 ? "libcublasLt.so.13" : "libcublasLt.so.12",
                                 CUDART_VERSION >= 13000 ? "libcublasLt.so.12" : "libcublasLt.so.13"};
    for (const char* name : names) {
      void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
      if (library != nullptr && FindAll(library, &functions)) {
        found = true;
        return;
      }
    }
  }
};

}  // namespace

const CublasLt* FindCublasLt() {
  static const Search search;
  return search.found ? &search.functions : nullptr;
}

}  // namespace tessera::gpu
