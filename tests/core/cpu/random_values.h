// Random inputs and poisoned outputs for the operators' tests.
#ifndef TESSERA_TESTS_CORE_CPU_RANDOM_VALUES_H_
#define TESSERA_TESTS_CORE_CPU_RANDOM_VALUES_H_

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace tessera {

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float spread = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

// An output that its operator forgot to write shows as NaN.
inline std::vector<float> Poisoned(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_CPU_RANDOM_VALUES_H_
