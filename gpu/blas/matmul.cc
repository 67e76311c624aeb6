#include "gpu/blas/matmul.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "gpu/blas/cublas_lt.h"
#include "gpu/kernels/gemm/gemm.h"

namespace tessera::gpu {
namespace {

// A third of a bucket's rows at most are not there, above the smallest ones.
std::vector<int32_t> BucketsOf(int32_t max_rows) {
  std::vector<int32_t> rows = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96};
  for (int32_t next = 128; next < max_rows; next *= 2) {
    rows.push_back(next);
    rows.push_back(next + next / 2);
  }
  rows.erase(
      std::remove_if(rows.begin(), rows.end(), [max_rows](int32_t count) { return count >= max_rows; }),
      rows.end());
  rows.push_back(max_rows);
  return rows;
}

// The row count for which the one algorithm of batch-invariant products is chosen: of a full decode batch.
constexpr int32_t kInvariantRows = 64;

cudaDataType_t DataType(ElementType type) {
  if (type == ElementType::kF32) return CUDA_R_32F;
  return type == ElementType::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
}

cudaError_t CudaErrorOf(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return cudaSuccess;
    case CUBLAS_STATUS_ALLOC_FAILED:
      return cudaErrorMemoryAllocation;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return cudaErrorNotSupported;
    case CUBLAS_STATUS_INVALID_VALUE:
      return cudaErrorInvalidValue;
    default:
      return cudaErrorUnknown;
  }
}

}  // namespace

int32_t AlignmentOf(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data) | 256;
  return static_cast<int32_t>(address & (~address + 1));
}

// Columns and rows change places: cuBLASLt's matrices are stored by columns, so it sees the transposes,
// out^T [outputs, rows] = weight [columns, outputs]^T * x^T [columns, rows].
struct Matmul::Plan {
  explicit Plan(const CublasLt* functions) : library(functions) {}
  ~Plan() {
    if (library == nullptr) return;
    if (operation != nullptr) library->destroy_operation(operation);
    for (cublasLtMatrixLayout_t layout : {weight_layout, x_layout, out_layout}) {
      if (layout != nullptr) library->destroy_layout(layout);
    }
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  cublasStatus_t SetRows(int32_t rows) {
    const uint64_t columns = static_cast<uint64_t>(rows);
    const cublasStatus_t status =
        library->set_layout(x_layout, CUBLASLT_MATRIX_LAYOUT_COLS, &columns, sizeof(columns));
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return library->set_layout(out_layout, CUBLASLT_MATRIX_LAYOUT_COLS, &columns, sizeof(columns));
  }

  struct Algorithm {
    bool there = false;
    cublasLtMatmulAlgo_t value = {};
  };

  MatmulShape shape;
  const CublasLt* const library;  // null: it cannot run the shape
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weight_layout = nullptr, x_layout = nullptr, out_layout = nullptr;
  std::vector<int32_t> bucket_rows;   // rising; an algorithm serves the row counts down to the one before
  std::vector<Algorithm> algorithms;  // [buckets]
};

Matmul::Matmul(DeviceApi* api, const MatmulOptions& options, void* workspace)
    : api_(api), options_(options), workspace_(workspace) {}

Matmul::~Matmul() {
  plans_.clear();
  if (handle_ != nullptr) library_->destroy(static_cast<cublasLtHandle_t>(handle_));
}

absl::StatusOr<std::unique_ptr<Matmul>> Matmul::Create(DeviceApi* api, const MatmulOptions& options,
                                                       void* workspace) {
  std::unique_ptr<Matmul> matmul(new Matmul(api, options, workspace));
  const CublasLt* const library = options.use_library ? FindCublasLt() : nullptr;
  if (library == nullptr) return matmul;
  cublasLtHandle_t handle = nullptr;
  TSR_RETURN_IF_ERROR(api->Do("opening cuBLASLt", [&] { return CudaErrorOf(library->create(&handle)); }));
  matmul->library_ = library;
  matmul->handle_ = handle;
  return matmul;
}

absl::Status Matmul::MakePlan(const MatmulShape& shape, Plan* plan) {
  plan->shape = shape;
  plan->bucket_rows = BucketsOf(shape.max_rows);
  plan->algorithms.resize(plan->bucket_rows.size());
  if (library_ == nullptr) return absl::OkStatus();
  const auto columns = static_cast<uint64_t>(shape.columns);
  const auto outputs = static_cast<uint64_t>(shape.outputs);
  return api_->Do("describing a product", [&] {
    cublasStatus_t status = library_->create_operation(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = library_->set_operation(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof(transposed));
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = library_->create_layout(&plan->weight_layout, DataType(shape.type), columns, outputs,
                                       shape.columns);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = library_->create_layout(&plan->x_layout, DataType(shape.type), columns, 1, shape.columns);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
      status =
          library_->create_layout(&plan->out_layout, DataType(shape.out_type), outputs, 1, shape.out_stride);
    }
    return CudaErrorOf(status);
  });
}

absl::Status Matmul::FindAlgorithms(Plan* plan) {
  if (library_ == nullptr) return absl::OkStatus();
  cublasLtMatmulPreference_t preference = nullptr;
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    return library_->set_preference(preference, attribute, &value, sizeof(value));
  };
  const auto find = [&](int32_t rows, Plan::Algorithm* algorithm) {
    cublasStatus_t status = plan->SetRows(rows);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;
    status = library_->find_algorithms(static_cast<cublasLtHandle_t>(handle_), plan->operation,
                                       plan->weight_layout, plan->x_layout, plan->out_layout,
                                       plan->out_layout, preference, 1, &result, &found);
    algorithm->there = status == CUBLAS_STATUS_SUCCESS && found > 0 &&
                       result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspaceBytes;
    algorithm->value = result.algo;
    return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE
               ? CUBLAS_STATUS_SUCCESS
               : status;
  };
  absl::Status status = api_->Do("choosing an algorithm", [&] {
    cublasStatus_t made = library_->create_preference(&preference);
    if (made != CUBLAS_STATUS_SUCCESS) return CudaErrorOf(made);
    const uint64_t workspace_bytes = kWorkspaceBytes;
    // Sums that are split over thread blocks are split by the number of rows.
    const uint32_t reductions =
        options_.batch_invariant ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_MASK;
    made = set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    if (made == CUBLAS_STATUS_SUCCESS) made = set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
    const auto weight_align = static_cast<uint32_t>(plan->shape.weight_align);
    const auto out_align = static_cast<uint32_t>(plan->shape.out_align);
    if (made == CUBLAS_STATUS_SUCCESS) made = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, weight_align);
    if (made == CUBLAS_STATUS_SUCCESS) made = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out_align);
    if (made == CUBLAS_STATUS_SUCCESS) made = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out_align);
    if (options_.batch_invariant) {
      if (made == CUBLAS_STATUS_SUCCESS) made = find(kInvariantRows, plan->algorithms.data());
      std::fill(plan->algorithms.begin() + 1, plan->algorithms.end(), plan->algorithms[0]);
      return CudaErrorOf(made);
    }
    for (size_t i = 0; i < plan->bucket_rows.size() && made == CUBLAS_STATUS_SUCCESS; ++i) {
      made = find(plan->bucket_rows[i], &plan->algorithms[i]);
    }
    return CudaErrorOf(made);
  });
  if (preference != nullptr) library_->destroy_preference(preference);
  return status;
}

