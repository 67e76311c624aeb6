// The 16-bit float formats as plain C++: exact, NaN and infinity included.
#ifndef TESSERA_CORE_CPU_KERNELS_LINEAR_HALF_H_
#define TESSERA_CORE_CPU_KERNELS_LINEAR_HALF_H_

#include <bit>
#include <cstdint>
#include <cstring>

namespace tessera::cpu {

template <class T>
inline T LoadAs(const void* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

inline float BFloatToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  // Read as float bits, the magnitude is 2^112 too small; the product is exact, also for subnormals.
  const float value = magnitude >= 0x7c00u << 13 ? std::bit_cast<float>(magnitude | 0x7f800000u)
                                                 : std::bit_cast<float>(magnitude) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_LINEAR_HALF_H_
