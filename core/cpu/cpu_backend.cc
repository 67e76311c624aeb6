#include "core/cpu/cpu_backend.h"

#include "core/base/checked.h"
#include "core/base/status.h"
#include "core/cpu/cpu_context.h"

namespace tessera {
namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuBackendOptions& options) : options_(options) {}

  const char* name() const override { return "cpu"; }
  const char* arithmetic() const override {
    return options_.activations == cpu::ActivationMode::kInt8 ? "cpu, int8 activations"
                                                              : "cpu, f32 activations";
  }

  size_t PackedBytes(TensorType type, int64_t rows, int64_t columns) const override {
    if (rows == 1) return AlignUp(static_cast<uint64_t>(columns) * sizeof(float), 64);
    return cpu::PackedLinearBytes(type, rows, columns);
  }

  int64_t PackRows() const override { return cpu::kPackRows; }

  absl::Status Pack(TensorType type, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
                    const void* source, void* packed) const override {
    if (row_count == 0) return absl::OkStatus();
    if (rows == 1) {
      cpu::DequantizeReference(type, source, columns, static_cast<float*>(packed));
    } else {
      cpu::PackLinear(type, rows, columns, first_row, row_count, source, packed);
    }
    return absl::OkStatus();
  }

  // Rows are cut at tiles; of some columns, leaves are found in the whole tile.
  absl::StatusOr<WeightView> Slice(const WeightView& whole, const SliceOf& slice) const override {
    WeightView view = whole;
    view.rows = slice.rows;
    view.columns = slice.columns;
    const auto* const data = static_cast<const uint8_t*>(whole.data);
    if (whole.rows == 1) {
      view.data = data + static_cast<size_t>(slice.first_column) * sizeof(float);
      return view;
    }
    if (slice.first_row % cpu::kPackRows != 0) {
      return Unsupported("backend 'cpu'",
                         absl::StrCat("rows of a whole model are shared in runs of ", cpu::kPackRows,
                                      "; this division would begin at row ", slice.first_row));
    }
    const size_t tile_bytes = cpu::PackedLinearBytes(whole.type, cpu::kPackRows, whole.columns);
    view.data = data + static_cast<size_t>(slice.first_row / cpu::kPackRows) * tile_bytes;
    if (slice.columns != whole.columns) {
      view.stored_columns = whole.columns;
      view.first_column = slice.first_column;
    }
    return view;
  }

  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec& spec,
                                            const BackendLimits& limits) const override {
    return PlanCpuContext(options_, spec, limits);
  }

  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                const BackendLimits& limits, const Residency*,
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
