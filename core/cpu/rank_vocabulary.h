// A vocabulary that several ranks share: whose row a token's embedding is, and how logits' slices become
// tokens. A row that only needs its largest logit is settled by everybody's maxima; of the others rank 0 gets
// all logits. What ranks bring is plain bytes; nothing is summed.
#ifndef TESSERA_CORE_CPU_RANK_VOCABULARY_H_
#define TESSERA_CORE_CPU_RANK_VOCABULARY_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/execute/backend.h"

namespace tessera {

// Of one row's slice of logits on one rank.
struct SliceMaximum {
  float largest;
  int32_t token;  // the lowest id of that logit; -1: the slice is empty
  int32_t finite;
  int32_t unused;
};

class RankVocabulary {
 public:
  using Incoming = absl::Span<const absl::Span<const uint8_t>>;

  explicit RankVocabulary(const ModelPart* part) : part_(part) {}

  int32_t first() const { return cut(part_->rank); }
  int32_t size() const { return size_of(part_->rank); }

  // The rows whose embedding this rank has, and where each row is among its owner's, in slots [row_count].
  int64_t LayRows(const StepView& step, int32_t* slots) const;
  bool Owns(int32_t token) const { return token >= first() && token < first() + size(); }
  bool RowsFit(Incoming incoming, const StepView& step, int64_t hidden) const;
  // out [hidden]: the embedding of a token that is the slot-th among its owner's.
  void TakeRow(Incoming incoming, int32_t token, int32_t slot, int64_t hidden, float* out) const;

  // The step's samples, those that gather logits first, in order [sample_count]; returns how many those are.
  static int32_t OrderSamples(const StepView& step, int32_t* order);
  // Of this rank's slice.
  SliceMaximum Maximum(const float* logits) const;
  // A rank brings [samples] maxima, then [gathered, size] logits, both in `order`.
  bool SlicesFit(Incoming incoming, int32_t samples, int32_t gathered) const;
  // The i-th sample's token from the maxima.
  void TakeToken(Incoming incoming, int32_t i, SampleRow* row) const;
  // The i-th sample's logits: out [vocabulary].
  void TakeLogits(Incoming incoming, int32_t i, int32_t samples, float* out) const;

 private:
  int32_t cut(int32_t rank) const { return part_->vocabulary_cuts[static_cast<size_t>(rank)]; }
  int32_t size_of(int32_t rank) const { return cut(rank + 1) - cut(rank); }
  int32_t OwnerOf(int32_t token) const;

  const ModelPart* part_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_RANK_VOCABULARY_H_
