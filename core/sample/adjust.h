// What a request does to the logits before any choice: bias, then penalties. Touches only the tokens
// concerned.
#ifndef TESSERA_CORE_SAMPLE_ADJUST_H_
#define TESSERA_CORE_SAMPLE_ADJUST_H_

#include <cstdint>

#include "core/request/sampling_params.h"

namespace tessera {

bool HasPenalties(const SamplingParams& params);

// Both leave every logit finite or -infinity (forbidden): what leaves the range of float is cut to it, and
// what would be no number (only wrong parameters do that) is forbidden. Token ids outside the vocabulary are
// passed over.
void ApplyBias(const SamplingParams& params, float* logits, int32_t vocabulary_size);

// Each token that occurs n > 0 times in the window: first divided (positive) or multiplied by the repetition
// penalty, then less frequency_penalty * n + presence_penalty. The window is the last penalty_window_tokens
// of `history`. `counts` [vocabulary] is all zero before and after.
void ApplyPenalties(const SamplingParams& params, const int32_t* history, int32_t history_count,
                    int32_t* counts, float* logits, int32_t vocabulary_size);

}  // namespace tessera

#endif  // TESSERA_CORE_SAMPLE_ADJUST_H_
