// The random counter: the published generator, and draws that look uniform and independent.
#include "core/sample/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace tessera {
namespace {

TEST(Random, GivesTheKnownAnswersOfPhilox4x32) {
  // From the known-answer file that the authors publish beside the paper (Random123, kat_vectors).
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, DrawsLieInTheUnitIntervalWithOneLeftOut) {
  for (uint64_t position = 0; position < 100'000; ++position) {
    const double draw = UniformDraw(42, position);
    ASSERT_GE(draw, 0.0);
    ASSERT_LT(draw, 1.0);
  }
}

// Chi-square over `cells` cells; its deviation from the mean in standard deviations.
double ChiSquareScore(const std::vector<int>& seen, double expected) {
  double chi_square = 0;
  for (const int count : seen) chi_square += (count - expected) * (count - expected) / expected;
  const double degrees = static_cast<double>(seen.size()) - 1;
  return (chi_square - degrees) / std::sqrt(2 * degrees);
}

TEST(Random, ConsecutivePositionsFillTheIntervalEvenly) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{0xdeadbeefcafef00d}}) {
    std::vector<int> seen(256, 0);
    for (uint64_t position = 0; position < 256'000; ++position) {
      ++seen[static_cast<size_t>(UniformDraw(seed, position) * 256)];
    }
    EXPECT_LT(std::fabs(ChiSquareScore(seen, 1000)), 5) << "seed " << seed;
  }
}

TEST(Random, PairsOfNeighbouringPositionsAndSeedsAreIndependent) {
  std::vector<int> by_position(256, 0);
  std::vector<int> by_seed(256, 0);
  for (uint64_t i = 0; i < 256'000; ++i) {
    const auto sixteenth = [](double draw) { return static_cast<size_t>(draw * 16); };
    ++by_position[sixteenth(UniformDraw(7, 2 * i)) * 16 + sixteenth(UniformDraw(7, 2 * i + 1))];
    ++by_seed[sixteenth(UniformDraw(2 * i, 5)) * 16 + sixteenth(UniformDraw(2 * i + 1, 5))];
  }
  EXPECT_LT(std::fabs(ChiSquareScore(by_position, 1000)), 5);
  EXPECT_LT(std::fabs(ChiSquareScore(by_seed, 1000)), 5);
}

TEST(Random, EveryBitOfSeedAndPositionCounts) {
  std::set<double> draws = {UniformDraw(0, 0)};
  for (int bit = 0; bit < 64; ++bit) {
    draws.insert(UniformDraw(uint64_t{1} << bit, 0));
    draws.insert(UniformDraw(0, uint64_t{1} << bit));
  }
  EXPECT_EQ(draws.size(), 129u);
}

}  // namespace
}  // namespace tessera
