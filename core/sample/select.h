// Which tokens remain: the k largest, and the smallest set of most probable ones that holds a given mass. No
// full sort of a vocabulary. Of equal values the lower index comes first, so every choice is determined.
#ifndef TESSERA_CORE_SAMPLE_SELECT_H_
#define TESSERA_CORE_SAMPLE_SELECT_H_

#include <cstdint>

namespace tessera {

inline constexpr int32_t kSelectBuckets = 4096;

// Candidates by rising token id, and room to choose among them.
struct Candidates {
  int32_t count = 0;
  int32_t* tokens = nullptr;         // [capacity]
  float* values = nullptr;           // [capacity] logits or unnormalised probabilities
  uint64_t* keys = nullptr;          // [capacity] scratch
  double* bucket_weights = nullptr;  // [kSelectBuckets] scratch
};

// Keeps the k largest of values [count]; 1 <= k <= count. No NaN among them. block_largest [BlocksOf(count)],
// as Summarise writes it, is used up.
void SelectTopK(const float* values, int32_t count, int32_t k, float* block_largest, Candidates* candidates);

// Keeps the most probable candidates: as few as reach `mass`, at least one. Values are not negative.
void SelectTopMass(double mass, Candidates* candidates);

// Keeps candidates of at least `least`.
void SelectAtLeast(float least, Candidates* candidates);

// Orders candidates by falling value.
void SortFalling(Candidates* candidates);

}  // namespace tessera

#endif  // TESSERA_CORE_SAMPLE_SELECT_H_
