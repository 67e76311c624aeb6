// The leader of a group of ranks: it tells every rank each step, does its own part, and hears what the last
// stage has sampled. As many steps are in flight as there are stages (the inference schedule of DeepSpeed
// Inference, section IV: a micro-batch goes in for its next token the moment the last stage emits the one
// before).
#ifndef TESSERA_CORE_RANKS_RANK_EXECUTOR_H_
#define TESSERA_CORE_RANKS_RANK_EXECUTOR_H_

#include <memory>
#include <vector>

#include "core/execute/executor.h"
#include "core/ranks/rank_follower.h"
#include "core/ranks/rank_stage.h"

namespace tessera {

class RankExecutor final : public Executor {
 public:
  explicit RankExecutor(RankParts parts);
  ~RankExecutor() override { Close(); }

  // The followers come to their end, and nothing else can be done here. Once is enough.
  void Close() noexcept;

  int32_t depth() const noexcept override { return layout_.pipeline; }
  // In a pipeline later stages may have it already.
  bool may_drop() const noexcept override { return layout_.pipeline == 1; }
  absl::Status Begin(const StepView* step) noexcept override;
  absl::StatusOr<bool> Run(StopCondition& condition) noexcept override;
  void Drop() noexcept override;
  void Rest() noexcept override { stage_.context().EndStep(); }
  bool lost() const noexcept override { return lost_; }
  size_t scratch_bytes() const noexcept override;

 private:
  struct Step {
    const StepView* view;
    uint64_t number;       // 0: not told yet
    absl::Status outcome;  // of this rank's part
  };

  absl::Status Tell(RecordKind kind, absl::Span<const uint8_t> record) noexcept;
  absl::Status TellStep(Step* step) noexcept;
  absl::StatusOr<bool> RunOwnParts(StopCondition& condition) noexcept;
  absl::Status ReceiveResults(const Step& step) noexcept;
  absl::Status Lose(absl::Status why) noexcept;

  const RankLayout layout_;
  const std::shared_ptr<const RankShard> shard_;
  const RecordLimits limits_;
  const std::unique_ptr<Communicator> world_, stages_, tensor_;
  RankStage stage_;
  std::vector<uint8_t> record_, results_;
  std::vector<Step> steps_;  // begun, the oldest first; at most depth()
  size_t ran_ = 0;           // of these, whose part here is over
  bool running_ = false;     // the part of the one after those is begun
  uint64_t number_ = 0;      // of the last step begun
  bool dropping_ = false;
  bool lost_ = false;
  bool closed_ = false;
};

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RANK_EXECUTOR_H_
