#include "core/device/device_backend.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"
#include "core/device/convert.h"
#include "core/device/device_context.h"
#include "core/device/device_model.h"
#include "core/device/device_module_loader.h"
#include "core/env/threads.h"
#include "core/execute/step_check.h"

namespace tessera {
namespace {

constexpr size_t kAlignment = 256;  // what vector loads and bulk copies of any width are content with
// One thread's copying is slower than a device's bus; more than these wait for it.
constexpr int32_t kMostPackThreads = 8;

absl::Status CheckDeviceLimits(const ModelSpec& spec, const BackendLimits& limits) {
  TSR_RETURN_IF_ERROR(CheckLimits(spec, limits));
  if (limits.cache_type != CacheType::kF32) return absl::OkStatus();
  return Unsupported("setting 'engine.cache_type'",
                     "a device keeps keys and values as bf16, f16 or int8, not as f32");
}

class DeviceBackend final : public Backend {
 public:
  DeviceBackend(const tsr_device_functions* functions, std::shared_ptr<Device> device)
      : functions_(functions), device_(std::move(device)) {}

  const char* name() const override { return functions_->kind; }
  std::shared_ptr<MemorySource> memory() const override {
    if (device_ == nullptr) return nullptr;
    return std::shared_ptr<MemorySource>(device_, device_->memory());
  }
  bool in_host_memory() const override { return false; }

  TensorType PackedType(TensorType type, int64_t rows) const override { return DeviceType(type, rows); }
  size_t PackedBytes(TensorType type, int64_t rows, int64_t columns) const override {
    return static_cast<size_t>(rows) * static_cast<size_t>(columns) * ElementBytes(DeviceType(type, rows));
  }
  size_t PackAlignment() const override { return kAlignment; }
  int64_t PackRows() const override { return 1; }
  int32_t PackThreads() const override { return std::min<int32_t>(GrantedThreads(), kMostPackThreads); }

  absl::Status Pack(TensorType type, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
                    const void* source, void* packed) const override {
    const TensorType to = DeviceType(type, rows);
    const int64_t block = InfoOf(type).block_elements;
    const int64_t piece_elements =
        static_cast<int64_t>(device_->piece_bytes() / ElementBytes(to)) / block * block;
    if (piece_elements == 0) return Internal(name(), "its upload pieces hold no block of weights");
    const auto* const from = static_cast<const uint8_t*>(source);
    auto* const target =
        static_cast<uint8_t*>(packed) + static_cast<size_t>(first_row * columns) * ElementBytes(to);
    const int64_t total = row_count * columns;
    for (int64_t done = 0; done < total; done += piece_elements) {
      const int64_t count = std::min(piece_elements, total - done);
      TSR_ASSIGN_OR_RETURN(void* const piece, device_->BeginUpload());
      ConvertElements(type, from + RowBytes(type, static_cast<uint64_t>(done)), count, to, piece);
      TSR_RETURN_IF_ERROR(device_->EndUpload(piece, target + static_cast<size_t>(done) * ElementBytes(to),
                                             static_cast<size_t>(count) * ElementBytes(to)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<void*> BorrowStage(TensorType type, int64_t rows, size_t source_bytes) const override {
    if (DeviceType(type, rows) != type || source_bytes > device_->piece_bytes()) return nullptr;
    return device_->BeginUpload();
  }
  absl::Status PackStage(TensorType type, int64_t, int64_t columns, int64_t first_row, int64_t row_count,
                         void* stage, void* packed) const override {
    const size_t row_bytes = static_cast<size_t>(columns) * ElementBytes(type);
    return device_->EndUpload(stage,
                              static_cast<uint8_t*>(packed) + static_cast<size_t>(first_row) * row_bytes,
                              static_cast<size_t>(row_count) * row_bytes);
  }
  void ReturnStage(void* stage) const noexcept override {
    (void)device_->EndUpload(stage, nullptr, 0);  // only an upload's own failure could be told here
  }
  absl::Status FinishPacking() const override { return device_->WaitUploads(); }

  CacheType PreferredCacheType(const ModelSpec& spec) const override {
    if (spec.layers.empty()) return CacheType::kBF16;
    const TensorSpec& query = spec.tensors[static_cast<size_t>(spec.layers.front().query)];
    return DeviceType(query.type, query.rows) == TensorType::kF16 ? CacheType::kF16 : CacheType::kBF16;
  }

  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec& spec,
                                            const BackendLimits& limits) const override {
    TSR_RETURN_IF_ERROR(CheckDeviceLimits(spec, limits));
    TSR_ASSIGN_OR_RETURN(const DeviceModel model, DeviceModel::Create(spec, nullptr));
    const tsr_device_limits wanted = DeviceLimits(limits, kDeviceDepth);
    tsr_device_context_memory memory = {};
    memory.struct_size = sizeof(memory);
    tsr_device_failure failure = {};
    if (functions_->plan_context(&model.get(), &wanted, &memory, &failure) != 0) return StatusOf(failure);
    ContextMemory planned;
    planned.scratch_bytes = static_cast<size_t>(memory.device_bytes);
    planned.pinned_bytes = static_cast<size_t>(memory.pinned_bytes);
    planned.object_bytes = static_cast<size_t>(memory.object_bytes);
    return planned;
  }

  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                const BackendLimits& limits,
                                                                const Residency* weights,
                                                                MemorySource*) const override {
    TSR_ASSIGN_OR_RETURN(const ContextMemory memory, PlanContext(spec, limits));
    if (device_ == nullptr || weights == nullptr) {
      return Internal(name(), "a context needs an open device and weights");
    }
    return DeviceContext::Create(device_, spec, limits, *weights, memory.scratch_bytes);
  }

 private:
  const tsr_device_functions* const functions_;
  const std::shared_ptr<Device> device_;  // null: only plans
};

}  // namespace

std::unique_ptr<Backend> MakeDeviceBackend(std::shared_ptr<Device> device) {
  const tsr_device_functions* const functions = &device->functions();
  return std::make_unique<DeviceBackend>(functions, std::move(device));
}

std::unique_ptr<Backend> MakeDevicePlanner(const tsr_device_functions* functions) {
  return std::make_unique<DeviceBackend>(functions, nullptr);
}

}  // namespace tessera
