// How a request wants its tokens chosen. Plain data; immutable once a request is accepted.
#ifndef TESSERA_CORE_REQUEST_SAMPLING_PARAMS_H_
#define TESSERA_CORE_REQUEST_SAMPLING_PARAMS_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace tessera {

inline constexpr int32_t kMaxTopLogprobs = 20;
// Backends keep room for so many of each sampled row of a step, so that no request can fail another's.
inline constexpr int32_t kMaxLogitBiases = 4096;

// Applied in this order: bias, penalties, temperature, top-k, top-p, min-p, draw. Greedy (temperature 0)
// takes the largest logit after bias and penalties; of equal ones, the lowest id.
struct SamplingParams {
  float temperature = 0.0f;            // 0: greedy
  int32_t top_k = 0;                   // 0: off
  float top_p = 1.0f;                  // 1: off
  float min_p = 0.0f;                  // 0: off; relative to the largest probability
  float repetition_penalty = 1.0f;     // 1: off; positive logits are divided by it, negative ones multiplied
  float frequency_penalty = 0.0f;      // times the token's count in the window, subtracted
  float presence_penalty = 0.0f;       // subtracted once if the token is in the window
  int32_t penalty_window_tokens = 64;  // the last tokens of the sequence that penalties look at; 0: none
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // sorted by token, unique; -infinity forbids
  int32_t top_logprobs = -1;                          // -1: no log-probabilities; else 0 to kMaxTopLogprobs
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_SAMPLING_PARAMS_H_
