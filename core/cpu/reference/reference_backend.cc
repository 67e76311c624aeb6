#include "core/cpu/reference/reference_backend.h"

#include <cstring>
#include <new>

#include "core/base/status.h"
#include "core/cpu/reference/reference_context.h"
#include "core/execute/step_check.h"

namespace tessera {
namespace {

class ReferenceBackend final : public Backend {
 public:
  const char* name() const override { return "reference"; }

  size_t PackedBytes(TensorType type, int64_t rows, int64_t columns) const override {
    return static_cast<size_t>(rows) * RowBytes(type, static_cast<uint64_t>(columns));
  }
  int64_t PackRows() const override { return 1; }
  absl::Status Pack(TensorType type, int64_t, int64_t columns, int64_t first_row, int64_t row_count,
                    const void* source, void* packed) const override {
    const size_t row_bytes = RowBytes(type, static_cast<uint64_t>(columns));
    if (row_count == 0) return absl::OkStatus();
    std::memcpy(static_cast<uint8_t*>(packed) + static_cast<size_t>(first_row) * row_bytes, source,
                static_cast<size_t>(row_count) * row_bytes);
    return absl::OkStatus();
  }

  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec& spec,
                                            const BackendLimits& limits) const override {
    TSR_RETURN_IF_ERROR(CheckLimits(spec, limits));
    return ContextMemory{ReferenceSizes(spec, limits).bytes(), Sampler::HeapBytes(spec.vocabulary_size)};
  }
  // Its arrays are ordinary vectors, not regions of `memory`.
  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                const BackendLimits& limits, const Residency*,
                                                                MemorySource*) const override {
    TSR_RETURN_IF_ERROR(CheckLimits(spec, limits));
    if (spec.part.ranks != 1) {
      return Unsupported("reference backend", "its ranks cannot share a layer; use the CPU backend");
    }
    return std::unique_ptr<BackendContext>(std::make_unique<ReferenceContext>(spec, limits));
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace tessera
