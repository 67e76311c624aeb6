#include "tests/core/cpu/rank_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>

#include "core/base/status.h"
#include "core/sample/sampler.h"

namespace tessera {
namespace {

constexpr int32_t kSequences = 4;
constexpr int32_t kPositions = 192;
constexpr int32_t kBlockTokens = 16;
constexpr int32_t kBlocks = kPositions / kBlockTokens;  // of a sequence
constexpr int32_t kMaxRows = 96;

class PauseAlways final : public StopCondition {
 public:
  explicit PauseAlways(bool pause) : pause_(pause) {}
  bool ShouldStop() noexcept override { return pause_; }
  bool ShouldPause() noexcept override { return pause_; }

 private:
  const bool pause_;
};

}  // namespace

// Fails once it is asked to, in one region, on one side of its exchange.
class RankRunner::FailingContext final : public BackendContext {
 public:
  FailingContext(std::unique_ptr<BackendContext> context, const RankRunner* runner, int32_t rank)
      : context_(std::move(context)), runner_(runner), rank_(rank) {}

  absl::Status Execute(const Region&, const RegionWeights&, const StepView&) noexcept override {
    return Internal("a test", "ranks run in slices");
  }
  absl::Status ExecuteSlice(const Region& region, const RegionWeights& weights, const StepView& step,
                            PauseSource& pause, RegionProgress* progress) noexcept override {
    const bool exchanged = progress->exchange == ExchangeState::kDone;
    if (runner_->fail_rank_ == rank_ && runner_->fail_region_ == region_ &&
        runner_->fail_after_exchange_ == exchanged) {
      return Error(ErrorCode::kNumericFault, "a test", "on purpose");
    }
    const absl::Status status = context_->ExecuteSlice(region, weights, step, pause, progress);
    if (progress->done) ++region_;
    return status;
  }
  void BeginStep(const StepView& step) noexcept override { context_->BeginStep(step); }
  void EndStep() noexcept override { context_->EndStep(); }
  absl::Span<float> HiddenState(const StepView& step) noexcept override {
    return context_->HiddenState(step);
  }
  void Restart() { region_ = 0; }

