// What sampling must do, written out in double precision with a full sort: slow and plain. It shares with the
// sampler only the uniform number of a (seed, position).
#ifndef TESSERA_TESTS_CORE_SAMPLE_SAMPLING_ORACLE_H_
#define TESSERA_TESTS_CORE_SAMPLE_SAMPLING_ORACLE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "core/request/sampling_params.h"

namespace tessera {

struct OracleAnswer {
  std::vector<double> probabilities;  // [vocabulary] of the draw; sums to 1
  // How far the closest decision (a cut's boundary) was from going the other way; below a bound, single
  // precision may rightly decide otherwise.
  double closest_cut = std::numeric_limits<double>::infinity();
};

inline std::vector<double> AdjustedLogits(const std::vector<float>& logits, const SamplingParams& params,
                                          const std::vector<int32_t>& history) {
  std::vector<double> adjusted(logits.begin(), logits.end());
  for (const auto& [token, bias] : params.logit_bias) adjusted[token] += static_cast<double>(bias);
  const size_t window = std::min<size_t>(history.size(), std::max(params.penalty_window_tokens, 0));
  std::map<int32_t, int> counts;
  for (size_t i = history.size() - window; i < history.size(); ++i) ++counts[history[i]];
  for (const auto& [token, count] : counts) {
    double& logit = adjusted[token];
    const double repetition = params.repetition_penalty;
    logit = logit > 0 ? logit / repetition : logit * repetition;
    logit -=
        count * static_cast<double>(params.frequency_penalty) + static_cast<double>(params.presence_penalty);
  }
  return adjusted;
}

// temperature > 0.
inline OracleAnswer SampleDistribution(const std::vector<float>& logits, const SamplingParams& params,
                                       const std::vector<int32_t>& history) {
  const std::vector<double> adjusted = AdjustedLogits(logits, params, history);
  const int32_t vocabulary = static_cast<int32_t>(adjusted.size());
  OracleAnswer answer;
  std::vector<int32_t> order(vocabulary);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return adjusted[a] > adjusted[b]; });
  const auto note = [&answer](double distance) {
    answer.closest_cut = std::min(answer.closest_cut, std::fabs(distance));
  };

  size_t kept = order.size();
  if (params.top_k > 0 && params.top_k < vocabulary) {
    kept = params.top_k;
    const double gap = adjusted[order[kept - 1]] - adjusted[order[kept]];
    if (gap > 0) note(gap);  // equal ones are decided by their id
  }
  std::vector<double> weights(order.size());
  double sum = 0;
  for (size_t i = 0; i < kept; ++i) {
    weights[i] =
        std::exp((adjusted[order[i]] - adjusted[order[0]]) / static_cast<double>(params.temperature));
    sum += weights[i];
  }
  if (params.top_p < 1.0f) {
    const double mass = static_cast<double>(params.top_p) * sum;
    double reached = 0;
    size_t needed = 0;
    while (needed < kept && (needed == 0 || reached < mass)) {
      reached += weights[needed++];
      note((reached - mass) / sum);
    }
    kept = needed;
  }
  if (params.min_p > 0.0f) {
    size_t needed = 0;
    while (needed < kept && weights[needed] >= static_cast<double>(params.min_p)) {
      if (weights[needed] < 1) note(weights[needed] - static_cast<double>(params.min_p));
      ++needed;
    }
    if (needed < kept) note(weights[needed] - static_cast<double>(params.min_p));
    kept = needed;
  }
  sum = std::accumulate(weights.begin(), weights.begin() + static_cast<ptrdiff_t>(kept), 0.0);
  answer.probabilities.assign(vocabulary, 0.0);
  for (size_t i = 0; i < kept; ++i) answer.probabilities[order[i]] = weights[i] / sum;
  return answer;
}

// Tokens laid end to end by rising id: the one that `uniform` falls on, and the distance to the nearest end.
struct OracleDraw {
  int32_t token = -1;
  double margin = 0;
};

inline OracleDraw DrawOf(const std::vector<double>& probabilities, double uniform) {
  double before = 0;
  for (size_t token = 0; token < probabilities.size(); ++token) {
    const double after = before + probabilities[token];
    if (uniform < after) return {static_cast<int32_t>(token), std::min(uniform - before, after - uniform)};
    before = after;
  }
  return {};
}

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_SAMPLE_SAMPLING_ORACLE_H_
