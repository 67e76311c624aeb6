// A rank that follows: it carries out what the leader tells it, in that order, until the leader closes. It
// decides nothing and reads no clock.
#ifndef TESSERA_CORE_RANKS_RANK_FOLLOWER_H_
#define TESSERA_CORE_RANKS_RANK_FOLLOWER_H_

#include <memory>
#include <mutex>
#include <vector>

#include "core/ranks/rank_stage.h"
#include "core/ranks/step_record.h"

namespace tessera {

// What one rank is made of.
struct RankParts {
  RankLayout layout;
  std::shared_ptr<const RankShard> shard;
  std::unique_ptr<BackendContext> context;
  // Records and results; hidden states from stage to stage, null where there is one stage; and the exchanges
  // of the ranks that share a stage, null where it has one. Messages keep their order within one communicator
  // only.
  std::unique_ptr<Communicator> world, stages, tensor;
  RecordLimits limits;
};

class RankFollower {
 public:
  // `caches`: this rank's part of every block, which outlive the follower; which blocks are whose only the
  // leader knows.
  RankFollower(RankParts parts, const CacheView* caches);

  // Until the leader closes: OK. kLost when a rank was lost or Abort was called; every other rank finds out.
  absl::Status Serve() noexcept;
  // Any thread, any number of times: Serve returns, and every other rank finds out. Nothing happens once the
  // leader has closed: ranks that have not heard of that yet would take it for a loss.
  void Abort() noexcept;
  // Lets go of the other ranks. After Serve, or instead of it.
  void Leave() noexcept;
  size_t scratch_bytes() const noexcept;

 private:
  absl::Status ServeUntilClose();
  absl::Status ServeStep(uint64_t number, const RecordHead& head);
  absl::Status Report(uint64_t number);

  const RankLayout layout_;
  const std::shared_ptr<const RankShard> shard_;
  std::unique_ptr<Communicator> world_, stages_, tensor_;
  ReceivedStep step_;
  RankStage stage_;
  std::vector<uint8_t> record_, results_;

  std::mutex mutex_;   // Abort against the end
  bool over_ = false;  // the leader has closed, or this rank has left
};

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RANK_FOLLOWER_H_
