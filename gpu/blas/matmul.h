// Matrix products of all row counts that a context may meet, planned when it is made: cuBLASLt where it is
// there and can, the module's own kernel elsewhere. Knows no model.
#ifndef TESSERA_GPU_BLAS_MATMUL_H_
#define TESSERA_GPU_BLAS_MATMUL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device/device_api.h"
#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

struct CublasLt;

// out [rows, outputs] = (accumulate: +=) x [rows, columns] * weight [outputs, columns]^T. Sums in F32.
struct MatmulShape {
  ElementType type = ElementType::kBF16;      // of x and weight: kBF16 or kF16
  ElementType out_type = ElementType::kBF16;  // the same or kF32
  int32_t outputs = 0;
  int32_t columns = 0;
  int64_t out_stride = 0;    // elements between rows of out
  int32_t weight_align = 0;  // what the weights' addresses are multiples of, a power of two, at most 256
  int32_t out_align = 0;     // likewise
  bool accumulate = false;
  int32_t max_rows = 1;
  bool operator==(const MatmulShape& other) const = default;
};

// The largest power of two, at most 256, that divides an address.
int32_t AlignmentOf(const void* data);

struct MatmulOptions {
  // A row's result is the same whatever is beside it and however many rows there are.
  bool batch_invariant = false;
  bool use_library = true;
};

// One thread at a time.
class Matmul {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // `workspace` of kWorkspaceBytes on the device, which products that follow one another in a stream share.
  // May throw std::bad_alloc.
  static absl::StatusOr<std::unique_ptr<Matmul>> Create(DeviceApi* api, const MatmulOptions& options,
                                                        void* workspace);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // What Run needs for a shape, as an index for it. Shapes met before give the same one. Every algorithm is
  // run once on what is given (the shape's max_rows of x and out), so that nothing is loaded later. Outside
  // of captures.
  absl::StatusOr<int> Prepare(const MatmulShape& shape, const LaunchContext& context, const void* x,
                              const void* weight, void* out);
  // rows: 1 to the shape's max_rows. x aligned to 256 bytes, the others as the shape says. Allocates nothing.
  absl::Status Run(int shape, const LaunchContext& context, const void* x, const void* weight, int32_t rows,
                   void* out);

  bool uses_library() const { return library_ != nullptr; }
  // For how many of a shape's ranges of row counts the library has an algorithm; for tests.
  int planned(int shape) const;

 private:
  struct Plan;
  Matmul(DeviceApi* api, const MatmulOptions& options, void* workspace);
  absl::Status MakePlan(const MatmulShape& shape, Plan* plan);
  absl::Status FindAlgorithms(Plan* plan);
  // `refused`: the library says that it cannot; nothing was done.
  absl::Status RunLibrary(Plan& plan, size_t bucket, const LaunchContext& context, const void* x,
                          const void* weight, int32_t rows, void* out, bool* refused);
  absl::Status RunOwn(const Plan& plan, const LaunchContext& context, const void* x, const void* weight,
                      int32_t rows, void* out);

  DeviceApi* const api_;
  const MatmulOptions options_;
  void* const workspace_;
  const CublasLt* library_ = nullptr;
  void* handle_ = nullptr;  // cublasLtHandle_t
  std::vector<std::unique_ptr<Plan>> plans_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_BLAS_MATMUL_H_
