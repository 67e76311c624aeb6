// A model as the C table of a device describes it, put back together: a spec, and its weights as a residency,
// for a backend to compute with.
#ifndef TESSERA_TESTS_DOUBLES_DESCRIBED_MODEL_H_
#define TESSERA_TESTS_DOUBLES_DESCRIBED_MODEL_H_

#include <vector>

#include "core/device/device_module.h"
#include "core/offload/residency.h"

namespace tessera {

class DescribedModel final : public Residency {
 public:
  explicit DescribedModel(const tsr_device_model& model);
  const ModelSpec& spec() const { return spec_; }
  absl::StatusOr<WeightView> Acquire(TensorId tensor) const override {
    return tensor == kNoTensor ? WeightView{} : views_[static_cast<size_t>(tensor)];
  }
  void Release(TensorId) const noexcept override {}

 private:
  TensorId Add(const tsr_device_weight& weight);
  void AddLayer(const tsr_device_layer& from, int32_t index);

  ModelSpec spec_;
  std::vector<WeightView> views_;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_DESCRIBED_MODEL_H_
