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

// Whether the row's results take more than the largest raw logit. Reads params and logits_out.
bool WantsAllLogits(const SampleRow& row);

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
  static size_t HeapBytes(int32_t vocabulary_size);  // that one takes

  // `logits` [vocabulary] are only read. Fills the results of `row`, all of them.
  void Sample(const float* logits, SampleRow* row) noexcept;

  // The same in steps of about one pass over the vocabulary each: Begin, then Advance until it says true.
  // Both arguments stay valid until then. Begin may leave an earlier row unfinished.
  void Begin(const float* logits, SampleRow* row) noexcept;
  bool Advance() noexcept;

 private:
  // What the next Advance does; each returns what follows it.
  enum class Stage {
    kSummarise,
    kAdjust,
    kChoose,
    kSelectTopK,
    kWeighCandidates,
    kWeighAll,
    kGatherTopMass,
    kSelectTopMass,
    kCutSmall,
    kDraw,
    kLogprobs,
    kSelectTopLogprobs,
    kDone
  };

  explicit Sampler(int32_t vocabulary_size);
  Stage RunStage();
  Stage SummariseRaw();
  Stage Adjust();
  Stage Choose();
  Stage WeighCandidates();
  Stage WeighAll();
  Stage GatherTopMass();
  Stage Draw();
  Stage DrawFromAll(double target);
  Stage FillLogprobs();
  Stage FillTopLogprobs();
  float InverseTemperature() const;
  float LogprobOf(float logit) const;

  const int32_t vocabulary_size_;
  // Of the row at hand.
  Stage stage_ = Stage::kDone;
  const float* logits_ = nullptr;  // raw
  SampleRow* row_ = nullptr;
  float raw_largest_ = 0;
  const float* chosen_from_ = nullptr;  // logits_, or adjusted_
  float largest_ = 0;                   // of chosen_from_
  double log_sum_ = 0;                  // of the raw logits' softmax
  double mass_ = 0;                     // what top-p keeps
  int32_t gathered_ = 0;                // bounds tried for it
  Selection selection_;

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
