#include "core/cpu/rank_vocabulary.h"

#include <cstring>

#include "core/parallel/partition.h"
#include "core/sample/vocabulary_ops.h"

namespace tessera {

int32_t RankVocabulary::OwnerOf(int32_t token) const {
  int32_t rank = 0;
  while (token >= cut(rank + 1)) ++rank;
  return rank;
}

int64_t RankVocabulary::LayRows(const StepView& step, int32_t* slots) const {
  int32_t counts[kMostTensorRanks] = {};
  for (int32_t row = 0; row < step.row_count; ++row) slots[row] = counts[OwnerOf(step.tokens[row])]++;
  return counts[part_->rank];
}

bool RankVocabulary::RowsFit(Incoming incoming, const StepView& step, int64_t hidden) const {
  if (incoming.size() != static_cast<size_t>(part_->ranks)) return false;
  size_t rows[kMostTensorRanks] = {};
  for (int32_t row = 0; row < step.row_count; ++row) ++rows[OwnerOf(step.tokens[row])];
  for (size_t r = 0; r < incoming.size(); ++r) {
    if (incoming[r].size() != rows[r] * static_cast<size_t>(hidden) * sizeof(float)) return false;
  }
  return true;
}

void RankVocabulary::TakeRow(Incoming incoming, int32_t token, int32_t slot, int64_t hidden,
                             float* out) const {
  const size_t bytes = static_cast<size_t>(hidden) * sizeof(float);
  std::memcpy(out, incoming[static_cast<size_t>(OwnerOf(token))].data() + static_cast<size_t>(slot) * bytes,
              bytes);
}

int32_t RankVocabulary::OrderSamples(const StepView& step, int32_t* order) {
  int32_t gathered = 0;
  for (int32_t i = 0; i < step.sample_count; ++i) {
    if (step.samples[i].gather_logits) order[gathered++] = i;
  }
  int32_t end = gathered;
  for (int32_t i = 0; i < step.sample_count; ++i) {
    if (!step.samples[i].gather_logits) order[end++] = i;
  }
  return gathered;
}

SliceMaximum RankVocabulary::Maximum(const float* logits) const {
  if (size() == 0) return {0, -1, 1, 0};
  const RowSummary summary = Summarise(logits, size(), nullptr);
  if (!summary.all_finite) return {0, -1, 0, 0};
  return {summary.largest, first() + FirstEqual(logits, size(), summary.largest), 1, 0};
}

bool RankVocabulary::SlicesFit(Incoming incoming, int32_t samples, int32_t gathered) const {
  if (incoming.size() != static_cast<size_t>(part_->ranks)) return false;
  for (int32_t r = 0; r < part_->ranks; ++r) {
    const size_t bytes = static_cast<size_t>(samples) * sizeof(SliceMaximum) +
                         static_cast<size_t>(gathered) * static_cast<size_t>(size_of(r)) * sizeof(float);
    if (incoming[static_cast<size_t>(r)].size() != bytes) return false;
  }
  return true;
}

// Slices come by rising id: of equal logits the first is the one with the lowest.
void RankVocabulary::TakeToken(Incoming incoming, int32_t i, SampleRow* row) const {
  SliceMaximum best = {0, -1, 1, 0};
  bool finite = true;
  for (const absl::Span<const uint8_t>& from : incoming) {
    SliceMaximum maximum;
    std::memcpy(&maximum, from.data() + static_cast<size_t>(i) * sizeof(maximum), sizeof(maximum));
    finite = finite && maximum.finite != 0;
    if (maximum.token >= 0 && (best.token < 0 || maximum.largest > best.largest)) best = maximum;
  }
  row->token = finite ? best.token : -1;
  row->numeric_fault = !finite;
  row->logprob = 0;
  row->top_count = 0;
}

void RankVocabulary::TakeLogits(Incoming incoming, int32_t i, int32_t samples, float* out) const {
  for (int32_t r = 0; r < part_->ranks; ++r) {
    const size_t bytes = static_cast<size_t>(size_of(r)) * sizeof(float);
    if (bytes == 0) continue;
    std::memcpy(out + cut(r),
                incoming[static_cast<size_t>(r)].data() +
                    static_cast<size_t>(samples) * sizeof(SliceMaximum) + static_cast<size_t>(i) * bytes,
                bytes);
  }
}

}  // namespace tessera
