// The passes over a row, on every instruction set, against plain loops.
#include "core/sample/vocabulary_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/core/sample/each_target.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kPoison = -12345.0f;
const std::vector<int32_t> kCounts = {1, 2, 3, 7, 16, 63, 64, 65, 100, 127, 128, 129, 1000, 4099};

std::vector<float> RandomRow(int32_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  std::vector<float> row(count);
  for (float& value : row) value = normal(generator);
  return row;
}

class VocabularyOps : public EachTarget {};

TEST_P(VocabularyOps, CopyRowWritesTheRowAndNoMore) {
  for (const int32_t count : kCounts) {
    const std::vector<float> row = RandomRow(count, count + 3);
    std::vector<float> copy(count + 1, kPoison);
    CopyRow(row.data(), count, copy.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), copy.begin()));
    EXPECT_EQ(copy.back(), kPoison);
  }
}

TEST_P(VocabularyOps, SummariseFindsTheLargestOfTheRowAndOfEachBlock) {
  for (const int32_t count : kCounts) {
    const std::vector<float> row = RandomRow(count, count);
    std::vector<float> blocks(BlocksOf(count) + 1, kPoison);
    const RowSummary with_blocks = Summarise(row.data(), count, blocks.data());
    const RowSummary without = Summarise(row.data(), count, nullptr);
    const float largest = *std::max_element(row.begin(), row.end());
    EXPECT_EQ(with_blocks.largest, largest);
    EXPECT_EQ(without.largest, largest);
    EXPECT_TRUE(with_blocks.all_finite && without.all_finite);
    for (int32_t block = 0; block < BlocksOf(count); ++block) {
      const auto begin = row.begin() + block * kVocabularyBlock;
      const auto end = row.begin() + std::min(count, (block + 1) * kVocabularyBlock);
      EXPECT_EQ(blocks[block], *std::max_element(begin, end)) << "block " << block << " of " << count;
    }
    EXPECT_EQ(blocks.back(), kPoison);
  }
}

TEST_P(VocabularyOps, SummariseSeesANumberThatIsNotFiniteWhereverItStands) {
  for (const int32_t count : {1, 64, 65, 130, 300}) {
    for (int32_t place = 0; place < count; ++place) {
      for (const float fault : {kNan, -kNan, kInfinity, -kInfinity}) {
        std::vector<float> row = RandomRow(count, 1);
        row[place] = fault;
        ASSERT_FALSE(Summarise(row.data(), count, nullptr).all_finite) << place << " of " << count;
      }
    }
  }
}

TEST_P(VocabularyOps, SummariseTakesTheExtremesOfFloatForFinite) {
  for (const float extreme : {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(),
                              std::numeric_limits<float>::denorm_min(), -0.0f}) {
    std::vector<float> row(100, 0.0f);
    row[77] = extreme;
    EXPECT_TRUE(Summarise(row.data(), 100, nullptr).all_finite) << extreme;
  }
}

TEST_P(VocabularyOps, FirstEqualFindsTheFirstOfSeveral) {
  for (const int32_t count : kCounts) {
    for (int32_t place = 0; place < count; place += 1 + count / 50) {
      std::vector<float> row(count, 1.0f);
      std::fill(row.begin() + place, row.end(), 2.0f);
      ASSERT_EQ(FirstEqual(row.data(), count, 2.0f), place);
    }
    EXPECT_EQ(FirstEqual(std::vector<float>(count, 1.0f).data(), count, 3.0f), -1);
  }
}

TEST_P(VocabularyOps, FirstEqualTakesBothZerosForEqual) {
  const std::vector<float> row = {-1.0f, -0.0f, 0.0f};
  EXPECT_EQ(FirstEqual(row.data(), 3, 0.0f), 1);
}

TEST_P(VocabularyOps, ExponentialsAgreeWithDoublePrecision) {
  for (const int32_t count : kCounts) {
    for (const float scale : {0.1f, 1.0f, 3.0f}) {
      const std::vector<float> row = RandomRow(count, count + 17);
      const float largest = *std::max_element(row.begin(), row.end());
      std::vector<float> results(count + 1, kPoison);
      std::vector<double> blocks(BlocksOf(count) + 1, kPoison);
      const double sum = Exponentials(row.data(), count, largest, scale, results.data(), blocks.data());
      double expected_sum = 0;
      for (int32_t i = 0; i < count; ++i) {
        const double power =
            (static_cast<double>(row[i]) - static_cast<double>(largest)) * static_cast<double>(scale);
        const double expected = std::exp(power);
        expected_sum += expected;
        // Two roundings of the power, each half a unit in the last place, and the function's own error.
        ASSERT_NEAR(results[i], expected, expected * (1e-6 + std::fabs(power) * 1.2e-7) + 1e-45) << power;
      }
      EXPECT_NEAR(sum, expected_sum, expected_sum * 4e-6);
      double total = 0;
      for (int32_t block = 0; block < BlocksOf(count); ++block) total += blocks[block];
      EXPECT_EQ(total, sum);
      EXPECT_EQ(results.back(), kPoison);
      EXPECT_EQ(blocks.back(), static_cast<double>(kPoison));
      EXPECT_EQ(Exponentials(row.data(), count, largest, scale, nullptr, nullptr), sum);
    }
  }
}

TEST_P(VocabularyOps, ExponentialsAreOneAtTheLargestAndZeroForForbiddenTokens) {
  std::vector<float> row = {-kInfinity, 5.0f, 5.0f, -std::numeric_limits<float>::max(), -kInfinity};
  EXPECT_EQ(Exponentials(row.data(), 5, 5.0f, 1e30f, row.data(), nullptr), 2.0);  // in place
  EXPECT_EQ(row, (std::vector<float>{0, 1, 1, 0, 0}));
}

TEST_P(VocabularyOps, GatherTakesWhatReachesTheBoundByRisingIndex) {
  for (const int32_t count : kCounts) {
    const std::vector<float> row = RandomRow(count, count + 5);
    for (const float bound : {-kInfinity, -4.0f, 0.0f, row[count / 2], 9.0f, kInfinity}) {
      std::vector<int32_t> indices(count + 1, -7);
      std::vector<float> values(count + 1, kPoison);
      const int32_t found = GatherAtLeast(row.data(), count, bound, indices.data(), values.data());
      int32_t expected = 0;
      for (int32_t i = 0; i < count; ++i) {
        if (!(row[i] >= bound)) continue;
        ASSERT_LT(expected, found);
        ASSERT_EQ(indices[expected], i);
        ASSERT_EQ(values[expected], row[i]);
        ++expected;
      }
      EXPECT_EQ(found, expected);
      EXPECT_EQ(indices.back(), -7);
      EXPECT_EQ(values.back(), kPoison);
    }
  }
}

TSR_FOR_EACH_TARGET(VocabularyOps);

}  // namespace
}  // namespace tessera
