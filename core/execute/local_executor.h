// Steps on one context: computed within Run, region by region, or put into a device's stream and awaited.
#ifndef TESSERA_CORE_EXECUTE_LOCAL_EXECUTOR_H_
#define TESSERA_CORE_EXECUTE_LOCAL_EXECUTOR_H_

#include <memory>
#include <vector>

#include "core/execute/executor.h"

namespace tessera {

class LocalExecutor final : public Executor {
 public:
  // `spec` and `weights` outlive the executor.
  LocalExecutor(const ModelSpec* spec, const Residency* weights, std::unique_ptr<BackendContext> context);

  int32_t depth() const noexcept override { return context_->depth(); }
  bool resolves_slots() const noexcept override { return depth() > 1; }
  // What a device has in its stream it will do.
  bool may_drop() const noexcept override { return depth() == 1; }
  absl::Status Begin(const StepView* step) noexcept override;
  absl::StatusOr<bool> Run(StopCondition& condition) noexcept override;
  void Drop() noexcept override;
  void Rest() noexcept override;
  bool lost() const noexcept override { return context_->lost(); }
  size_t scratch_bytes() const noexcept override { return context_->scratch_bytes(); }
  DeviceTimes times() const noexcept override { return context_->times(); }

 private:
  // Executes the regions of what is begun: true when all are.
  bool Execute(StopCondition& condition) noexcept;

  struct Step {
    const StepView* view = nullptr;
    absl::Status status;  // of its regions
  };

  std::unique_ptr<BackendContext> context_;
  RegionLoop loop_;
  std::vector<Step> steps_;  // begun, the oldest first; at most depth()
  size_t executed_ = 0;      // of these, whose regions are all executed
  bool looping_ = false;     // the loop is within the one after those
  bool awake_ = false;
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_LOCAL_EXECUTOR_H_