absl::StatusOr<int> Matmul::Prepare(const MatmulShape& shape, const LaunchContext& context, const void* x,
                                    const void* weight, void* out) {
  for (size_t i = 0; i < plans_.size(); ++i) {
    if (plans_[i]->shape == shape) return static_cast<int>(i);
  }
  auto plan = std::make_unique<Plan>(library_);
  TSR_RETURN_IF_ERROR(MakePlan(shape, plan.get()));
  TSR_RETURN_IF_ERROR(FindAlgorithms(plan.get()));
  for (size_t bucket = 0; bucket < plan->bucket_rows.size(); ++bucket) {
    const int32_t rows = plan->bucket_rows[bucket];
    bool refused = !plan->algorithms[bucket].there;
    if (!refused) TSR_RETURN_IF_ERROR(RunLibrary(*plan, bucket, context, x, weight, rows, out, &refused));
    if (!refused) continue;
    plan->algorithms[bucket].there = false;
    if (options_.batch_invariant) {  // one way for all row counts
      for (Plan::Algorithm& algorithm : plan->algorithms) algorithm.there = false;
    }
    TSR_RETURN_IF_ERROR(RunOwn(*plan, context, x, weight, rows, out));
  }
  plans_.push_back(std::move(plan));
  return static_cast<int>(plans_.size()) - 1;
}

absl::Status Matmul::RunLibrary(Plan& plan, size_t bucket, const LaunchContext& context, const void* x,
                                const void* weight, int32_t rows, void* out, bool* refused) {
  *refused = false;
  return api_->Do("a matrix product by cuBLASLt", [&] {
    const float alpha = 1.0f;
    const float beta = plan.shape.accumulate ? 1.0f : 0.0f;
    cublasStatus_t status = plan.SetRows(rows);
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = library_->matmul(static_cast<cublasLtHandle_t>(handle_), plan.operation, &alpha, weight,
                                plan.weight_layout, x, plan.x_layout, &beta, out, plan.out_layout, out,
                                plan.out_layout, &plan.algorithms[bucket].value, workspace_, kWorkspaceBytes,
                                context.stream);
    }
    *refused = status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;
    return *refused ? cudaSuccess : CudaErrorOf(status);
  });
}

absl::Status Matmul::RunOwn(const Plan& plan, const LaunchContext& context, const void* x, const void* weight,
                            int32_t rows, void* out) {
  GemmArgs args;
  args.x = x;
  args.weight = weight;
  args.rows = rows;
  args.outputs = plan.shape.outputs;
  args.columns = plan.shape.columns;
  args.out = out;
  args.out_stride = plan.shape.out_stride;
  args.accumulate = plan.shape.accumulate;
  return api_->Do("a matrix product",
                  [&] { return LaunchGemm(context, plan.shape.type, plan.shape.out_type, args); });
}

absl::Status Matmul::Run(int shape, const LaunchContext& context, const void* x, const void* weight,
                         int32_t rows, void* out) {
  Plan& plan = *plans_[static_cast<size_t>(shape)];
  const size_t bucket = static_cast<size_t>(
      std::lower_bound(plan.bucket_rows.begin(), plan.bucket_rows.end(), rows) - plan.bucket_rows.begin());
  if (bucket == plan.bucket_rows.size()) {
    return Internal("matrix product", absl::StrCat("it was not planned for ", rows, " rows"));
  }
  if (plan.algorithms[bucket].there) {
    bool refused = false;
    TSR_RETURN_IF_ERROR(RunLibrary(plan, bucket, context, x, weight, rows, out, &refused));
    if (!refused) return absl::OkStatus();
  }
  return RunOwn(plan, context, x, weight, rows, out);
}

int Matmul::planned(int shape) const {
  int count = 0;
  for (const Plan::Algorithm& algorithm : plans_[static_cast<size_t>(shape)]->algorithms) {
    count += algorithm.there ? 1 : 0;
  }
  return count;
}

}  // namespace tessera::gpu
