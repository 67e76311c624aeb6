// The library's products (gpu/blas) for benchmarks that CUDA's compiler reads, which knows C++17 only.
#ifndef TESSERA_BENCH_GPU_LIBRARY_PRODUCTS_H_
#define TESSERA_BENCH_GPU_LIBRARY_PRODUCTS_H_

#include <memory>

#include "gpu/kernels/common/launch.h"

namespace tessera::gpu {

// BF16. Prints and exits where something fails.
class LibraryProducts {
 public:
  LibraryProducts();
  ~LibraryProducts();
  // Whether there is such a library; else the module's own kernel stands in.
  bool is_library() const;
  // out [rows, outputs] of F32 (added to, if `accumulates`) or BF16 = x [rows, columns] * weight^T.
  int Prepare(const LaunchContext& context, int rows, int outputs, int columns, bool f32, bool accumulates,
              const void* x, const void* weight, void* out);
  void Run(int product, const LaunchContext& context, const void* x, const void* weight, int rows, void* out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_BENCH_GPU_LIBRARY_PRODUCTS_H_
