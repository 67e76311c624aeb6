#include "tests/gpu/sample_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "core/sample/adjust.h"
#include "core/sample/random.h"
#include "core/sample/sampler.h"

namespace tessera::gpu {
namespace {

SamplingParams ParamsOf(const SampleCase& sample) {
  SamplingParams params;
  params.temperature = sample.temperature;
  params.top_k = sample.top_k;
  params.top_p = sample.top_p;
  params.min_p = sample.min_p;
  params.repetition_penalty = sample.repetition_penalty;
  params.frequency_penalty = sample.frequency_penalty;
  params.presence_penalty = sample.presence_penalty;
  params.penalty_window_tokens = static_cast<int32_t>(sample.window.size());
  params.seed = sample.seed;
  params.logit_bias = sample.bias;
  params.top_logprobs = sample.top_logprobs;
  return params;
}

// A kept set in double precision, and how far the draw may be off for what is uncertain about it.
struct Kept {
  std::vector<int32_t> tokens;  // by rising id
  double slack = 0;             // mass that may be in or out
};

}  // namespace

class SampleReference::Worker {
 public:
  explicit Worker(int32_t vocabulary) : vocabulary_(vocabulary), sampler_(Sampler::Create(vocabulary)) {}

  SampleOutcome Sample(const float* logits, const SampleCase& sample) {
    const SamplingParams params = ParamsOf(sample);
    SampleRow row;
    row.params = &params;
    row.position = sample.position;
    row.history = sample.window.data();
    row.history_count = static_cast<int32_t>(sample.window.size());
    sampler_->Sample(logits, &row);
    SampleOutcome outcome;
    outcome.token = row.token;
    outcome.numeric_fault = row.numeric_fault;
    outcome.logprob = row.logprob;
    outcome.top_count = row.top_count;
    std::copy_n(row.top_tokens, row.top_count, outcome.top_tokens);
    std::copy_n(row.top_logprobs, row.top_count, outcome.top_logprobs);
    return outcome;
  }

  bool MayDraw(const float* logits, const SampleCase& sample, int32_t token, double tolerance) {
    if (!(sample.temperature > 0) || token < 0 || token >= vocabulary_) return false;
    Weigh(logits, sample);
    const double whole = Sum(ranked_, ranked_.size());
    size_t fewest = ranked_.size();
    size_t most = ranked_.size();
    if (sample.top_p < 1.0f) {
      const double target = static_cast<double>(sample.top_p) * whole;
      fewest = CountReaching(target - tolerance * whole);
      most = CountReaching(target + tolerance * whole);
    }
    for (size_t count = fewest; count <= most; ++count) {
      if (IsDrawn(Keep(sample, count, tolerance), sample, token, tolerance)) return true;
    }
    return false;
  }

 private:
  // ranked_: the tokens that top-k leaves, most probable first; probabilities_ by token.
  void Weigh(const float* logits, const SampleCase& sample) {
    const SamplingParams params = ParamsOf(sample);
    std::vector<float> adjusted(logits, logits + vocabulary_);
    std::vector<int32_t> counts(vocabulary_);
    ApplyBias(params, adjusted.data(), vocabulary_);
    if (HasPenalties(params)) {
      ApplyPenalties(params, sample.window.data(), static_cast<int32_t>(sample.window.size()), counts.data(),
                     adjusted.data(), vocabulary_);
    }
    ranked_.resize(vocabulary_);
    std::iota(ranked_.begin(), ranked_.end(), 0);
    std::stable_sort(ranked_.begin(), ranked_.end(),
                     [&](int32_t a, int32_t b) { return adjusted[a] > adjusted[b]; });
    if (sample.top_k > 0 && sample.top_k < vocabulary_) ranked_.resize(sample.top_k);
    const float scale = 1.0f / std::clamp(sample.temperature, 1e-30f, 1e30f);
    const float largest = adjusted[ranked_[0]];
    probabilities_.assign(vocabulary_, 0.0);
    for (const int32_t token : ranked_) {
      probabilities_[token] = std::exp(static_cast<double>((adjusted[token] - largest) * scale));
    }
    std::stable_sort(ranked_.begin(), ranked_.end(), [&](int32_t a, int32_t b) {
      return probabilities_[a] != probabilities_[b] ? probabilities_[a] > probabilities_[b] : a < b;
    });
  }

  double Sum(const std::vector<int32_t>& tokens, size_t count) const {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += probabilities_[tokens[i]];
    return sum;
  }

  size_t CountReaching(double target) const {
    double reached = 0;
    for (size_t i = 0; i < ranked_.size(); ++i) {
      reached += probabilities_[ranked_[i]];
      if (reached >= target) return i + 1;
    }
    return ranked_.size();
  }

  Kept Keep(const SampleCase& sample, size_t count, double tolerance) const {
    Kept kept;
    kept.tokens.assign(ranked_.begin(), ranked_.begin() + static_cast<std::ptrdiff_t>(count));
    if (count < ranked_.size()) {  // which of almost equal ones stand inside of the border is uncertain
      const double border = probabilities_[ranked_[count - 1]];
      for (const int32_t other : ranked_) {
        const double probability = probabilities_[other];
        if (probability != border && std::abs(probability - border) <= 2 * tolerance * border) {
          kept.slack += border;
        }
      }
    }
    if (sample.min_p > 0.0f) {
      const double least = std::min(sample.min_p, 1.0f);
      std::erase_if(kept.tokens, [&](int32_t other) { return probabilities_[other] < least; });
      for (const int32_t other : ranked_) {
        const double probability = probabilities_[other];
        if (probability != 1 && std::abs(probability - least) <= 2 * tolerance * least) kept.slack += least;
      }
    }
    std::sort(kept.tokens.begin(), kept.tokens.end());
    return kept;
  }

  bool IsDrawn(const Kept& kept, const SampleCase& sample, int32_t token, double tolerance) const {
    const double sum = Sum(kept.tokens, kept.tokens.size());
    const double target = UniformDraw(sample.seed, sample.position) * sum;
    const double slack = kept.slack + tolerance * sum;
    double before = 0;
    for (const int32_t other : kept.tokens) {
      if (other >= token) break;
      before += probabilities_[other];
    }
    const bool is_kept = std::binary_search(kept.tokens.begin(), kept.tokens.end(), token);
    if (!is_kept && kept.slack == 0) return false;
    return before - slack <= target && target <= before + probabilities_[token] + slack;
  }

  const int32_t vocabulary_;
  std::unique_ptr<Sampler> sampler_;
  std::vector<int32_t> ranked_;
  std::vector<double> probabilities_;
};

SampleReference::SampleReference(int32_t vocabulary) {
  for (int worker = 0; worker < 8; ++worker) workers_.push_back(std::make_unique<Worker>(vocabulary));
}
SampleReference::~SampleReference() = default;

std::vector<SampleOutcome> SampleReference::Sample(const std::vector<std::vector<float>>& logits,
                                                   const std::vector<SampleCase>& cases) {
  std::vector<SampleOutcome> outcomes(cases.size());
  std::vector<std::thread> threads;
  for (size_t first = 0; first < workers_.size(); ++first) {
    threads.emplace_back([&, first] {
      for (size_t i = first; i < cases.size(); i += workers_.size()) {
        outcomes[i] = workers_[first]->Sample(logits[i].data(), cases[i]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

bool SampleReference::MayDraw(const float* logits, const SampleCase& sample, int32_t token,
                              double tolerance) {
  return workers_[0]->MayDraw(logits, sample, token, tolerance);
}

}  // namespace tessera::gpu
