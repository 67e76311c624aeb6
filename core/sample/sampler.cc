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

bool WantsAllLogits(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  return row.logits_out != nullptr || params.temperature > 0 || params.top_logprobs >= 0 ||
         !params.logit_bias.empty() || HasPenalties(params);
}

size_t Sampler::HeapBytes(int32_t vocabulary_size) {
  const size_t token_bytes = sizeof(float) /* adjusted_ */ + sizeof(float) /* probabilities_ */ +
                             sizeof(int32_t) /* counts_ */ + sizeof(int32_t) + sizeof(float) +
                             sizeof(uint64_t) /* candidates */;
  return sizeof(Sampler) + static_cast<size_t>(vocabulary_size) * token_bytes +
         static_cast<size_t>(BlocksOf(vocabulary_size)) * (sizeof(float) + sizeof(double)) +
         kSelectBuckets * sizeof(double);
}

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
  Begin(logits, row);
  while (!Advance()) {
  }
}

void Sampler::Begin(const float* logits, SampleRow* row) noexcept {
  logits_ = logits;
  row_ = row;
  row->token = -1;
  row->numeric_fault = false;
  row->logprob = 0;
  row->top_count = 0;
  stage_ = Stage::kSummarise;
}

bool Sampler::Advance() noexcept {
  if (stage_ != Stage::kDone) stage_ = RunStage();
  return stage_ == Stage::kDone;
}

Sampler::Stage Sampler::RunStage() {
  switch (stage_) {
    case Stage::kSummarise:
      return SummariseRaw();
    case Stage::kAdjust:
      return Adjust();
    case Stage::kChoose:
      return Choose();
    case Stage::kSelectTopK:
      return selection_.Advance(&candidates_) ? Stage::kWeighCandidates : stage_;
    case Stage::kWeighCandidates:
      return WeighCandidates();
    case Stage::kWeighAll:
      return WeighAll();
    case Stage::kGatherTopMass:
      return GatherTopMass();
    case Stage::kSelectTopMass:
      return selection_.Advance(&candidates_) ? Stage::kCutSmall : stage_;
    case Stage::kCutSmall:
      if (row_->params->min_p > 0.0f) SelectAtLeast(std::min(row_->params->min_p, 1.0f), &candidates_);
      return Stage::kDraw;
    case Stage::kDraw:
      return Draw();
    case Stage::kLogprobs:
      return FillLogprobs();
    case Stage::kSelectTopLogprobs:
      return selection_.Advance(&candidates_) ? FillTopLogprobs() : stage_;
    case Stage::kDone:
      break;
  }
  return Stage::kDone;
}

Sampler::Stage Sampler::SummariseRaw() {
  const SamplingParams& params = *row_->params;
  if (row_->logits_out != nullptr) CopyRow(logits_, vocabulary_size_, row_->logits_out);
  const RowSummary raw =
      Summarise(logits_, vocabulary_size_, params.top_k > 0 ? block_largest_.data() : nullptr);
  if (!raw.all_finite) {
    row_->numeric_fault = true;
    return Stage::kDone;
  }
  chosen_from_ = logits_;
  largest_ = raw_largest_ = raw.largest;
  return !params.logit_bias.empty() || HasPenalties(params) ? Stage::kAdjust : Stage::kChoose;
}

Sampler::Stage Sampler::Adjust() {
  const SamplingParams& params = *row_->params;
  CopyRow(logits_, vocabulary_size_, adjusted_.data());
  ApplyBias(params, adjusted_.data(), vocabulary_size_);
  if (HasPenalties(params)) {
    ApplyPenalties(params, row_->history, row_->history_count, counts_.data(), adjusted_.data(),
                   vocabulary_size_);
  }
  chosen_from_ = adjusted_.data();
  largest_ =
      Summarise(chosen_from_, vocabulary_size_, params.top_k > 0 ? block_largest_.data() : nullptr).largest;
  if (largest_ == -kInfinity) {
    row_->numeric_fault = true;
    return Stage::kDone;
  }
  return Stage::kChoose;
}

Sampler::Stage Sampler::Choose() {
  const SamplingParams& params = *row_->params;
  if (!(params.temperature > 0)) {
    row_->token = FirstEqual(chosen_from_, vocabulary_size_, largest_);
    return Stage::kLogprobs;
  }
  if (params.top_k <= 0 || params.top_k >= vocabulary_size_) return Stage::kWeighAll;
  GatherTopK(chosen_from_, vocabulary_size_, params.top_k, block_largest_.data(), &candidates_);
  selection_.Begin(params.top_k, Selection::Weight::kOne);
  return Stage::kSelectTopK;
}

