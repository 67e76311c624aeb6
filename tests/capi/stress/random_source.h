// Random choices that are the same on every machine (SplitMix64).
#ifndef TESSERA_TESTS_CAPI_STRESS_RANDOM_SOURCE_H_
#define TESSERA_TESTS_CAPI_STRESS_RANDOM_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tessera::host {

class RandomSource {
 public:
  explicit RandomSource(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  int Below(int end) { return static_cast<int>(Next() % static_cast<uint64_t>(end)); }  // [0, end)
  bool OneIn(int n) { return Below(n) == 0; }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }  // [0, 1)
  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[static_cast<size_t>(Below(static_cast<int>(i)))]);
  }

 private:
  uint64_t state_;
};

}  // namespace tessera::host

#endif  // TESSERA_TESTS_CAPI_STRESS_RANDOM_SOURCE_H_
