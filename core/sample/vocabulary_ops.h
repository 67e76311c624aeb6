// The passes over a whole row of logits, for every instruction set by run-time dispatch. They know nothing of
// sampling's rules. No pointer needs an alignment.
#ifndef TESSERA_CORE_SAMPLE_VOCABULARY_OPS_H_
#define TESSERA_CORE_SAMPLE_VOCABULARY_OPS_H_

#include <cstdint>

namespace tessera {

// Rows are cut into blocks of this many values, whatever the vector's width; the last one may be shorter.
inline constexpr int32_t kVocabularyBlock = 64;
inline constexpr int32_t BlocksOf(int32_t count) { return (count + kVocabularyBlock - 1) / kVocabularyBlock; }

// A plain loop of vectors: the C library's block moves are several times slower for some alignments (Zen 3).
void CopyRow(const float* values, int32_t count, float* copy);

struct RowSummary {
  float largest;    // of no meaning where all_finite is false because of a NaN
  bool all_finite;  // neither NaN nor infinity
};

// Also writes the largest value of each block where block_largest is not null.
RowSummary Summarise(const float* values, int32_t count, float* block_largest /* [BlocksOf(count)] */);

// The first index whose value equals `value` (zeros of either sign are equal); -1 where there is none.
int32_t FirstEqual(const float* values, int32_t count, float value);

// results[i] = exp((values[i] - largest) * scale) where results is not null; exactly 1 for values[i] ==
// largest and 0 for -infinity. Returns their sum in double precision, in an order that the count and the
// vector's width fix: block_sums (where not null) holds each block's, and the total adds those up from the
// first on. `results` may be `values`.
double Exponentials(const float* values, int32_t count, float largest, float scale, float* results,
                    double* block_sums /* [BlocksOf(count)] */);

// Writes index and value of every values[i] >= least, by rising index; returns how many.
int32_t GatherAtLeast(const float* values, int32_t count, float least, int32_t* indices, float* gathered);

}  // namespace tessera

#endif  // TESSERA_CORE_SAMPLE_VOCABULARY_OPS_H_
