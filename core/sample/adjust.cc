#include "core/sample/adjust.h"

#include <algorithm>
#include <limits>

namespace tessera {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

float Bounded(float logit) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (logit != logit) return kForbidden;
  return std::clamp(logit, -kLargest, kLargest);
}

}  // namespace

bool HasPenalties(const SamplingParams& params) {
  return params.penalty_window_tokens > 0 &&
         (params.repetition_penalty != 1.0f || params.frequency_penalty != 0.0f ||
          params.presence_penalty != 0.0f);
}

void ApplyBias(const SamplingParams& params, float* logits, int32_t vocabulary_size) {
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || token >= vocabulary_size) continue;
    logits[token] = bias == kForbidden ? kForbidden : Bounded(logits[token] + bias);
  }
}

void ApplyPenalties(const SamplingParams& params, const int32_t* history, int32_t history_count,
                    int32_t* counts, float* logits, int32_t vocabulary_size) {
  const int32_t window = std::min(params.penalty_window_tokens, history_count);
  if (window <= 0) return;
  const int32_t* const end = history + history_count;
  const auto known = [vocabulary_size](int32_t token) { return token >= 0 && token < vocabulary_size; };
  for (const int32_t* token = end - window; token != end; ++token) {
    if (known(*token)) ++counts[*token];
  }
  for (const int32_t* token = end - window; token != end; ++token) {
    if (!known(*token) || counts[*token] == 0) continue;  // done at an earlier occurrence
    const float count = static_cast<float>(counts[*token]);
    counts[*token] = 0;
    float& logit = logits[*token];
    if (logit == kForbidden) continue;
    const float repeated = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit = Bounded(Bounded(repeated) - (params.frequency_penalty * count + params.presence_penalty));
  }
}

}  // namespace tessera
