#include "core/sample/select.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "core/sample/vocabulary_ops.h"

namespace tessera {
namespace {

// One integer that orders as (value, then lower token first): larger is better. -0 counts as +0.
uint64_t KeyOf(float value, int32_t token) {
  const float unsigned_zero = value + 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &unsigned_zero, sizeof(bits));
  const uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return (uint64_t{ordered} << 32) | (0xffffffffu - static_cast<uint32_t>(token));
}

float ValueOf(uint64_t key) {
  const uint32_t ordered = static_cast<uint32_t>(key >> 32);
  const uint32_t bits = (ordered >> 31) != 0 ? ordered & 0x7fffffffu : ~ordered;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

int32_t TokenOf(uint64_t key) { return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key)); }

void FillKeys(Candidates* candidates) {
  for (int32_t i = 0; i < candidates->count; ++i) {
    candidates->keys[i] = KeyOf(candidates->values[i], candidates->tokens[i]);
  }
}

template <typename Keep>
void Filter(Candidates* candidates, Keep keep) {
  int32_t kept = 0;
  for (int32_t i = 0; i < candidates->count; ++i) {
    const float value = candidates->values[i];
    const int32_t token = candidates->tokens[i];
    if (!keep(value, token)) continue;
    candidates->values[kept] = value;
    candidates->tokens[kept] = token;
    ++kept;
  }
  candidates->count = kept;
}

// Up to this many keys are chosen among by comparing; more are put into buckets first, which is linear.
constexpr int32_t kFewKeys = 1024;
constexpr int kBucketBits = 12;
static_assert(kSelectBuckets == 1 << kBucketBits, "one bucket for each value of the bits");

int32_t BucketOf(uint64_t key, int shift) {
  return static_cast<int32_t>((key >> shift) & (kSelectBuckets - 1));
}

// Sorts keys into buckets by the 12 bits above `shift` (all higher bits are equal) and leaves those of the
// bucket that holds the last key kept; takes the weight of the better buckets off `target`. Returns how many
// are left.
template <typename WeightOf>
int32_t NarrowToBucket(uint64_t* keys, int32_t count, int shift, WeightOf weight_of, double* bucket_weights,
                       double* target) {
  std::fill(bucket_weights, bucket_weights + kSelectBuckets, 0.0);
  for (int32_t i = 0; i < count; ++i) bucket_weights[BucketOf(keys[i], shift)] += weight_of(keys[i]);
  int32_t last_held =
      0;  // where rounding keeps the sum below the target, the worst bucket that holds a weight
  double before_last_held = 0;
  double reached = 0;
  for (int32_t bucket = kSelectBuckets - 1; bucket >= 0 && (reached == 0 || reached < *target); --bucket) {
    if (bucket_weights[bucket] == 0) continue;
    last_held = bucket;
    before_last_held = reached;
    reached += bucket_weights[bucket];
  }
  *target -= before_last_held;
  return static_cast<int32_t>(
      std::remove_if(keys, keys + count, [=](uint64_t key) { return BucketOf(key, shift) != last_held; }) -
      keys);
}

// The key of the last candidate kept: halves the range in which it lies. `target` is what is still to be
// reached from the first key on.
template <typename WeightOf>
uint64_t LeastKey(uint64_t* keys, int32_t count, double target, WeightOf weight_of) {
  int32_t first = 0;
  int32_t last = count - 1;
  while (first < last) {
    const int32_t middle = first + (last - first) / 2;
    std::nth_element(keys + first, keys + middle, keys + last + 1, std::greater<uint64_t>());
    double better_half = 0;
    for (int32_t i = first; i <= middle; ++i) better_half += weight_of(keys[i]);
    if (better_half >= target) {
      last = middle;
    } else {
      target -= better_half;
      first = middle + 1;
    }
  }
  return keys[first];
}

}  // namespace

template <typename WeightOf>
bool Selection::AdvanceBy(WeightOf weight_of, Candidates* candidates) {
  switch (stage_) {
    case Stage::kKeys:
      FillKeys(candidates);
      count_ = candidates->count;
      shift_ = 64 - kBucketBits;
      stage_ = Stage::kNarrow;
      return false;
    case Stage::kNarrow:
      if (count_ > kFewKeys && shift_ >= 0) {
        count_ =
            NarrowToBucket(candidates->keys, count_, shift_, weight_of, candidates->bucket_weights, &target_);
        shift_ -= kBucketBits;
        return false;
      }
      least_key_ = LeastKey(candidates->keys, count_, target_, weight_of);
      stage_ = Stage::kFilter;
      return false;
    case Stage::kFilter:
      Filter(candidates,
             [least = least_key_](float value, int32_t token) { return KeyOf(value, token) >= least; });
      return true;
  }
  return true;
}

bool Selection::Advance(Candidates* candidates) {
  if (weight_ == Weight::kOne) {
    return AdvanceBy([](uint64_t /*key*/) { return 1.0; }, candidates);
  }
  return AdvanceBy([](uint64_t key) { return static_cast<double>(ValueOf(key)); }, candidates);
}

void GatherTopK(const float* values, int32_t count, int32_t k, float* block_largest, Candidates* candidates) {
  // k blocks have a largest value of at least the k-th largest of all blocks, so k values do: that bound
  // leaves little more than k values to choose among.
  const int32_t blocks = BlocksOf(count);
  float bound = -std::numeric_limits<float>::infinity();
  if (k <= blocks) {
    std::nth_element(block_largest, block_largest + (k - 1), block_largest + blocks, std::greater<float>());
    bound = block_largest[k - 1];
  }
  candidates->count = GatherAtLeast(values, count, bound, candidates->tokens, candidates->values);
}

void SelectTopK(const float* values, int32_t count, int32_t k, float* block_largest, Candidates* candidates) {
  GatherTopK(values, count, k, block_largest, candidates);
  Selection selection;
  selection.Begin(k, Selection::Weight::kOne);
  while (!selection.Advance(candidates)) {
  }
}

void SelectTopMass(double mass, Candidates* candidates) {
  Selection selection;
  selection.Begin(mass, Selection::Weight::kValue);
  while (!selection.Advance(candidates)) {
  }
}

void SelectAtLeast(float least, Candidates* candidates) {
  Filter(candidates, [least](float value, int32_t /*token*/) { return value >= least; });
}

void SortFalling(Candidates* candidates) {
  FillKeys(candidates);
  std::sort(candidates->keys, candidates->keys + candidates->count, std::greater<uint64_t>());
  for (int32_t i = 0; i < candidates->count; ++i) {
    candidates->values[i] = ValueOf(candidates->keys[i]);
    candidates->tokens[i] = TokenOf(candidates->keys[i]);
  }
}

}  // namespace tessera
