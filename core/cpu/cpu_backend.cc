#include "core/cpu/cpu_backend.h"

#include "core/base/checked.h"
#include "core/cpu/cpu_context.h"

namespace tessera {
namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuBackendOptions& options) : options_(options) {}

  const char* name() const override { return "cpu"; }

  size_t PackedBytes(TensorType type, int64_t rows, int64_t columns) const override {
    if (rows == 1) return AlignUp(static_cast<uint64_t>(columns) * sizeof(float), 64);
    return cpu::PackedLinearBytes(type, rows, columns);
  }

  int64_t PackRows() const override { return cpu::kPackRows; }

  void Pack(TensorType type, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
            const void* source, void* packed) const override {
    if (row_count == 0) return;
    if (rows == 1) {
      cpu::DequantizeReference(type, source, columns, static_cast<float*>(packed));
      return;
    }
    cpu::PackLinear(type, rows, columns, first_row, row_count, source, packed);
  }

  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec& spec,
                                            const BackendLimits& limits) const override {
    return PlanCpuContext(options_, spec, limits);
  }

  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                const BackendLimits& limits,
                                                                MemorySource* memory) const override {
    return CreateCpuContext(options_, spec, limits, memory);
  }

 private:
  const CpuBackendOptions options_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const CpuBackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace tessera
