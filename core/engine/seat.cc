#include "core/engine/seat.h"

#include <utility>

#include "core/base/status.h"
#include "core/engine/model_hash.h"
#include "core/execute/local_executor.h"
#include "core/ranks/rank_executor.h"
#include "core/ranks/thread_ranks.h"

namespace tessera {
namespace {

// Of an engine that follows: it has no steps of its own.
class NoExecutor final : public Executor {
 public:
  explicit NoExecutor(size_t scratch_bytes) : scratch_bytes_(scratch_bytes) {}
  int32_t depth() const noexcept override { return 1; }
  absl::Status Begin(const StepView*) noexcept override { return BareError(ErrorCode::kWrongState); }
  absl::StatusOr<bool> Run(StopCondition&) noexcept override { return true; }
  void Drop() noexcept override {}
  void Rest() noexcept override {}
  size_t scratch_bytes() const noexcept override { return scratch_bytes_; }

 private:
  size_t scratch_bytes_;
};

RankOptions OptionsOf(const EngineShape& shape) { return {RankLimits(shape), shape.cache_options}; }

absl::Status CheckLayout(const EngineOptions& options, const LoadedModel& model) {
  const RankLayout& ranks = options.ranks;
  if (ranks.rank < 0 || ranks.rank >= ranks.size()) {
    return InvalidArgument("setting 'engine.rank'",
                           absl::StrCat(ranks.rank, "; 'engine.tensor_parallel' and 'engine.pipeline' make ",
                                        ranks.size(), " ranks"));
  }
  if (ranks.rank != 0 && !options.processes.all_gather) {
    return InvalidArgument("setting 'engine.rank'",
                           "ranks other than 0 are of other processes, and need 'engine.rendezvous'");
  }
  if (!model.part.has_value()) return absl::OkStatus();
  const RankLayout& loaded = *model.part;
  if (loaded.tensor_parallel != ranks.tensor_parallel || loaded.pipeline != ranks.pipeline ||
      loaded.rank != ranks.rank || !options.processes.all_gather) {
    return InvalidArgument(
        "model", absl::StrCat("it was loaded as rank ", loaded.rank, " of ", loaded.tensor_parallel, " x ",
                              loaded.pipeline, " ranks; the engine needs the same, and 'engine.rendezvous'"));
  }
  return absl::OkStatus();
}

// What was loaded: the rank's part already, or the whole, of which it is a view.
absl::StatusOr<RankShard> ShardOf(const LoadedModel& model, const Backend& backend,
                                  const RankLayout& layout) {
  if (!model.part.has_value()) return ShardOfWhole(model.spec, *model.weights, backend, layout);
  RankShard shard;
  shard.spec = model.spec;
  shard.weights = std::shared_ptr<const Residency>(std::shared_ptr<const void>(), model.weights.get());
  return shard;
}

absl::StatusOr<Seat> TakeSeatAlone(const LoadedModel& model, const Backend& backend,
                                   const RankOptions& options, MemorySource* memory) {
  const std::shared_ptr<MemorySource> own = backend.memory();
  TSR_ASSIGN_OR_RETURN(KvCache cache,
                       KvCache::Create(model.spec, options.cache, own != nullptr ? own.get() : memory));
  TSR_ASSIGN_OR_RETURN(std::unique_ptr<BackendContext> context,
                       backend.CreateContext(model.spec, options.limits, model.weights.get(), memory));
  auto executor = std::make_unique<LocalExecutor>(&model.spec, model.weights.get(), std::move(context));
  const size_t bytes = cache.size_bytes();
  return Seat{std::move(executor), nullptr, std::move(cache), bytes};
}

// Another arithmetic, cache or model on one rank would give wrong results rather than an error. Of parts the
// weights differ, so only what describes them can be compared.
ContentHash LikenessOf(const LoadedModel& model, const Backend& backend, const EngineOptions& options) {
  ContentHasher hasher;
  hasher.AddText(backend.arithmetic());
  hasher.AddNumber(static_cast<uint64_t>(options.cache_type));
  if (!model.part.has_value()) hasher.Add(model.hash.bytes.data(), model.hash.bytes.size());
  hasher.Add(model.tokenizer_hash.bytes.data(), model.tokenizer_hash.bytes.size());
  AddShape(*model.file, model.spec, &hasher);
  return hasher.Finish();
}

absl::StatusOr<Seat> TakeSeatAmongProcesses(const LoadedModel& model, const Backend& backend,
                                            const EngineShape& shape, MemorySource* memory) {
  const EngineOptions& options = shape.options;
  TSR_ASSIGN_OR_RETURN(RankShard shard, ShardOf(model, backend, options.ranks));
  TSR_ASSIGN_OR_RETURN(MadeRank rank,
                       MakeRank(options.ranks, std::make_shared<const RankShard>(std::move(shard)), backend,
                                OptionsOf(shape), memory));
  TSR_RETURN_IF_ERROR(
      JoinProcesses(options.ranks, options.processes, LikenessOf(model, backend, options), &rank.parts));
  const size_t bytes = rank.cache.size_bytes();
  if (options.ranks.rank == 0) {
    auto executor = std::make_unique<RankExecutor>(std::move(rank.parts));
    return Seat{std::move(executor), nullptr, std::move(rank.cache), bytes};
  }
  const size_t scratch_bytes = rank.parts.context->scratch_bytes();
  auto follower = std::make_unique<RankFollower>(std::move(rank.parts), rank.cache.views());
  return Seat{std::make_unique<NoExecutor>(scratch_bytes), std::move(follower), std::move(rank.cache), bytes};
}

}  // namespace

absl::StatusOr<Seat> TakeSeat(const LoadedModel& model, const Backend& backend, const EngineShape& shape,
                              MemorySource* memory) {
  const EngineOptions& options = shape.options;
  TSR_RETURN_IF_ERROR(CheckLayout(options, model));
  if (!backend.in_host_memory() && (options.ranks.size() > 1 || options.processes.all_gather)) {
    return Unsupported(options.processes.all_gather ? "setting 'engine.rendezvous'"
                       : options.ranks.pipeline > 1 ? "setting 'engine.pipeline'"
                                                    : "setting 'engine.tensor_parallel'",
                       absl::StrCat("the model is on a device of backend '", backend.name(),
                                    "', which computes alone so far: ranks need a model on the CPU"));
  }
  if (options.processes.all_gather) return TakeSeatAmongProcesses(model, backend, shape, memory);
  if (options.ranks.size() == 1) return TakeSeatAlone(model, backend, OptionsOf(shape), memory);
  TSR_ASSIGN_OR_RETURN(LeadingRank leader, MakeThreadRanks(options.ranks, model.spec, *model.weights, backend,
                                                           OptionsOf(shape), memory));
  return Seat{std::move(leader.executor), nullptr, std::move(leader.cache), leader.cache_bytes};
}

}  // namespace tessera
