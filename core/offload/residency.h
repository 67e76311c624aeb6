// The seam between the loop and wherever weights lie. Results never depend on the implementation.
#ifndef TESSERA_CORE_OFFLOAD_RESIDENCY_H_
#define TESSERA_CORE_OFFLOAD_RESIDENCY_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/env/memory.h"
#include "core/model/model_spec.h"
#include "core/offload/weight_view.h"

namespace tessera {

class Residency {
 public:
  virtual ~Residency() = default;
  // A view that stays valid until Release of the same tensor. May wait, fail, be cancelled. kNoTensor gives a
  // null view. Any thread.
  virtual absl::StatusOr<WeightView> Acquire(TensorId tensor) const = 0;
  virtual void Release(TensorId tensor) const noexcept = 0;
};

// Every weight in one region of memory, for good.
class ResidentWeights : public Residency {
 public:
  // views[i] is tensor i of the spec and points into `memory`.
  ResidentWeights(MemoryRegion memory, std::vector<WeightView> views)
      : memory_(std::move(memory)), views_(std::move(views)) {}
  absl::StatusOr<WeightView> Acquire(TensorId tensor) const override {
    if (tensor == kNoTensor) return WeightView{};
    return views_[static_cast<size_t>(tensor)];
  }
  void Release(TensorId) const noexcept override {}
  size_t size_bytes() const { return memory_.size_bytes(); }

 private:
  MemoryRegion memory_;
  std::vector<WeightView> views_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_OFFLOAD_RESIDENCY_H_
