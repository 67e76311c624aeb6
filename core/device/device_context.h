// One engine's steps on a device: each is handed over whole, before its first region, and finished later.
// Allocates when it is made, and never again.
#ifndef TESSERA_CORE_DEVICE_DEVICE_CONTEXT_H_
#define TESSERA_CORE_DEVICE_DEVICE_CONTEXT_H_

#include <memory>
#include <vector>

#include "core/device/device.h"
#include "core/device/device_model.h"
#include "core/execute/backend.h"

namespace tessera {

inline constexpr int32_t kDeviceDepth = 2;  // one step runs, the next is ready behind it

class DeviceContext final : public BackendContext {
 public:
  // `spec` and `weights` outlive it.
  static absl::StatusOr<std::unique_ptr<BackendContext>> Create(std::shared_ptr<Device> device,
                                                                const ModelSpec& spec,
                                                                const BackendLimits& limits,
                                                                const Residency& weights,
                                                                size_t scratch_bytes);
  ~DeviceContext() override;

  int32_t Claim(absl::Span<const Region> regions) const noexcept override {
    return static_cast<int32_t>(regions.size());
  }
  absl::Status Execute(const Region& region, const RegionWeights& weights,
                       const StepView& step) noexcept override;
  // Part of the step.
  absl::Status CopyBlocks(const StepView&) noexcept override { return absl::OkStatus(); }
  int32_t depth() const noexcept override { return kDeviceDepth; }
  absl::StatusOr<bool> FinishStep(PauseSource& pause) noexcept override;
  bool lost() const noexcept override { return lost_; }
  void AbandonSteps() noexcept override;
  size_t scratch_bytes() const noexcept override { return scratch_bytes_; }
  DeviceTimes times() const noexcept override { return times_; }

 private:
  struct Flight {
    const StepView* step = nullptr;
    std::vector<tsr_device_sample> samples;  // [max_samples]
  };

  DeviceContext(std::shared_ptr<Device> device, const ModelSpec& spec, const BackendLimits& limits,
                DeviceModel model, size_t scratch_bytes);
  absl::Status Check(const StepView& step) const;
  absl::Status Submit(const StepView& step);
  absl::Status SetCaches(const CacheView* caches);
  void FillSequences(const StepView& step) noexcept;
  void FillTokens(const StepView& step) noexcept;
  void FillSamples(const StepView& step, Flight& flight) noexcept;
  static void TakeResults(const Flight& flight) noexcept;
  void TakeTimes() noexcept;
  absl::Status Failed();  // what failure_ says
  Flight& flight(int32_t index) { return flights_[(first_ + index) % kDeviceDepth]; }

  const std::shared_ptr<Device> device_;
  const tsr_device_functions& functions_;
  const ModelSpec& spec_;
  const BackendLimits limits_;
  const DeviceModel model_;  // holds the weights
  const size_t scratch_bytes_;
  tsr_device_context* context_ = nullptr;

  std::vector<tsr_device_cache> caches_;        // [groups]
  std::vector<tsr_device_sequence> sequences_;  // [max_sequences]
  std::vector<tsr_device_copy> copies_;         // [max_sequences * groups]
  std::vector<int32_t> tokens_;                 // [max_rows]
  std::vector<int32_t> sources_;                // [max_rows]
  Flight flights_[kDeviceDepth];
  int32_t first_ = 0;           // the oldest flight
  int32_t in_flight_ = 0;       // steps
  int32_t samples_before_ = 0;  // of the step that was handed over last
  bool before_failed_ = false;  // the device never saw it
  bool caches_set_ = false;
  bool lost_ = false;
  tsr_device_failure failure_ = {};
  DeviceTimes times_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_DEVICE_DEVICE_CONTEXT_H_
