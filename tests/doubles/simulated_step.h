// A step that was handed to the simulated device: its own copy of all that the caller may take back.
#ifndef TESSERA_TESTS_DOUBLES_SIMULATED_STEP_H_
#define TESSERA_TESTS_DOUBLES_SIMULATED_STEP_H_

#include <memory>
#include <vector>

#include "core/device/device_module.h"
#include "core/execute/backend.h"

namespace tessera {

struct SimulatedStep {
  static std::unique_ptr<SimulatedStep> Take(const std::vector<CacheView>& caches, int32_t block_tokens,
                                             const tsr_device_step& step);
  // To where the caller wants them.
  void GiveResults() const;
  // A step that failed may have written anything where its rows belong.
  void Spoil(const std::vector<CacheView>& caches) const;

  StepView view;
  std::vector<int32_t> tokens, positions, sources;
  std::vector<SequenceView> sequences;
  std::vector<std::vector<int32_t>> blocks;  // [sequence * groups + group]
  std::vector<const int32_t*> block_lists;
  std::vector<BlockCopy> copies;
  std::vector<SampleRow> samples;
  std::vector<SamplingParams> params;
  std::vector<std::vector<int32_t>> histories;
  tsr_device_sample* results = nullptr;
  bool done = false;
  tsr_device_failure failure = {};

 private:
  void TakeSamples(const tsr_device_step& step);
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_SIMULATED_STEP_H_
