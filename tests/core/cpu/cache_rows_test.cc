#include "core/cpu/kernels/cache_rows/cache_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/cpu/kernels/cache_rows/cache_rows_reference.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/random_values.h"
#include "tests/doubles/quantise.h"

namespace tessera {
namespace {

// Every exponent, and mantissas that sit on, above and below each rounding boundary of both types.
std::vector<float> HardFloats() {
  std::vector<float> values;
  for (uint32_t top = 0; top < 0x10000; top += 5) {
    for (const uint32_t low : {0u, 1u, 0x0FFFu, 0x1000u, 0x1001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const float value = std::bit_cast<float>(top << 16 | low);
      if (!std::isnan(value)) values.push_back(value);
    }
  }
  return values;
}

TEST(CacheRows, RoundToNearestEvenWithTheSameBitsOnEveryTarget) {
  const std::vector<float> x = HardFloats();
  const auto count = static_cast<int32_t>(x.size());
  ForEachTarget([&] {
    std::vector<uint16_t> half(x.size(), 0xFFFF);
    std::vector<uint16_t> bfloat(x.size(), 0xFFFF);
    cpu::StoreCacheRow(CacheType::kF16, x.data(), count, half.data());
    cpu::StoreCacheRow(CacheType::kBF16, x.data(), count, bfloat.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(half[i], FloatToHalf(x[i])) << x[i];
      ASSERT_EQ(bfloat[i], FloatToBfloat16(x[i])) << x[i];
      ASSERT_EQ(half[i], cpu::FloatToHalf(x[i])) << x[i];
      ASSERT_EQ(bfloat[i], cpu::FloatToBFloat(x[i])) << x[i];
    }
  });
}

TEST(CacheRows, ReadBackExactlyWhatWasStored) {
  std::vector<uint16_t> bits;
  for (uint32_t i = 0; i < 0x10000; ++i) bits.push_back(static_cast<uint16_t>(i));
  ForEachTarget([&] {
    std::vector<float> half = Poisoned(0x10000);
    std::vector<float> bfloat = Poisoned(0x10000);
    cpu::LoadCacheRow(CacheType::kF16, bits.data(), 0x10000, half.data());
    cpu::LoadCacheRow(CacheType::kBF16, bits.data(), 0x10000, bfloat.data());
    for (size_t i = 0; i < bits.size(); ++i) {
      if (std::isnan(HalfToFloat(bits[i]))) {
        ASSERT_TRUE(std::isnan(half[i])) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(half[i]), std::bit_cast<uint32_t>(HalfToFloat(bits[i]))) << i;
      }
      ASSERT_EQ(std::bit_cast<uint32_t>(bfloat[i]), static_cast<uint32_t>(i) << 16) << i;
    }
  });
}

TEST(CacheRows, ANotANumberStaysOne) {
  const std::vector<float> x(19, NAN);
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16}) {
    ForEachTarget([&] {
      std::vector<uint8_t> row(19 * 4, 0);
      std::vector<float> back(19, 0.0f);
      cpu::StoreCacheRow(type, x.data(), 19, row.data());
      cpu::LoadCacheRow(type, row.data(), 19, back.data());
      for (const float value : back) EXPECT_TRUE(std::isnan(value));
    });
  }
}

TEST(CacheRows, WriteNothingBehindTheRow) {
  const std::vector<float> x = RandomFloats(64, 2);
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16}) {
    for (int32_t count = 1; count <= 40; ++count) {
      ForEachTarget([&] {
        std::vector<uint8_t> row(64 * 4, 0xAB);
        cpu::StoreCacheRow(type, x.data(), count, row.data());
        for (size_t i = static_cast<size_t>(count) * CacheTypeBytes(type); i < row.size(); ++i) {
          ASSERT_EQ(row[i], 0xAB) << "byte " << i << " of a row of " << count;
        }
        std::vector<float> back(64, 7.0f);
        cpu::LoadCacheRow(type, row.data(), count, back.data());
        ASSERT_EQ(back[static_cast<size_t>(count)], 7.0f);
      });
    }
  }
}

}  // namespace
}  // namespace tessera
