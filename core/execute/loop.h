// The one loop over the region list. It can be left at any stop point and gone on with later, which is how a
// host's time budget, a cancel and a close end a batch in the middle.
#ifndef TESSERA_CORE_EXECUTE_LOOP_H_
#define TESSERA_CORE_EXECUTE_LOOP_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/execute/backend.h"
#include "core/offload/residency.h"

namespace tessera {

// ShouldStop is asked at each stop point: between regions, and within one when ShouldPause said that asking
// is worth while. ShouldPause comes from any of the backend's threads and only looks; it never waits.
class StopCondition : public PauseSource {
 public:
  virtual bool ShouldStop() noexcept = 0;
  bool ShouldPause() noexcept override { return false; }
};

class RegionLoop {
 public:
  // All of them outlive the loop.
  RegionLoop(const ModelSpec* spec, const Residency* weights, BackendContext* context);

  // Points the loop at a step's first region. `step` stays valid until the loop is done or begun anew.
  void Begin(const StepView* step) noexcept;
  // Runs until the last region is done (true) or the condition asks to stop (false), between regions or,
  // where the backend can be left there, within one. Something is computed in each call.
  absl::StatusOr<bool> Run(StopCondition& condition);

  const std::vector<Region>& regions() const { return regions_; }

 private:
  absl::StatusOr<bool> RunRegion(const Region& region, StopCondition& condition);

  const ModelSpec* spec_;
  const Residency* weights_;
  BackendContext* context_;
  std::vector<Region> regions_;
  const StepView* step_ = nullptr;
  size_t next_ = 0;
  RegionProgress progress_;  // of the region next_
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_LOOP_H_
