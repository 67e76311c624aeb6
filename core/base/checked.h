// Arithmetic on numbers that come from outside: every result is checked before anyone uses it.
#ifndef TESSERA_CORE_BASE_CHECKED_H_
#define TESSERA_CORE_BASE_CHECKED_H_

#include <cstdint>
#include <optional>

namespace tessera {

inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> CheckedMultiply(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// `alignment` is a power of two.
inline std::optional<uint64_t> CheckedAlignUp(uint64_t value, uint64_t alignment) {
  const std::optional<uint64_t> sum = CheckedAdd(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

constexpr uint64_t CeilDivide(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace tessera

#endif  // TESSERA_CORE_BASE_CHECKED_H_
