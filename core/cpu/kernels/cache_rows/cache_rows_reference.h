// Plain conversions between float and the smaller cache types, bit by bit: the oracle of the vector forms,
// what they use where a processor has no instruction for it, and what the reference backend computes with.
#ifndef TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_REFERENCE_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/cache/cache_view.h"
#include "core/cpu/kernels/linear/half.h"

namespace tessera::cpu {

// Rounds away the low `shift` bits (1 to 31) to nearest, ties to even.
inline uint32_t RoundShift(uint32_t value, uint32_t shift) {
  const uint32_t half = (uint32_t{1} << (shift - 1)) - 1;
  return (value + half + ((value >> shift) & 1)) >> shift;
}

inline uint16_t FloatToHalf(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  uint32_t half;
  if (magnitude > 0x7F800000) {
    half = 0x7E00 | ((magnitude >> 13) & 0x3FF);  // a quiet NaN keeps its payload's leading bits
  } else if (magnitude >= 0x47800000) {           // 65536 and more
    half = 0x7C00;
  } else if (magnitude >=
             0x38800000) {  // normal in F16; a carry out of the mantissa goes on into the exponent
    half = RoundShift(magnitude - 0x38000000, 13);
  } else if (magnitude >= 0x33000000) {  // subnormal in F16: at least 2^-25
    const uint32_t exponent = magnitude >> 23;
    half = RoundShift((magnitude & 0x7FFFFF) | 0x800000, 126 - exponent);
  } else {
    half = 0;
  }
  return static_cast<uint16_t>(sign | half);
}

inline uint16_t FloatToBFloat(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>(RoundShift(bits, 16));
}

inline constexpr float kLargestInt8 = 127;

// The scale of a group whose largest magnitude this is.
inline uint16_t Int8Scale(float largest) { return FloatToHalf(largest / kLargestInt8); }
inline constexpr uint16_t kInt8NotANumber = 0x7E00;
inline bool Int8ScaleIsFinite(uint16_t scale) { return (scale & 0x7C00) != 0x7C00; }
// What elements are multiplied with before they are rounded.
inline float Int8Inverse(uint16_t scale) { return scale == 0 ? 0.0f : 1.0f / HalfToFloat(scale); }

// One element. The scale was rounded, so the product may pass the largest.
inline int8_t FloatToInt8(float x, float inverse) {
  const float rounded = std::nearbyint(x * inverse);  // ties to even, as the mode is everywhere here
  return static_cast<int8_t>(std::clamp(rounded, -kLargestInt8, kLargestInt8));
}

inline uint16_t* Int8Scales(void* row, int32_t count) {
  return reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(row) + CacheElementBytes(CacheType::kInt8, count));
}
inline const uint16_t* Int8Scales(const void* row, int32_t count) {
  return Int8Scales(const_cast<void*>(row), count);
}

inline void StoreInt8RowReference(const float* x, int32_t count, void* row) {
  auto* const values = static_cast<int8_t*>(row);
  uint16_t* const scales = Int8Scales(row, count);
  for (int32_t first = 0; first < count; first += kCacheGroup) {
    const int32_t end = std::min(count, first + kCacheGroup);
    float largest = 0;
    bool finite = true;
    for (int32_t i = first; i < end; ++i) {
      largest = std::max(largest, std::fabs(x[i]));
      finite &= std::isfinite(x[i]);
    }
    uint16_t scale = Int8Scale(largest);
    finite &= Int8ScaleIsFinite(scale);
    const float inverse = finite ? Int8Inverse(scale) : 0.0f;
    scales[first / kCacheGroup] = finite ? scale : kInt8NotANumber;
    for (int32_t i = first; i < end; ++i) values[i] = finite ? FloatToInt8(x[i], inverse) : int8_t{0};
  }
}

inline void StoreCacheRowReference(CacheType type, const float* x, int32_t count, void* row) {
  if (type == CacheType::kInt8) {
    StoreInt8RowReference(x, count, row);
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (type == CacheType::kF32) {
      static_cast<float*>(row)[i] = x[i];
    } else {
      static_cast<uint16_t*>(row)[i] = type == CacheType::kF16 ? FloatToHalf(x[i]) : FloatToBFloat(x[i]);
    }
  }
}

inline void LoadCacheRowReference(CacheType type, const void* row, int32_t count, float* x) {
  for (int32_t i = 0; i < count; ++i) {
    if (type == CacheType::kInt8) {
      x[i] = static_cast<const int8_t*>(row)[i] * HalfToFloat(Int8Scales(row, count)[i / kCacheGroup]);
    } else if (type == CacheType::kF32) {
      x[i] = static_cast<const float*>(row)[i];
    } else {
      const uint16_t value = static_cast<const uint16_t*>(row)[i];
      x[i] = type == CacheType::kF16 ? HalfToFloat(value) : BFloatToFloat(value);
    }
  }
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_REFERENCE_H_