 private:
  std::unique_ptr<BackendContext> context_;
  const RankRunner* runner_;
  const int32_t rank_;
  int32_t region_ = 0;
};

struct RankRunner::Member {
  std::shared_ptr<const LoadedModel> model;
  std::vector<MemoryRegion> cache_memory;
  std::vector<CacheView> caches;
  std::unique_ptr<FailingContext> context;
  std::unique_ptr<RegionLoop> loop;
};

RankRunner::~RankRunner() = default;

RankRunner::RankRunner(const std::vector<uint8_t>& file, const Backend& backend, const RankOptions& options)
    : options_(options), tokens_(kSequences) {
  const auto whole = LoadModel(FileOf(file), backend, SystemMemory(), nullptr);
  EXPECT_TRUE(whole.ok()) << whole.status();
  const auto layers = static_cast<int32_t>((*whole)->spec.layers.size());
  const bool alone = options.ranks == 1 && options.stages == 1;
  for (int32_t stage = 0; stage < options.stages; ++stage) {
    groups_.push_back(std::make_unique<StrictGroup>(options.ranks));
    for (int32_t rank = 0; rank < options.ranks; ++rank) {
      auto member = std::make_unique<Member>();
      ShardRequest request;
      request.rank = rank;
      request.ranks = options.ranks;
      request.shares = options.shares;
      request.first_layer = stage * layers / options.stages;
      request.end_layer = (stage + 1) * layers / options.stages;
      auto model = LoadModel(FileOf(file), backend, SystemMemory(), nullptr, alone ? nullptr : &request);
      EXPECT_TRUE(model.ok()) << model.status();
      member->model = *std::move(model);
      const ModelSpec& spec = member->model->spec;
      for (const CacheGroupSpec& group : spec.cache_groups) {
        CacheView view;
        view.type = options.cache_type;
        view.block_tokens = kBlockTokens;
        view.kv_heads = group.kv_heads;
        view.head_size = group.head_size;
        view.layer_count = static_cast<int32_t>(group.layers.size());
        auto memory = MemoryRegion::Create(SystemMemory(), MemoryClass::kCache,
                                           view.block_bytes() * kSequences * kBlocks, "a test");
        EXPECT_TRUE(memory.ok());
        view.data = memory->data();
        std::fill_n(view.data, memory->size_bytes(), uint8_t{0xFF});  // NaN in every type
        member->cache_memory.push_back(*std::move(memory));
        member->caches.push_back(view);
      }
      BackendLimits limits;
      limits.max_rows = limits.max_samples = kMaxRows;
      limits.max_sequences = kSequences;
      limits.max_positions = kPositions;
      limits.block_tokens = kBlockTokens;
      limits.cache_type = options.cache_type;
      limits.threads = options.threads;
      auto context = backend.CreateContext(spec, limits, nullptr, SystemMemory());
      EXPECT_TRUE(context.ok()) << context.status();
      member->context =
          std::make_unique<FailingContext>(*std::move(context), this, stage * options.ranks + rank);
      member->loop = std::make_unique<RegionLoop>(&spec, member->model->weights.get(), member->context.get(),
                                                  options.ranks == 1 ? nullptr : groups_.back()->rank(rank));
      members_.push_back(std::move(member));
    }
  }
}

const SamplingParams& RankRunner::SamplingOf(int32_t row) {
  static const auto* const ways = [] {
    auto* made = new std::vector<SamplingParams>(4);
    (*made)[2].temperature = 0.8f;
    (*made)[2].top_k = 40;
    (*made)[2].top_p = 0.95f;
    (*made)[2].seed = 11;
    (*made)[2].top_logprobs = 5;
    (*made)[3].repetition_penalty = 1.3f;
    (*made)[3].logit_bias = {{5, 2.0f}, {260, -std::numeric_limits<float>::infinity()}};
    return made;
  }();
  return (*ways)[static_cast<size_t>(row) % 4];
}

const ModelSpec& RankRunner::spec(int32_t rank) const {
  return members_[static_cast<size_t>(rank)]->model->spec;
}
size_t RankRunner::weight_bytes(int32_t rank) const {
  return members_[static_cast<size_t>(rank)]->model->weights->size_bytes();
}
int32_t RankRunner::regions() const { return static_cast<int32_t>(members_[0]->loop->regions().size()); }

void RankRunner::FailAt(int32_t rank, int32_t region, bool after_exchange) {
  fail_rank_ = rank;
  fail_region_ = region;
  fail_after_exchange_ = after_exchange;
}

void RankRunner::Forget(const std::vector<RankChunk>& chunks) {
  for (const RankChunk& chunk : chunks) {
    std::vector<int32_t>& tokens = tokens_[static_cast<size_t>(chunk.sequence)];
    tokens.resize(tokens.size() - chunk.tokens.size());
  }
}

RankResult RankRunner::Step(const std::vector<RankChunk>& chunks) {
  std::vector<int32_t> rows, positions;
  std::vector<SequenceView> sequences;
  std::vector<std::vector<int32_t>> blocks;  // the same in every group
  std::vector<std::vector<const int32_t*>> lists;
  RankResult result;
  for (const RankChunk& chunk : chunks) {
    std::vector<int32_t>& tokens = tokens_[static_cast<size_t>(chunk.sequence)];
    SequenceView view;
    view.first_row = static_cast<int32_t>(rows.size());
    view.row_count = static_cast<int32_t>(chunk.tokens.size());
    view.first_position = static_cast<int32_t>(tokens.size());
    sequences.push_back(view);
    blocks.emplace_back(kBlocks);
    std::iota(blocks.back().rbegin(), blocks.back().rend(), chunk.sequence * kBlocks);
    for (const int32_t token : chunk.tokens) {
      positions.push_back(static_cast<int32_t>(tokens.size()));
      rows.push_back(token);
      tokens.push_back(token);
    }
  }
  for (size_t s = 0; s < sequences.size(); ++s) {
    lists.emplace_back(members_[0]->caches.size(), blocks[s].data());
    sequences[s].blocks = lists.back().data();
  }
  result.logits.assign(rows.size(), {});
  for (const SequenceView& sequence : sequences) {
    for (int32_t i = 0; i < sequence.row_count; ++i) {
      const int32_t row = sequence.first_row + i;
      SampleRow sample;
      sample.row = row;
      sample.params = &SamplingOf(row);
      sample.position = static_cast<uint64_t>(sequence.first_position + i + 1);
      sample.history = rows.data() + sequence.first_row;
      sample.history_count = i + 1;
      if (row % 4 == 1) {
        std::vector<float>& logits = result.logits[static_cast<size_t>(row)];
        logits.assign(static_cast<size_t>(spec(0).vocabulary_size), NAN);
        sample.logits_out = logits.data();
      }
      sample.gather_logits = WantsAllLogits(sample);
      result.samples.push_back(sample);
    }
  }
  StepView step;
  step.row_count = static_cast<int32_t>(rows.size());
  step.tokens = rows.data();
  step.positions = positions.data();
  step.sequence_count = static_cast<int32_t>(sequences.size());
  step.sequences = sequences.data();
  step.sample_count = static_cast<int32_t>(result.samples.size());
  ++steps_;
  for (int32_t stage = 0; stage < options_.stages; ++stage) RunStage(stage, step, &result);
  return result;
}

// All ranks of a stage, each on a thread; the stage before has left its activations in the contexts of the
// same ranks.
void RankRunner::RunStage(int32_t stage, const StepView& step, RankResult* result) {
  const bool last = stage + 1 == options_.stages;
  std::vector<std::vector<SampleRow>> samples(static_cast<size_t>(options_.ranks), result->samples);
  std::vector<absl::Status> statuses(static_cast<size_t>(options_.ranks));
  const auto run = [&](int32_t rank) {
    const auto at = static_cast<size_t>(stage * options_.ranks + rank);
    Member& member = *members_[at];
    StepView own = step;
    own.caches = member.caches.data();
    own.samples = samples[static_cast<size_t>(rank)].data();
    if (rank > 0) {
      for (SampleRow& sample : samples[static_cast<size_t>(rank)]) {
        sample.params = nullptr;
        sample.history = nullptr;
        sample.logits_out = nullptr;
      }
    }
    if (stage > 0) {
      const absl::Span<float> from =
          members_[at - static_cast<size_t>(options_.ranks)]->context->HiddenState(own);
      const absl::Span<float> to = member.context->HiddenState(own);
      std::copy(from.begin(), from.end(), to.begin());
    }
    member.context->Restart();
    CollectiveTag tag;
    tag.step = steps_;
    tag.operation = 7;
    member.loop->Begin(&own, tag);
    member.context->BeginStep(own);
    PauseAlways condition(slice_ && rank == 0);
    absl::StatusOr<bool> done = false;
    while (done.ok() && !*done) done = member.loop->Run(condition);
    member.context->EndStep();
    statuses[static_cast<size_t>(rank)] = done.status();
  };
  std::vector<std::thread> threads;
  for (int32_t rank = 1; rank < options_.ranks; ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) result->statuses.push_back(status);
  if (!last) return;
  result->samples = samples[0];
  for (int32_t rank = 1; rank < options_.ranks; ++rank) {
    if (!statuses[0].ok() || !statuses[static_cast<size_t>(rank)].ok()) continue;
    for (size_t row = 0; row < result->samples.size(); ++row) {
      const SampleRow& theirs = samples[static_cast<size_t>(rank)][row];
      EXPECT_EQ(theirs.token, theirs.gather_logits ? -1 : result->samples[row].token);
    }
  }
}

}  // namespace tessera
