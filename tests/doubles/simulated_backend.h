// A backend that computes a pseudo-model made of hashes. Every position's state is written into the paged
// cache and the whole prefix is read back through the block tables, layer by layer, so that a wrong block, a
// wrong position, a stale or lost entry changes the next token. The same model without any cache is
// SimulatedModel: what tests compare with. Whatever a region may do to an engine (fail, take time, not return
// yet) a test arranges through Simulation.
#ifndef TESSERA_TESTS_DOUBLES_SIMULATED_BACKEND_H_
#define TESSERA_TESTS_DOUBLES_SIMULATED_BACKEND_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "core/execute/backend.h"
#include "tests/doubles/virtual_clock.h"

namespace tessera {

// The pseudo-model as a function of a whole sequence.
class SimulatedModel {
 public:
  explicit SimulatedModel(int32_t layers) : layers_(layers) {}

  // The state after the last of `tokens` (at least one): all that its logits depend on.
  uint64_t State(absl::Span<const int32_t> tokens) const;
  // The token that follows. `history` is what penalties would look at.
  int32_t NextToken(absl::Span<const int32_t> tokens, const SamplingParams& params,
                    absl::Span<const int32_t> history = {}) const;
  // `count` tokens after the prompt, greedily.
  std::vector<int32_t> Continue(std::vector<int32_t> prompt, size_t count) const;
  // [vocabulary] raw logits after the last of `tokens`.
  std::vector<float> Logits(absl::Span<const int32_t> tokens, int32_t vocabulary) const;

 private:
  int32_t layers_;
};

// What a test wants to happen in the regions, and what did happen. Any thread.
class Simulation {
 public:
  struct Call {
    int64_t step = 0;    // steps begun before this one; from 0
    int64_t region = 0;  // of its step; from 0
    RegionKind kind = RegionKind::kEmbed;
    const StepView* view = nullptr;
  };

  // Region `region` of step `step` fails; its work is done half: the cache holds rubbish for the step's rows.
  void FailAt(int64_t step, int64_t region, absl::Status status);
  // As FailAt, and the device is gone for good with it.
  void LoseAt(int64_t step, int64_t region);
  // Every region from now on takes so long on this clock.
  void TakeTime(VirtualClock* clock, int64_t region_ns);
  // Every region from now on is so many tasks, each of which takes the time above, and can be left between
  // them.
  void CutRegions(int64_t tasks) { tasks_a_region_.store(tasks); }
  // Contexts made from now on are a device that computes by itself, with so many steps in flight: a region is
  // only noted when it is executed, and computed when its step is finished.
  void RunAhead(int32_t depth) { depth_.store(depth); }
  // A sampled row whose last input token is this one has NaN among its logits.
  void FaultOn(int32_t input_token);
  // What the model says instead of `token` itself; called with the sample's position. -1: no change.
  void Override(std::function<int32_t(uint64_t position)> choose);
  // Called before each region, without a lock.
  void BeforeRegion(std::function<void(const Call&)> hook);

  // Region `region` of step `step` does not return until Release. WaitUntilHeld returns once it is entered.
  void HoldAt(int64_t step, int64_t region);
  // Of regions that are cut: the task-th one, from 0, counted over all steps; not a region's last.
  void HoldAtTask(int64_t task);
  void WaitUntilHeld();
  void Release();

  int64_t steps() const { return steps_.load(); }  // begun
  int64_t regions() const { return regions_.load(); }
  int64_t tasks() const { return tasks_.load(); }
  int64_t begin_steps() const { return begin_steps_.load(); }
  int64_t end_steps() const { return end_steps_.load(); }
  int64_t contexts() const { return contexts_.load(); }  // alive
  int64_t most_rows() const { return most_rows_.load(); }
  int64_t most_sequences() const { return most_sequences_.load(); }
  // Positions read from the cache that were not the ones expected there: each is a defect of the engine.
  int64_t wrong_positions() const { return wrong_positions_.load(); }

 private:
  friend class SimulatedContext;
  void TakeTask() noexcept;
  void Hold(std::unique_lock<std::mutex>& lock);
  absl::Status Enter(const Call& call) noexcept;
  bool Faults(int32_t input_token) const;
  int32_t Overridden(uint64_t position, int32_t token) const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<int64_t, int64_t>, absl::Status> failures_;  // by (step, region)
  std::pair<int64_t, int64_t> lose_at_ = {-1, -1};
  std::atomic<bool> lost_{false};
  std::set<int32_t> faults_;
  std::function<int32_t(uint64_t)> choose_;
  std::function<void(const Call&)> hook_;
  VirtualClock* clock_ = nullptr;
  int64_t region_ns_ = 0;
  std::pair<int64_t, int64_t> hold_at_ = {-1, -1};
  int64_t hold_at_task_ = -1;
  bool held_ = false;
  bool released_ = false;

  std::atomic<int32_t> depth_{1};
  std::atomic<int64_t> tasks_a_region_{1}, tasks_{0};
  std::atomic<int64_t> steps_{0}, regions_{0}, begin_steps_{0}, end_steps_{0}, contexts_{0};
  std::atomic<int64_t> most_rows_{0}, most_sequences_{0}, wrong_positions_{0};
};

class SimulatedBackend final : public Backend {
 public:
  explicit SimulatedBackend(std::shared_ptr<Simulation> simulation) : simulation_(std::move(simulation)) {}
  const char* name() const override { return "simulated"; }
  // Weights play no part.
  size_t PackedBytes(TensorType, int64_t, int64_t) const override { return 1; }
  int64_t PackRows() const override { return 1; }
  absl::Status Pack(TensorType, int64_t, int64_t, int64_t, int64_t, const void*, void*) const override {
    return absl::OkStatus();
  }
  // kUnsupported unless the cache is F32.
  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec& spec,
                                            const BackendLimits& limits) const override;
  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                const BackendLimits& limits,
                                                                const Residency* weights,
                                                                MemorySource* memory) const override;

 private:
  std::shared_ptr<Simulation> simulation_;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_SIMULATED_BACKEND_H_
