// Packed layouts and prepared rows, against the formats' definitions.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/cpu/kernels/linear/layout.h"
#include "hwy/targets.h"
#include "tests/core/cpu/linear/linear_inputs.h"

namespace tessera::cpu {
namespace {

TEST(PackLinear, UnpackedRowsAreExactlyTheFormatsValues) {
  LinearInputs inputs(1);
  for (TensorType type : kAllTypes) {
    const int64_t block = InfoOf(type).block_elements;
    for (int64_t rows : {1, 15, 16, 17, 40}) {
      const int64_t columns = block == 1 ? 77 : block * inputs.Integer(1, 5);
      const std::vector<uint8_t> source = inputs.Weights(type, rows, columns);
      const std::vector<uint8_t> packed = Packed(type, rows, columns, source);
      std::vector<float> expected(static_cast<size_t>(columns)), got(expected.size());
      for (int64_t row = 0; row < rows; ++row) {
        got.assign(got.size(), -1e30f);
        DequantizeReference(type, source.data() + static_cast<size_t>(row) * RowBytes(type, columns), columns,
                            expected.data());
        UnpackRow(type, packed.data(), rows, columns, row, got.data());
        ASSERT_EQ(got, expected) << InfoOf(type).name << " row " << row << " of " << rows;
      }
    }
  }
}

TEST(PackLinear, PackingInPiecesGivesTheSameBytes) {
  LinearInputs inputs(2);
  for (TensorType type : kAllTypes) {
    const int64_t columns = 256 * 3, rows = 4 * kPackRows + 5;
    const std::vector<uint8_t> source = inputs.Weights(type, rows, columns);
    const std::vector<uint8_t> whole = Packed(type, rows, columns, source);
    std::vector<uint8_t> pieces(whole.size(), 0x5a);
    for (int64_t first : {3 * kPackRows, int64_t{0}, kPackRows}) {
      const int64_t count = first == 0 ? kPackRows : first == kPackRows ? 2 * kPackRows : rows - first;
      PackLinear(type, rows, columns, first, count,
                 source.data() + static_cast<size_t>(first) * RowBytes(type, columns), pieces.data());
    }
    EXPECT_EQ(pieces, whole) << InfoOf(type).name;
  }
}

TEST(PackLinear, TakesAtMostThreePercentMoreThanTheFile) {
  for (TensorType type : kAllTypes) {
    const double file = static_cast<double>(RowBytes(type, 4096)) * 4096;
    EXPECT_LE(static_cast<double>(PackedLinearBytes(type, 4096, 4096)), 1.03 * file) << InfoOf(type).name;
  }
}

TEST(PrepareRow, RoundsEachGroupToItsLargestMagnitude) {
  LinearInputs inputs(3);
  std::vector<float> x = inputs.Floats(32 * 6);
  for (int64_t k = 32; k < 64; ++k) x[k] = 0;
  for (int64_t k = 64; k < 96; ++k) x[k] *= 1e30f;
  for (int64_t k = 96; k < 128; ++k) x[k] *= 1e-36f;
  for (int64_t k = 128; k < 160; ++k) x[k] *= 1e-25f;
  const std::vector<uint8_t> row = Prepared(ActivationMode::kInt8, 192, 1, x.data());
  for (int64_t g = 0; g < 6; ++g) {
    ActivationGroup group;
    std::memcpy(&group, row.data() + g * sizeof(group), sizeof(group));
    float amax = 0;
    for (int64_t k = 0; k < 32; ++k) amax = std::fmax(amax, std::fabs(x[32 * g + k]));
    int32_t sums[2] = {0, 0};
    for (int64_t k = 0; k < 32; ++k) {
      ASSERT_LE(std::abs(group.values[k]), 127);
      EXPECT_LE(std::fabs(static_cast<double>(group.scale) * group.values[k] - x[32 * g + k]),
                0.5001 * amax / 127 + 0x1p-100);
      sums[k / 16] += group.values[k];
    }
    EXPECT_EQ(group.sum, sums[0] + sums[1]);
    EXPECT_EQ(group.half_sums[0], sums[0]);
    EXPECT_EQ(group.half_sums[1], sums[1]);
    EXPECT_EQ(group.scaled_sum, group.scale * static_cast<float>(group.sum));
  }
}

TEST(PrepareRow, MarksGroupsThatAreNotFinite) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(64, 1.0f);
    x[40] = bad;
    const std::vector<uint8_t> row = Prepared(ActivationMode::kInt8, 64, 1, x.data());
    ActivationGroup groups[2];
    std::memcpy(groups, row.data(), sizeof(groups));
    EXPECT_EQ(groups[0].scale, 1.0f / 127.0f);
    EXPECT_TRUE(std::isnan(groups[1].scale));
  }
}

TEST(PrepareRow, GivesTheSameBitsOnEveryVectorSet) {
  LinearInputs inputs(4);
  const int64_t columns = 32 * 40 + 9;
  const std::vector<float> x = inputs.Floats(columns);
  const std::vector<uint8_t> expected = Prepared(ActivationMode::kInt8, columns, 1, x.data());
  const size_t bytes = (static_cast<size_t>(columns) + 31) / 32 * sizeof(ActivationGroup);
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    hwy::SetSupportedTargetsForTest(left & -left);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const std::vector<uint8_t> got = Prepared(ActivationMode::kInt8, columns, 1, x.data());
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), bytes), 0) << hwy::TargetName(left & -left);
  }
}

}  // namespace
}  // namespace tessera::cpu
