// Sequences for tests of the module's table: where their blocks lie, and their tokens, one after the other.
#ifndef TESSERA_TESTS_GPU_MODULE_STEPS_H_
#define TESSERA_TESTS_GPU_MODULE_STEPS_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "tests/gpu/module_runner.h"

namespace tessera::gpu {

using Blocks = std::vector<std::vector<int32_t>>;  // [groups]

// Block ids of a sequence, scattered over the pool: `index` of `sequences` that share it.
inline Blocks ScatteredBlocks(const RunnerOptions& options, int32_t groups, int32_t index,
                              int32_t sequences) {
  Blocks blocks(static_cast<size_t>(groups));
  for (int32_t group = 0; group < groups; ++group) {
    for (int32_t id = index; id < options.blocks; id += sequences) {
      blocks[static_cast<size_t>(group)].push_back(options.blocks - 1 - id);
    }
  }
  return blocks;
}

inline std::vector<int32_t> RandomTokens(int32_t count, int32_t vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
  }
  return tokens;
}

inline int32_t Largest(const std::vector<float>& values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// One sequence's tokens, each sampled by a step whose input is the token before. `ahead`: a step is run
// before the one that samples its input has ended.
inline std::vector<int32_t> Generate(ModuleRunner* runner, int32_t count, bool ahead,
                                     float repetition_penalty) {
  const RunnerOptions& options = runner->options();
  const Blocks blocks = ScatteredBlocks(options, runner->groups(), 0, 1);
  std::vector<int32_t> known = RandomTokens(7, runner->description().vocabulary_size, 5);
  const size_t prompt = known.size();
  std::vector<std::unique_ptr<StepBuilder>> builders;
  // What the host knows when it plans a step, as the engine hands it in.
  std::vector<std::unique_ptr<std::vector<int32_t>>> histories;
  const auto run = [&](int32_t step) {
    auto builder = std::make_unique<StepBuilder>(runner->groups());
    const int32_t position = static_cast<int32_t>(prompt) + step - 1;
    if (step == 0) {
      builder->Add(known, 0, blocks);
    } else if (ahead) {
      builder->Add({-1}, position, blocks, 0);
    } else {
      builder->Add({known.back()}, position, blocks);
    }
    histories.push_back(std::make_unique<std::vector<int32_t>>(known));
    tsr_device_sample* const sample = builder->Sample();
    sample->repetition_penalty = repetition_penalty;
    sample->penalty_window_tokens = 5;
    sample->history = histories.back()->data();
    sample->history_count = static_cast<int32_t>(histories.back()->size());
    builders.push_back(std::move(builder));
    return runner->Run(builders.back()->Step());
  };
  const auto finish = [&](int32_t step) {
    if (!runner->Finish()) return false;
    known.push_back(builders[static_cast<size_t>(step)]->result(0).token);
    return true;
  };
  for (int32_t step = 0; step < count; ++step) {
    if (!run(step)) return {};
    if (ahead && step > 0 && !finish(step - 1)) return {};
    if (!ahead && !finish(step)) return {};
  }
  if (ahead && !finish(count - 1)) return {};
  return {known.begin() + static_cast<int64_t>(prompt), known.end()};
}

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_MODULE_STEPS_H_
