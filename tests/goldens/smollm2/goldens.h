// The goldens of this folder as C++ data; README.md tells what they mean. Knows nothing of Tessera.
#ifndef TESSERA_TESTS_GOLDENS_SMOLLM2_GOLDENS_H_
#define TESSERA_TESTS_GOLDENS_SMOLLM2_GOLDENS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tessera::goldens {

// One of the steps at which the whole vocabulary is known.
struct FullStep {
  int64_t step = 0;
  std::vector<double> log_probs;  // [vocabulary]
};

// One of the steps at which a sample of the vocabulary is known.
struct SampledStep {
  int64_t step = 0;
  std::vector<float> logits;  // [sampled ids]
};

struct Prompt {
  std::string name;
  std::string text;
  std::vector<int32_t> ids;
  std::vector<int32_t> greedy_ids;  // [steps]
  std::string greedy_text;
  std::vector<double> margin;                   // [steps]
  std::vector<double> log_sum_exp;              // [steps]
  std::vector<std::vector<int32_t>> top_ids;    // [steps][16]
  std::vector<std::vector<double>> top_logits;  // [steps][16]
  std::vector<SampledStep> sampled;
  std::vector<FullStep> full;
};

struct Goldens {
  std::vector<int32_t> sampled_ids;
  std::vector<Prompt> prompts;
};

// Throws where a file is missing or is not what README.md says: a test's own inputs are no matter for a
// status.
Goldens ReadGoldens(const std::string& folder);

}  // namespace tessera::goldens

#endif  // TESSERA_TESTS_GOLDENS_SMOLLM2_GOLDENS_H_
