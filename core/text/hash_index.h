// A hash table of numbered things, whose keys the caller keeps and compares. It is filled once, allocates in
// Reserve alone, and is whole again after an allocation that failed there, which absl::flat_hash_map of 2022
// is not: that one has its new capacity before its new slots, and crashes in its destructor.
#ifndef TESSERA_CORE_TEXT_HASH_INDEX_H_
#define TESSERA_CORE_TEXT_HASH_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera {

class HashIndex {
 public:
  // Empties it, and makes room for `items` calls of Put. Before the first Reserve nothing is found.
  void Reserve(size_t items) {
    size_t capacity = kLeastCapacity;
    while (capacity < 2 * items) capacity *= 2;
    slots_.assign(capacity, Slot{});
  }

  // The item with this hash for which `same(item)` is true, or -1.
  template <typename Same>
  int32_t Find(uint64_t hash, const Same& same) const {
    return slots_.empty() ? -1 : slots_[Probe(hash, same)].item;
  }

  // In place of the same item, if there is one. `item` is not negative.
  template <typename Same>
  void Put(uint64_t hash, int32_t item, const Same& same) {
    slots_[Probe(hash, same)] = {Tag(hash), item};
  }

  size_t heap_bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  static constexpr size_t kLeastCapacity = 16;
  struct Slot {
    uint32_t tag = 0;  // tells most other items apart without a look at their keys
    int32_t item = -1;
  };

  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  // The slot of the item, or the empty one where it belongs; half of the slots stay empty, so there is one.
  template <typename Same>
  size_t Probe(uint64_t hash, const Same& same) const {
    const size_t mask = slots_.size() - 1;
    size_t at = hash & mask;
    while (slots_[at].item >= 0 && !(slots_[at].tag == Tag(hash) && same(slots_[at].item)))
      at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;  // a power of two of them
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_HASH_INDEX_H_
