// Checked arithmetic at the ends of its range.
#include "core/base/checked.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

constexpr uint64_t kMax = UINT64_MAX;

TEST(Checked, AddAnswersNothingInsteadOfWrapping) {
  EXPECT_EQ(CheckedAdd(2, 3), 5u);
  EXPECT_EQ(CheckedAdd(kMax, 0), kMax);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedAdd(kMax, kMax), std::nullopt);
}

TEST(Checked, MultiplyAnswersNothingInsteadOfWrapping) {
  EXPECT_EQ(CheckedMultiply(6, 7), 42u);
  EXPECT_EQ(CheckedMultiply(kMax, 0), 0u);
  EXPECT_EQ(CheckedMultiply(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), 0xffffffff00000000u);
  EXPECT_EQ(CheckedMultiply(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
}

TEST(Checked, AlignUpAnswersNothingWhereTheNextMultipleDoesNotFit) {
  EXPECT_EQ(CheckedAlignUp(0, 64), 0u);
  EXPECT_EQ(CheckedAlignUp(1, 64), 64u);
  EXPECT_EQ(CheckedAlignUp(64, 64), 64u);
  EXPECT_EQ(CheckedAlignUp(kMax - 63, 64), kMax - 63);
  EXPECT_EQ(CheckedAlignUp(kMax - 62, 64), std::nullopt);
}

TEST(Checked, CeilDivideCannotOverflow) {
  EXPECT_EQ(CeilDivide(0, 8), 0u);
  EXPECT_EQ(CeilDivide(1, 8), 1u);
  EXPECT_EQ(CeilDivide(16, 8), 2u);
  EXPECT_EQ(CeilDivide(kMax, 2), (uint64_t{1} << 63));
}

}  // namespace
}  // namespace tessera
