// A model as a context keeps it: the table's description, copied and checked. Its weights stay the host's.
#ifndef TESSERA_GPU_GRAPH_DEVICE_MODEL_H_
#define TESSERA_GPU_GRAPH_DEVICE_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device/device_module.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

// More than any model that can be described has.
inline constexpr int32_t kMostCacheGroups = 16;

struct DeviceModel {
  tsr_device_model description = {};     // its pointers lead into the vectors below
  std::vector<tsr_device_layer> layers;  // [layer_count]
  std::vector<float> inverse_frequencies;

  ElementType type = ElementType::kBF16;  // of the layers' matrices, and of activations
  ElementType embedding_type = ElementType::kBF16;
  ElementType head_type = ElementType::kBF16;
  // The widest of any layer.
  int64_t query_columns = 0;  // heads * head_size
  int64_t qkv_columns = 0;    // with keys and values

  DeviceModel() = default;
  DeviceModel(DeviceModel&&) = default;
  DeviceModel& operator=(DeviceModel&&) = default;
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  // Shapes and types only; data may be absent. kUnsupported names the weight that these kernels cannot use.
  // May throw std::bad_alloc.
  static absl::StatusOr<DeviceModel> Copy(const tsr_device_model& model);
  // Every weight that the model must have is there.
  absl::Status CheckWeightsAreThere() const;
};

// Of one layer: [query rows, then key rows, then value rows].
inline int64_t QueryColumns(const tsr_device_layer& layer) {
  return static_cast<int64_t>(layer.heads) * layer.head_size;
}
inline int64_t KeyColumns(const tsr_device_layer& layer) {
  return static_cast<int64_t>(layer.kv_heads) * layer.head_size;
}
inline int64_t QkvColumns(const tsr_device_layer& layer) {
  return QueryColumns(layer) + 2 * KeyColumns(layer);
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_DEVICE_MODEL_H_
