// One row of logits becomes a token: the order of SamplingParams, one row at a time. It knows no session,
// batch or backend, and writes nothing but the row's results.
#ifndef TESSERA_CORE_SAMPLE_SAMPLER_H_
#define TESSERA_CORE_SAMPLE_SAMPLER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/execute/backend.h"
#include "core/sample/select.h"

namespace tessera {

// What a draw is, exactly: probabilities are exp((logit - largest) / temperature) in single precision, summed
// in double. top-k keeps the k largest logits; top-p the fewest of those whose sum reaches top_p times the
// sum of all that top-k left; min-p those of at least min_p times the largest. Of equal ones the lower id is
// kept first. Those that remain are laid end to end by rising id, and UniformDraw(seed, position) points at
// one. So a token depends on the logits, the parameters, the history and (seed, position) alone. temperature
// counts as within [1e-30, 1e30] unless it is 0 (greedy), top_p of 0 and less keeps one token, min_p over 1
// is 1.
//
// numeric_fault: NaN or infinity among the raw logits, or every token forbidden by bias. Log-probabilities
// are those of the raw logits' softmax at temperature 1, whatever bias and penalties do.
//
// One caller at a time. Nothing is allocated after Create.
class Sampler {
 public:
  // vocabulary_size is 1 at least. May throw std::bad_alloc.
  static std::unique_ptr<Sampler> Create(int32_t vocabulary_size);

  // `logits` [vocabulary] are only read. Fills the results of `row`, all of them.
  void Sample(const float* logits, SampleRow* row) noexcept;

 private:
  explicit Sampler(int32_t vocabulary_size);
  void FillLogprobs(const float* logits, float largest, SampleRow* row);
  int32_t Choose(const float* logits, float largest, const SampleRow& row);
  int32_t Draw(const float* logits, float largest, const SampleRow& row);
  void GatherTopMass(double mass);
  int32_t DrawFromAll(double target) const;

  const int32_t vocabulary_size_;
  Candidates candidates_;             // into the arrays below
  std::vector<float> adjusted_;       // [vocabulary] logits after bias and penalties
  std::vector<float> probabilities_;  // [vocabulary] not normalised
  std::vector<float> block_largest_;  // [blocks]
  std::vector<double> block_sums_;    // [blocks]
  std::vector<int32_t> counts_;       // [vocabulary] all zero between calls
  std::vector<int32_t> candidate_tokens_;
  std::vector<float> candidate_values_;
  std::vector<uint64_t> candidate_keys_;
  std::vector<double> bucket_weights_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_SAMPLE_SAMPLER_H_
