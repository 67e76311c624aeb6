// A tiny model on some ranks: stages of layers, each shared by as many ranks, every rank with its own slices
// of the weights, its own cache and a loop on a thread of its own. With one stage and one rank it is an
// engine without ranks. A test says which rows of which sequences make up each step.
#ifndef TESSERA_TESTS_CORE_CPU_RANK_RUNNER_H_
#define TESSERA_TESTS_CORE_CPU_RANK_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/engine/loaded_model.h"
#include "core/execute/loop.h"
#include "tests/core/cpu/strict_ranks.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {

struct RankChunk {
  int32_t sequence = 0;
  std::vector<int32_t> tokens;  // appended to the sequence; all of them are sampled
};

// What a step gave, as rank 0 of the last stage has it.
struct RankResult {
  std::vector<absl::Status> statuses;      // [stages * ranks]
  std::vector<SampleRow> samples;          // [rows], by SamplingOf
  std::vector<std::vector<float>> logits;  // [rows]; of those that ask for a copy
};

struct RankOptions {
  int32_t ranks = 1;
  int32_t stages = 1;
  std::vector<int32_t> shares;
  int32_t threads = 1;
  CacheType cache_type = CacheType::kF32;
};

class RankRunner {
 public:
  RankRunner(const std::vector<uint8_t>& file, const Backend& backend, const RankOptions& options);
  ~RankRunner();

  RankResult Step(const std::vector<RankChunk>& chunks);
  // Takes the last step's tokens back, so that it can be run again.
  void Forget(const std::vector<RankChunk>& chunks);

  // From now on a rank fails in the region-th region of a step (of its stage's), before or after its
  // exchange.
  void FailAt(int32_t rank, int32_t region, bool after_exchange);
  void FailNever() { FailAt(-1, -1, false); }
  // Each region is left after every task.
  void Slice(bool slice) { slice_ = slice; }

  const ModelSpec& spec(int32_t rank) const;
  size_t weight_bytes(int32_t rank) const;
  int32_t regions() const;
  StrictGroup& group(int32_t stage) { return *groups_[static_cast<size_t>(stage)]; }

  // The four ways in which rows are sampled, by turns: the largest logit alone; with the logits; drawn, with
  // log-probabilities; with bias and penalties.
  static const SamplingParams& SamplingOf(int32_t row);

 private:
  struct Member;
  class FailingContext;
  void RunStage(int32_t stage, const StepView& step, RankResult* result);

  RankOptions options_;
  bool slice_ = false;
  int32_t fail_rank_ = -1, fail_region_ = -1;
  bool fail_after_exchange_ = false;
  std::vector<std::unique_ptr<StrictGroup>> groups_;  // [stages]
  std::vector<std::unique_ptr<Member>> members_;      // [stages * ranks]
  std::vector<std::vector<int32_t>> tokens_;          // [sequences]
  uint64_t steps_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_CPU_RANK_RUNNER_H_
