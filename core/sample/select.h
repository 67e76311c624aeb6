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

// Keeps the best candidates, as few as have together a weight of `target`, at least one: a choice made in
// steps of about one pass over the candidates each.
class Selection {
 public:
  enum class Weight { kOne, kValue };  // of a candidate: 1, or its value

  // Nothing is chosen before Advance.
  void Begin(double target, Weight weight) {
    target_ = target;
    weight_ = weight;
    stage_ = Stage::kKeys;
  }
  bool Advance(Candidates* candidates);  // true: done

 private:
  enum class Stage { kKeys, kNarrow, kFilter };
  template <typename WeightOf>
  bool AdvanceBy(WeightOf weight_of, Candidates* candidates);

  double target_ = 0;  // what is still to be reached
  Weight weight_ = Weight::kOne;
  Stage stage_ = Stage::kKeys;
  int32_t count_ = 0;  // keys left to choose among
  int shift_ = 0;      // above the bits by which they are told apart next
  uint64_t least_key_ = 0;
};

// The first part of SelectTopK: candidates among which the k largest are. A Selection of target k chooses
// them.
void GatherTopK(const float* values, int32_t count, int32_t k, float* block_largest, Candidates* candidates);

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
