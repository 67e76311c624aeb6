// The one loop over the region list. It can be left at any stop point and gone on with later, which is how a
// host's time budget, a cancel and a close end a batch in the middle. Where several ranks share the layers,
// each has a loop of its own, and they meet in the regions that exchange.
#ifndef TESSERA_CORE_EXECUTE_LOOP_H_
#define TESSERA_CORE_EXECUTE_LOOP_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/execute/backend.h"
#include "core/offload/residency.h"
#include "core/parallel/communicator.h"

namespace tessera {

// ShouldStop is asked at each stop point: between regions, and within one when ShouldPause said that asking
// is worth while. ShouldPause comes from any of the backend's threads and only looks; it never waits.
class StopCondition : public PauseSource {
 public:
  virtual bool ShouldStop() noexcept = 0;
  bool ShouldPause() noexcept override { return false; }
};

class NeverStop final : public StopCondition {
 public:
  bool ShouldStop() noexcept override { return false; }
};

class RegionLoop {
 public:
  // All of them outlive the loop. `ranks` joins those that share the layers; null where there is one.
  RegionLoop(const ModelSpec* spec, const Residency* weights, BackendContext* context,
             Communicator* ranks = nullptr);

  // Points the loop at a step's first region. `step` stays valid until the loop is done or begun anew. The
  // step's exchanges are tagged from `first` on, one operation each.
  void Begin(const StepView* step, const CollectiveTag& first = {}) noexcept;
  // Runs until the last region is done (true) or the condition asks to stop (false), between regions or,
  // where the backend can be left there, within one. Something is computed in each call.
  //
  // Among ranks, a step ends for all in the same exchange: a rank that cannot go on brings kFailed to its
  // next one and returns its error; the others return kLost, or kCancelled where one has abandoned the step.
  // The group can go on with another step, unless the exchange itself failed. An error after the step's last
  // exchange is the rank's own: the vote before commit is for that.
  absl::StatusOr<bool> Run(StopCondition& condition);
  // Ends a step that Run has left: the other ranks leave theirs too. An error is the exchange's own.
  absl::Status Abandon() noexcept;
  // The step ended in an exchange, for all ranks at once.
  bool left_together() const { return ended_; }
  // An exchange itself failed: the group is gone.
  bool lost() const { return lost_; }

  const std::vector<Region>& regions() const { return regions_; }

 private:
  absl::StatusOr<bool> RunRegions(StopCondition& condition);
  absl::StatusOr<bool> RunRegion(const Region& region, StopCondition& condition);
  void Enter(size_t region) noexcept;
  size_t Claimed() const noexcept;
  // The gravest signal among the ranks; but for kGo the step is at its end.
  absl::StatusOr<RankSignal> Exchange(RankSignal signal, absl::Span<const uint8_t> mine) noexcept;
  absl::Status Meet(const Region& region);
  bool exchanges_left() const { return ranks_ != nullptr && !ended_ && exchanged_ < exchanges_; }

  const ModelSpec* spec_;
  const Residency* weights_;
  BackendContext* context_;
  std::vector<Region> regions_;
  const StepView* step_ = nullptr;
  bool copied_ = false;  // the step's block copies are done
  size_t next_ = 0;
  RegionProgress progress_;  // of the region next_

  Communicator* ranks_;
  std::vector<absl::Span<const uint8_t>> incoming_;  // [ranks]
  int32_t exchanges_ = 0;                            // of a step
  int32_t exchanged_ = 0;                            // of this step
  bool met_ = false;                                 // in the region next_
  bool ended_ = false;                               // by an exchange
  bool lost_ = false;                                // in an exchange
  uint32_t turns_ = 0;                               // exchanges of all steps
  CollectiveTag tag_;                                // of the next exchange
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_LOOP_H_
