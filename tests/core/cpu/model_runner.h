// Runs a tiny model through the region list on any backend, by a loop written out plainly: what the backends'
// tests share. One runner holds one cache; a test says which rows of which sequences make up each step.
#ifndef TESSERA_TESTS_CORE_CPU_MODEL_RUNNER_H_
#define TESSERA_TESTS_CORE_CPU_MODEL_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/env/memory.h"
#include "core/execute/backend.h"
#include "core/request/sampling_params.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {

// A model as a backend wants it: the spec, and the tensors as the file stores them.
struct LoadedTinyModel {
  ModelSpec spec;
  std::vector<uint8_t> bytes;  // the file
};
LoadedTinyModel LoadTinyModel(const TinyModelOptions& options);

struct RunnerOptions {
  CacheType cache_type = CacheType::kF32;
  int32_t block_tokens = 16;
  int32_t threads = 1;
  int32_t max_rows = 256;
  int32_t max_sequences = 16;
  int32_t max_positions = 256;
};

// Some tokens of one sequence; all of them get logits.
struct Chunk {
  int32_t sequence = 0;
  std::vector<int32_t> tokens;
};

class ModelRunner {
 public:
  // `model` and `backend` outlive it.
  ModelRunner(const LoadedTinyModel* model, const Backend* backend, const RunnerOptions& options);

  // One step. Returns the logits of all its rows: [rows][vocabulary]. With a pause source the regions are
  // computed in slices, and slices() counts those of the last step.
  std::vector<std::vector<float>> Step(const std::vector<Chunk>& chunks, PauseSource* pause = nullptr);
  int64_t slices() const { return slices_; }

  // For all samples of the steps to come.
  void SampleBy(const SamplingParams& params) { params_ = params; }

  // What the last step sampled (greedily), row by row.
  const std::vector<SampleRow>& samples() const { return samples_; }
  BackendContext* context() { return context_.get(); }

 private:
  WeightView ViewOf(TensorId tensor) const;
  RegionWeights WeightsOf(const Region& region) const;

  const LoadedTinyModel* model_;
  RunnerOptions options_;
  std::vector<MemoryRegion> weights_;                      // [tensors], packed
  std::vector<MemoryRegion> cache_memory_;                 // [groups]
  std::vector<CacheView> caches_;                          // [groups]
  std::vector<std::vector<std::vector<int32_t>>> blocks_;  // [sequences][groups][block index]
  std::vector<std::vector<const int32_t*>> block_lists_;   // [sequences][groups]
  std::vector<int32_t> lengths_;                           // [sequences]: positions in the cache
  SamplingParams params_;                                  // greedy
  int64_t slices_ = 0;
  std::vector<SampleRow> samples_;
  std::unique_ptr<BackendContext> context_;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_CPU_MODEL_RUNNER_H_
