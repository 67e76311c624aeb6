// The CPU's sampler for tests of the GPU's, behind plain types: it is C++20, device code's tests are C++17.
#ifndef TESSERA_TESTS_GPU_SAMPLE_REFERENCE_H_
#define TESSERA_TESTS_GPU_SAMPLE_REFERENCE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace tessera::gpu {

// SamplingParams and what SampleRow adds.
struct SampleCase {
  float temperature = 0.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  int32_t top_logprobs = -1;
  uint64_t seed = 0;
  uint64_t position = 0;
  std::vector<std::pair<int32_t, float>> bias;
  std::vector<int32_t> window;  // the history's last tokens, at which penalties look
};

struct SampleOutcome {
  int32_t token = -1;
  bool numeric_fault = false;
  float logprob = 0;
  int32_t top_count = 0;
  int32_t top_tokens[20] = {};
  float top_logprobs[20] = {};
};

class SampleReference {
 public:
  explicit SampleReference(int32_t vocabulary);
  ~SampleReference();

  // Of cases [n] and as many rows of logits. In several threads, since a CPU takes its time.
  std::vector<SampleOutcome> Sample(const std::vector<std::vector<float>>& logits,
                                    const std::vector<SampleCase>& cases);

  // Whether `token` is one that the same draw may give where every probability has a relative error of
  // `tolerance`, and sums one of `tolerance` of the whole: by probabilities in double precision.
  bool MayDraw(const float* logits, const SampleCase& sample, int32_t token, double tolerance);

 private:
  class Worker;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_SAMPLE_REFERENCE_H_