float Sampler::InverseTemperature() const {
  return 1.0f / std::clamp(row_->params->temperature, 1e-30f, 1e30f);
}

// The largest logit has probability 1, so candidates always hold a positive sum.
Sampler::Stage Sampler::WeighCandidates() {
  const double sum = Exponentials(candidates_.values, candidates_.count, largest_, InverseTemperature(),
                                  candidates_.values, nullptr);
  if (!(row_->params->top_p < 1.0f)) return Stage::kCutSmall;
  selection_.Begin(static_cast<double>(row_->params->top_p) * sum, Selection::Weight::kValue);
  return Stage::kSelectTopMass;
}

Sampler::Stage Sampler::WeighAll() {
  const SamplingParams& params = *row_->params;
  const double sum = Exponentials(chosen_from_, vocabulary_size_, largest_, InverseTemperature(),
                                  probabilities_.data(), block_sums_.data());
  if (params.top_p < 1.0f) {
    mass_ = static_cast<double>(params.top_p) * sum;
    gathered_ = 0;
    return Stage::kGatherTopMass;
  }
  if (params.min_p > 0.0f) {
    candidates_.count = GatherAtLeast(probabilities_.data(), vocabulary_size_, std::min(params.min_p, 1.0f),
                                      candidates_.tokens, candidates_.values);
    return Stage::kDraw;
  }
  return DrawFromAll(UniformDraw(params.seed, row_->position) * sum);
}

// Most rows hold their mass in few tokens: those within a bound of the most probable one are tried first, and
// the bound falls until they reach the mass. The bounds save time and change no choice.
Sampler::Stage Sampler::GatherTopMass() {
  constexpr float kBounds[] = {0x1p-7f, 0x1p-14f, 0.0f};
  constexpr int32_t kBoundCount = sizeof(kBounds) / sizeof(kBounds[0]);
  candidates_.count = GatherAtLeast(probabilities_.data(), vocabulary_size_, kBounds[gathered_++],
                                    candidates_.tokens, candidates_.values);
  double reached = 0;
  for (int32_t i = 0; i < candidates_.count; ++i) reached += static_cast<double>(candidates_.values[i]);
  if (reached < mass_ && gathered_ < kBoundCount) return Stage::kGatherTopMass;
  selection_.Begin(mass_, Selection::Weight::kValue);
  return Stage::kSelectTopMass;
}

Sampler::Stage Sampler::Draw() {
  double sum = 0;
  for (int32_t i = 0; i < candidates_.count; ++i) sum += static_cast<double>(candidates_.values[i]);
  row_->token = DrawFrom(candidates_.tokens, candidates_.values, candidates_.count,
                         UniformDraw(row_->params->seed, row_->position) * sum);
  return Stage::kLogprobs;
}

Sampler::Stage Sampler::DrawFromAll(double target) {
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
  row_->token = first + DrawFrom(nullptr, probabilities_.data() + first, count, target - before);
  return Stage::kLogprobs;
}

Sampler::Stage Sampler::FillLogprobs() {
  if (row_->params->top_logprobs < 0) return Stage::kDone;
  log_sum_ = std::log(Exponentials(logits_, vocabulary_size_, raw_largest_, 1.0f, nullptr, nullptr));
  row_->logprob = LogprobOf(logits_[row_->token]);
  const int32_t wanted = std::min({row_->params->top_logprobs, kMaxTopLogprobs, vocabulary_size_});
  if (wanted <= 0) return Stage::kDone;
  Summarise(logits_, vocabulary_size_, block_largest_.data());
  GatherTopK(logits_, vocabulary_size_, wanted, block_largest_.data(), &candidates_);
  selection_.Begin(wanted, Selection::Weight::kOne);
  return Stage::kSelectTopLogprobs;
}

Sampler::Stage Sampler::FillTopLogprobs() {
  SortFalling(&candidates_);
  row_->top_count = candidates_.count;
  for (int32_t i = 0; i < candidates_.count; ++i) {
    row_->top_tokens[i] = candidates_.tokens[i];
    row_->top_logprobs[i] = LogprobOf(candidates_.values[i]);
  }
  return Stage::kDone;
}

float Sampler::LogprobOf(float logit) const {
  return static_cast<float>((static_cast<double>(logit) - static_cast<double>(raw_largest_)) - log_sum_);
}

}  // namespace tessera
