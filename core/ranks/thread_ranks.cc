#include "core/ranks/thread_ranks.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/env/threads.h"
#include "core/parallel/thread_communicator.h"
#include "core/ranks/rank_executor.h"
#include "core/ranks/rank_messages.h"
#include "core/ranks/sample_record.h"

namespace tessera {
namespace {

// The leader and the threads that follow it. They end when it closes, before anything that they use goes.
class ThreadRanksExecutor final : public Executor {
 public:
  explicit ThreadRanksExecutor(RankParts leader)
      : leader_(std::make_unique<RankExecutor>(std::move(leader))) {}
  ~ThreadRanksExecutor() override {
    if (!complete_) {  // some never started: the others must not wait for a close that nobody hears of
      for (const std::unique_ptr<RankFollower>& follower : followers_) follower->Abort();
    }
    leader_->Close();
    threads_.clear();
  }

  absl::Status Start(std::vector<MadeRank> others) {
    caches_.reserve(others.size());
    followers_.reserve(others.size());
    threads_.reserve(others.size());
    for (MadeRank& rank : others) {
      const std::string name = absl::StrCat("tessera-rank", rank.parts.layout.rank);
      caches_.push_back(std::move(rank.cache));
      followers_.push_back(std::make_unique<RankFollower>(std::move(rank.parts), caches_.back().views()));
      RankFollower* const follower = followers_.back().get();
      scratch_bytes_ += follower->scratch_bytes();
      TSR_ASSIGN_OR_RETURN(std::unique_ptr<Thread> thread,
                           Thread::Start(name, [follower] { (void)follower->Serve(); }));
      threads_.push_back(std::move(thread));
    }
    complete_ = true;
    return absl::OkStatus();
  }

  int32_t depth() const noexcept override { return leader_->depth(); }
  bool may_drop() const noexcept override { return leader_->may_drop(); }
  absl::Status Begin(const StepView* step) noexcept override { return leader_->Begin(step); }
  absl::StatusOr<bool> Run(StopCondition& condition) noexcept override { return leader_->Run(condition); }
  void Drop() noexcept override { leader_->Drop(); }
  void Rest() noexcept override { leader_->Rest(); }
  bool lost() const noexcept override { return leader_->lost(); }
  size_t scratch_bytes() const noexcept override { return leader_->scratch_bytes() + scratch_bytes_; }

 private:
  std::unique_ptr<RankExecutor> leader_;
  std::vector<KvCache> caches_;
  std::vector<std::unique_ptr<RankFollower>> followers_;
  std::vector<std::unique_ptr<Thread>> threads_;
  size_t scratch_bytes_ = 0;
  bool complete_ = false;
};

}  // namespace

absl::StatusOr<MadeRank> MakeRank(const RankLayout& layout, std::shared_ptr<const RankShard> shard,
                                  const Backend& backend, const RankOptions& options, MemorySource* memory) {
  TSR_ASSIGN_OR_RETURN(KvCache cache, KvCache::Create(shard->spec, options.cache, memory));
  RankParts parts;
  parts.layout = layout;
  TSR_ASSIGN_OR_RETURN(parts.context,
                       backend.CreateContext(shard->spec, options.limits, shard->weights.get(), memory));
  parts.limits.rows = options.limits.max_rows;
  parts.limits.sequences = options.limits.max_sequences;
  parts.limits.samples = options.limits.max_samples;
  parts.limits.positions = options.limits.max_positions;
  parts.limits.groups = cache.group_count();
  parts.limits.vocabulary = shard->spec.vocabulary_size;
  parts.limits.block_tokens = options.cache.block_tokens;
  parts.limits.blocks = cache.total_blocks();
  parts.shard = std::move(shard);
  return MadeRank{std::move(parts), std::move(cache)};
}

namespace {

using Communicators = std::vector<std::unique_ptr<Communicator>>;

// From the leader records, from the last stage results.
absl::StatusOr<Communicators> MakeWorld(const RankLayout& layout, const RecordLimits& limits) {
  return ThreadGroup::Create(layout.size(), [&](int32_t from, int32_t to) -> size_t {
    if (from == 0) return to == 0 ? 0 : std::max(MostStepRecordBytes(limits), sizeof(RecordHead));
    const bool reports = from == layout.reporter() && to == 0;
    return reports ? std::max(MostSampleRecordBytes(limits.samples, 0), sizeof(HandedOn)) : 0;
  });
}

// From each stage the hidden state to the next.
absl::StatusOr<Communicators> MakeStages(const RankLayout& layout, int64_t hidden_size, int32_t rows) {
  if (layout.pipeline == 1) return Communicators();
  const size_t bytes = static_cast<size_t>(hidden_size) * static_cast<size_t>(rows) * sizeof(float);
  return ThreadGroup::Create(layout.size(), [&](int32_t from, int32_t to) -> size_t {
    return to == from + layout.tensor_parallel ? bytes : 0;
  });
}

}  // namespace

absl::StatusOr<LeadingRank> MakeThreadRanks(const RankLayout& layout, const ModelSpec& spec,
                                            const Residency& weights, const Backend& backend,
                                            const RankOptions& options, MemorySource* memory) {
  std::vector<MadeRank> ranks;
  size_t cache_bytes = 0;
  for (int32_t stage = 0; stage < layout.pipeline; ++stage) {
    Communicators tensor;
    if (layout.tensor_parallel > 1) {
      TSR_ASSIGN_OR_RETURN(tensor, ThreadGroup::Create(layout.tensor_parallel));
    }
    for (int32_t place = 0; place < layout.tensor_parallel; ++place) {
      RankLayout own = layout;
      own.rank = stage * layout.tensor_parallel + place;
      TSR_ASSIGN_OR_RETURN(RankShard shard, ShardOfWhole(spec, weights, backend, own));
      TSR_ASSIGN_OR_RETURN(MadeRank rank, MakeRank(own, std::make_shared<const RankShard>(std::move(shard)),
                                                   backend, options, memory));
      cache_bytes += rank.cache.size_bytes();
      if (!tensor.empty()) rank.parts.tensor = std::move(tensor[static_cast<size_t>(place)]);
      ranks.push_back(std::move(rank));
    }
  }
  TSR_ASSIGN_OR_RETURN(Communicators world, MakeWorld(layout, ranks.front().parts.limits));
  TSR_ASSIGN_OR_RETURN(Communicators stages, MakeStages(layout, spec.hidden_size, options.limits.max_rows));
  for (size_t i = 0; i < ranks.size(); ++i) {
    ranks[i].parts.world = std::move(world[i]);
    if (!stages.empty()) ranks[i].parts.stages = std::move(stages[i]);
  }
  MadeRank leader = std::move(ranks.front());
  ranks.erase(ranks.begin());
  auto executor = std::make_unique<ThreadRanksExecutor>(std::move(leader.parts));
  TSR_RETURN_IF_ERROR(executor->Start(std::move(ranks)));
  return LeadingRank{std::move(executor), std::move(leader.cache), cache_bytes};
}

}  // namespace tessera
