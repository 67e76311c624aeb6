// A model and an engine's limits as a device's module is told of them. Knows no engine.
#ifndef TESSERA_CORE_DEVICE_DEVICE_MODEL_H_
#define TESSERA_CORE_DEVICE_DEVICE_MODEL_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/device/device_module.h"
#include "core/execute/backend.h"
#include "core/offload/residency.h"

namespace tessera {

// The type that a device holds a tensor in: vectors F32; matrices F16 where the file has F16, else BF16.
TensorType DeviceType(TensorType type, int64_t rows);

// The description, and the weights that it holds until it goes. Its pointers stay valid when it moves.
class DeviceModel {
 public:
  // `spec` and `weights` outlive it. weights null: shapes alone, for plans. kUnsupported for a rank's part.
  static absl::StatusOr<DeviceModel> Create(const ModelSpec& spec, const Residency* weights);
  DeviceModel(DeviceModel&& other) = default;
  DeviceModel& operator=(DeviceModel&&) = delete;
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;
  ~DeviceModel();

  const tsr_device_model& get() const { return model_; }

 private:
  DeviceModel(const ModelSpec& spec, const Residency* weights) : spec_(&spec), weights_(weights) {}
  absl::Status Fill();
  absl::Status Take(TensorId tensor, tsr_device_weight* weight);

  const ModelSpec* spec_;
  const Residency* weights_;
  std::vector<TensorId> held_;
  std::vector<tsr_device_layer> layers_;
  tsr_device_model model_ = {};
};

// `depth`: steps in flight.
tsr_device_limits DeviceLimits(const BackendLimits& limits, int32_t depth);

}  // namespace tessera

#endif  // TESSERA_CORE_DEVICE_DEVICE_MODEL_H_
