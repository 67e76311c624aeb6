// The driver of steps: one engine's working memory on a device, and the steps that it has in flight.
#ifndef TESSERA_GPU_GRAPH_STEP_CONTEXT_H_
#define TESSERA_GPU_GRAPH_STEP_CONTEXT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device/device_module.h"
#include "gpu/device/device.h"
#include "gpu/graph/regions.h"
#include "gpu/graph/step_packet.h"
#include "gpu/graph/step_run.h"

namespace tessera::gpu {

// What a context would take. The weights need not be there. May throw std::bad_alloc.
absl::Status PlanStepContext(const tsr_device_model& model, const tsr_device_limits& limits,
                             tsr_device_context_memory* memory);

// Everything but Plan and Create: one thread at a time, within a ContextScope of the device.
class StepContext {
 public:
  // `device` outlives it. May throw std::bad_alloc.
  static absl::StatusOr<std::unique_ptr<StepContext>> Create(Device* device, const tsr_device_model& model,
                                                             const tsr_device_limits& limits);
  ~StepContext();  // waits for what is in flight
  StepContext(const StepContext&) = delete;
  StepContext& operator=(const StepContext&) = delete;

  Device* device() const { return device_; }
  // Captures the graphs, which hold the caches' addresses. May throw std::bad_alloc. After an error no step
  // can be run until it has succeeded.
  absl::Status SetCaches(const tsr_device_cache* caches, int32_t count);

  // From here on nothing allocates.
  // After an error nothing of the step is on its way any more, and those before it have ended: what they
  // computed stands, and they are finished as always.
  absl::Status RunStep(const tsr_device_step& step);
  absl::Status FinishStep(int64_t timeout_ns, bool* done);
  void AbandonSteps();
  const tsr_device_times& times() const { return times_; }

 private:
  // The host's side of a step in flight.
  struct Slot {
    std::chrono::steady_clock::time_point begun;  // when it was run
    MappedMemory memory;
    cudaEvent_t ended = nullptr;
    RegionMarks marks;                     // where regions are timed
    tsr_device_sample* samples = nullptr;  // the caller's
    int32_t sample_count = 0;
    int32_t staged_logits = 0;  // of how many samples logits lie in the slot
    bool behind = false;        // it was put behind a step in flight
    bool marked = false;
  };

  StepContext(Device* device, const tsr_device_limits& limits);
  absl::Status Prepare(const tsr_device_model& model, const tsr_device_limits& limits);
  absl::Status MakeSlots();
  absl::Status MakeRotaryTable();
  absl::Status DryRun();
  absl::Status CheckCache(const tsr_device_layer& layer, const tsr_device_cache& cache) const;
  CacheLayout LayoutOf(const tsr_device_layer& layer, const tsr_device_cache& cache) const;

  absl::Status Enqueue(const tsr_device_step& step, Slot* slot);
  absl::Status EnqueueStepRegions(const RegionCall& call, const StepGraphs::Graph* graph, Slot* slot);
  absl::Status Unpack(const StepInput& input, const StepCover& cover, Slot* slot);
  absl::Status CopyBlocks(const PackedStep& packed);
  absl::Status EnqueueLogits(const tsr_device_step& step, Slot* slot);
  absl::Status TakeLogitsNow(const tsr_device_step& step, Slot* slot);
  void RememberTokens(const Slot& slot);
  void TakeResults(Slot* slot);
  void TakeTimes(const Slot& slot);
  LaunchContext launch() const { return {stream_, context_.sm_count, context_.overlap}; }
  Slot& SlotAt(int32_t in_flight) { return slots_[static_cast<size_t>((first_ + in_flight) % depth_)]; }
  DeviceApi& api() const { return device_->api(); }

  Device* const device_;
  const int32_t depth_;
  const bool uses_graphs_;
  const bool times_regions_;
  const bool uses_library_;
  const int32_t cache_type_;
  DeviceMemory scratch_;
  DeviceMemory pinned_;
  cudaStream_t stream_ = nullptr;
  bool owns_stream_ = false;
  cudaEvent_t turn_ended_ = nullptr;  // behind the latest step with chains
  RegionContext context_;
  std::unique_ptr<StepGraphs> graphs_;
  bool ready_ = false;  // caches are set
  std::vector<tsr_device_cache> cache_groups_;

  std::vector<Slot> slots_;  // [depth]
  int32_t first_ = 0;        // slot of the oldest step in flight
  int32_t in_flight_ = 0;
  // Tokens of the step before the next one, as far as the host knows them.
  std::vector<int32_t> known_tokens_;               // [samples]
  int32_t earlier_samples_ = 0;                     // of the step before the next one
  bool device_knows_tokens_ = true;                 // false: a failed step may have overwritten them there
  uint64_t last_ended_ns_ = 0;                      // by the device's clock
  std::chrono::steady_clock::time_point last_end_;  // of a step, as it was noticed
  std::chrono::nanoseconds last_took_{0};
  tsr_device_times times_ = {};
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_STEP_CONTEXT_H_
