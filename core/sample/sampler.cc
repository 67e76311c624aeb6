#include "core/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/sample/adjust.h"
#include "core/sample/random.h"
#include "core/sample/vocabulary_ops.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The candidate on which `target` falls when their values are laid end to end. Rounding may leave the target
// past the end: the last candidate of any weight takes it.
int32_t DrawFrom(const int32_t* tokens, const float* values, int32_t count, double target) {
  double reached = 0;
  int32_t last = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (values[i] == 0) continue;
    last = i;
    reached += static_cast<double>(values[i]);
    if (reached > target) break;
  }
  return tokens != nullptr ? tokens[last] : last;
}

}  // namespace

std::unique_ptr<Sampler> Sampler::Create(int32_t vocabulary_size) {
  return std::unique_ptr<Sampler>(new Sampler(vocabulary_size));
}

Sampler::Sampler(int32_t vocabulary_size)
    : vocabulary_size_(vocabulary_size),
      adjusted_(vocabulary_size),
      probabilities_(vocabulary_size),
      block_largest_(BlocksOf(vocabulary_size)),
      block_sums_(BlocksOf(vocabulary_size)),
      counts_(vocabulary_size),
      candidate_tokens_(vocabulary_size),
      candidate_values_(vocabulary_size),
      candidate_keys_(vocabulary_size),
      bucket_weights_(kSelectBuckets) {
  candidates_ = {0, candidate_tokens_.data(), candidate_values_.data(), candidate_keys_.data(),
                 bucket_weights_.data()};
}

void Sampler::Sample(const float* logits, SampleRow* row) noexcept {
  const SamplingParams& params = *row->params;
  row->token = -1;
  row->numeric_fault = false;
  row->logprob = 0;
  row->top_count = 0;
  if (row->logits_out != nullptr) CopyRow(logits, vocabulary_size_, row->logits_out);

  const bool adjusts = !params.logit_bias.empty() || HasPenalties(params);
  float* const block_largest = params.top_k > 0 ? block_largest_.data() : nullptr;
  const RowSummary raw = Summarise(logits, vocabulary_size_, block_largest);
  if (!raw.all_finite) {
    row->numeric_fault = true;
    return;
  }

  const float* chosen_from = logits;
  float largest = raw.largest;
  if (adjusts) {
    CopyRow(logits, vocabulary_size_, adjusted_.data());
    ApplyBias(params, adjusted_.data(), vocabulary_size_);
    if (HasPenalties(params)) {
      ApplyPenalties(params, row->history, row->history_count, counts_.data(), adjusted_.data(),
                     vocabulary_size_);
    }
    chosen_from = adjusted_.data();
    largest = Summarise(chosen_from, vocabulary_size_, block_largest).largest;
    if (largest == -kInfinity) {
      row->numeric_fault = true;
      return;
    }
  }
  row->token = Choose(chosen_from, largest, *row);
  if (params.top_logprobs >= 0) FillLogprobs(logits, raw.largest, row);
}

int32_t Sampler::Choose(const float* logits, float largest, const SampleRow& row) {
  return row.params->temperature > 0 ? Draw(logits, largest, row)
                                     : FirstEqual(logits, vocabulary_size_, largest);
}

int32_t Sampler::Draw(const float* logits, float largest, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  const double uniform = UniformDraw(params.seed, row.position);
  const float scale = 1.0f / std::clamp(params.temperature, 1e-30f, 1e30f);
  const bool cuts_mass = params.top_p < 1.0f;
  const bool cuts_small = params.min_p > 0.0f;
  // The largest logit has probability 1, so candidates always hold a positive sum.
  if (params.top_k > 0 && params.top_k < vocabulary_size_) {
    SelectTopK(logits, vocabulary_size_, params.top_k, block_largest_.data(), &candidates_);
    const double sum =
        Exponentials(candidates_.values, candidates_.count, largest, scale, candidates_.values, nullptr);
    if (cuts_mass) SelectTopMass(static_cast<double>(params.top_p) * sum, &candidates_);
  } else {
    const double sum =
        Exponentials(logits, vocabulary_size_, largest, scale, probabilities_.data(), block_sums_.data());
    if (cuts_mass) {
      GatherTopMass(static_cast<double>(params.top_p) * sum);
    } else if (cuts_small) {
      candidates_.count = GatherAtLeast(probabilities_.data(), vocabulary_size_, std::min(params.min_p, 1.0f),
                                        candidates_.tokens, candidates_.values);
    } else {
      return DrawFromAll(uniform * sum);
    }
  }
  if (cuts_small) SelectAtLeast(std::min(params.min_p, 1.0f), &candidates_);
  double sum = 0;
  for (int32_t i = 0; i < candidates_.count; ++i) sum += static_cast<double>(candidates_.values[i]);
  return DrawFrom(candidates_.tokens, candidates_.values, candidates_.count, uniform * sum);
}

// Most rows hold their mass in few tokens: those within a bound of the most probable one are tried first, and
// the bound falls until they reach the mass. The bounds save time and change no choice.
void Sampler::GatherTopMass(double mass) {
  for (const float bound : {0x1p-7f, 0x1p-14f, 0.0f}) {
    candidates_.count =
        GatherAtLeast(probabilities_.data(), vocabulary_size_, bound, candidates_.tokens, candidates_.values);
    double reached = 0;
    for (int32_t i = 0; i < candidates_.count; ++i) reached += static_cast<double>(candidates_.values[i]);
    if (reached >= mass) break;
  }
  SelectTopMass(mass, &candidates_);
}

int32_t Sampler::DrawFromAll(double target) const {
  double before = 0;  // the blocks before `block`
  size_t block = 0;
  double reached = 0;
  for (size_t i = 0; i < block_sums_.size() && reached <= target; ++i) {
    if (block_sums_[i] == 0) continue;
    block = i;
    before = reached;
    reached += block_sums_[i];
  }
  const int32_t first = static_cast<int32_t>(block) * kVocabularyBlock;
  const int32_t count = std::min(kVocabularyBlock, vocabulary_size_ - first);
  return first + DrawFrom(nullptr, probabilities_.data() + first, count, target - before);
}

void Sampler::FillLogprobs(const float* logits, float largest, SampleRow* row) {
  const double log_sum = std::log(Exponentials(logits, vocabulary_size_, largest, 1.0f, nullptr, nullptr));
  const auto logprob_of = [log_sum, largest](float logit) {
    return static_cast<float>((static_cast<double>(logit) - static_cast<double>(largest)) - log_sum);
  };
  row->logprob = logprob_of(logits[row->token]);

  const int32_t wanted = std::min({row->params->top_logprobs, kMaxTopLogprobs, vocabulary_size_});
  if (wanted <= 0) return;
  Summarise(logits, vocabulary_size_, block_largest_.data());
  SelectTopK(logits, vocabulary_size_, wanted, block_largest_.data(), &candidates_);
  SortFalling(&candidates_);
  row->top_count = wanted;
  for (int32_t i = 0; i < wanted; ++i) {
    row->top_tokens[i] = candidates_.tokens[i];
    row->top_logprobs[i] = logprob_of(candidates_.values[i]);
  }
}

}  // namespace tessera
