#include "core/cpu/kernels/cache_rows/cache_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
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

// Groups of many sizes: even spreads, one large element, all alike, zeros, and magnitudes from the least to
// more than an F16 scale can say.
std::vector<float> GroupsOf(int32_t count, int32_t which) {
  std::vector<float> x = RandomFloats(count, static_cast<uint32_t>(100 + which));
  const float magnitude = std::ldexp(1.0f, which * 5 - 40);
  for (float& each : x) each *= magnitude;
  if (which % 3 == 1) x[static_cast<size_t>(count / 2)] = -100 * magnitude;
  if (which % 5 == 2) std::fill(x.begin(), x.end(), magnitude);
  if (which % 7 == 3) std::fill(x.begin(), x.end(), 0.0f);
  return x;
}

TEST(CacheRows, Int8HasTheSameBitsOnEveryTarget) {
  for (const int32_t count : {1, 2, 7, 16, 31, 32, 33, 64, 80, 96, 128, 130}) {
    for (int32_t which = 0; which < 20; ++which) {
      const std::vector<float> x = GroupsOf(count, which);
      std::vector<uint8_t> expected(CacheRowBytes(CacheType::kInt8, count), 0xAB);
      cpu::StoreCacheRowReference(CacheType::kInt8, x.data(), count, expected.data());
      std::vector<float> read(x.size());
      cpu::LoadCacheRowReference(CacheType::kInt8, expected.data(), count, read.data());
      ForEachTarget([&] {
        std::vector<uint8_t> row(expected.size(), 0xAB);
        cpu::StoreCacheRow(CacheType::kInt8, x.data(), count, row.data());
        ASSERT_EQ(row, expected) << count << " " << which;
        std::vector<float> back = Poisoned(count);
        cpu::LoadCacheRow(CacheType::kInt8, row.data(), count, back.data());
        ASSERT_EQ(std::memcmp(back.data(), read.data(), back.size() * sizeof(float)), 0)
            << count << " " << which;
      });
    }
  }
}

TEST(CacheRows, Int8IsOffByHalfAStepOfItsGroupAtTheMost) {
  for (const int32_t count : {5, 32, 64, 80, 130}) {
    for (int32_t which = 0; which < 12; ++which) {  // scales that F16 has with all its digits
      const std::vector<float> x = GroupsOf(count, which);
      std::vector<uint8_t> row(CacheRowBytes(CacheType::kInt8, count));
      std::vector<float> back = Poisoned(count);
      cpu::StoreCacheRow(CacheType::kInt8, x.data(), count, row.data());
      cpu::LoadCacheRow(CacheType::kInt8, row.data(), count, back.data());
      for (int32_t i = 0; i < count; ++i) {
        double largest = 0;
        const int32_t first = i / kCacheGroup * kCacheGroup;
        for (int32_t j = first; j < std::min(count, first + kCacheGroup); ++j) {
          largest = std::max(largest, std::abs(static_cast<double>(x[static_cast<size_t>(j)])));
        }
        const double step = largest / 127;
        // The scale's own rounding moves the largest elements by 2^-12 of themselves; the least F16 is 2^-24.
        const double bound = step / 2 + largest / 4096 + 127 * 0x1p-25;
        ASSERT_LE(std::abs(back[static_cast<size_t>(i)] - static_cast<double>(x[static_cast<size_t>(i)])),
                  bound)
            << count << " " << which << " " << i;
      }
    }
  }
}

TEST(CacheRows, InInt8AFaultSpoilsItsGroupAlone) {
  for (const float fault : {NAN, INFINITY, -INFINITY, 1e30f}) {
    for (const size_t at : {size_t{0}, size_t{40}, size_t{79}}) {
      std::vector<float> x = RandomFloats(80, 3);
      x[at] = fault;
      ForEachTarget([&] {
        std::vector<uint8_t> row(CacheRowBytes(CacheType::kInt8, 80));
        std::vector<float> back = Poisoned(80);
        cpu::StoreCacheRow(CacheType::kInt8, x.data(), 80, row.data());
        cpu::LoadCacheRow(CacheType::kInt8, row.data(), 80, back.data());
        for (size_t i = 0; i < 80; ++i)
          EXPECT_EQ(std::isnan(back[i]), i / 32 == at / 32) << fault << " " << i;
      });
    }
  }
}

TEST(CacheRows, ANotANumberStaysOne) {
  const std::vector<float> x(19, NAN);
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16, CacheType::kInt8}) {
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
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16, CacheType::kInt8}) {
    for (int32_t count = 1; count <= 40; ++count) {
      ForEachTarget([&] {
        std::vector<uint8_t> row(64 * 4, 0xAB);
        cpu::StoreCacheRow(type, x.data(), count, row.data());
        for (size_t i = CacheRowBytes(type, count); i < row.size(); ++i) {
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
