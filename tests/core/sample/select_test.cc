// Selections against a plain full sort.
#include "core/sample/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/sample/vocabulary_ops.h"

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Room {
  explicit Room(int32_t count)
      : tokens(count, -7), values(count, -12345.0f), keys(count, 99), buckets(kSelectBuckets, 7.0) {
    candidates = {0, tokens.data(), values.data(), keys.data(), buckets.data()};
  }
  std::vector<int32_t> Tokens() const { return {tokens.begin(), tokens.begin() + candidates.count}; }
  std::vector<int32_t> tokens;
  std::vector<float> values;
  std::vector<uint64_t> keys;
  std::vector<double> buckets;
  Candidates candidates;
};

// All tokens by falling value, equal ones by rising id.
std::vector<int32_t> SortedTokens(const std::vector<float>& values) {
  std::vector<int32_t> tokens(values.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  std::stable_sort(tokens.begin(), tokens.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return tokens;
}

std::vector<int32_t> Rising(std::vector<int32_t> tokens) {
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

// `steps` > 0: few different values, so many are equal.
std::vector<float> RandomRow(int32_t count, uint32_t seed, int steps) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  std::vector<float> row(count);
  for (float& value : row) {
    value = normal(generator);
    if (steps > 0) value = static_cast<float>(static_cast<int>(value * static_cast<float>(steps) / 4)) - 0.0f;
  }
  return row;
}

TEST(Select, TopKIsTheHeadOfTheSortedOrder) {
  for (const int32_t count : {1, 2, 5, 64, 65, 200, 1000, 20'000}) {
    for (const int steps : {0, 1, 4}) {
      const std::vector<float> row = RandomRow(count, count + steps, steps);
      const std::vector<int32_t> sorted = SortedTokens(row);
      for (const int32_t k : {1, 2, 3, 10, 40, 64, 79, 500, 4999, 19'999, 20'000}) {
        if (k > count) continue;
        Room room(count);
        std::vector<float> blocks(BlocksOf(count));
        Summarise(row.data(), count, blocks.data());
        SelectTopK(row.data(), count, k, blocks.data(), &room.candidates);
        ASSERT_EQ(room.Tokens(), Rising({sorted.begin(), sorted.begin() + k})) << k << " of " << count;
        for (int32_t i = 0; i < k; ++i) ASSERT_EQ(room.values[i], row[room.tokens[i]]);
      }
    }
  }
}

TEST(Select, TopKTakesForbiddenTokensLastAndEqualZerosByTheirId) {
  const std::vector<float> row = {-kInfinity, -0.0f, 0.0f, -kInfinity, -1.0f, 0.0f};
  std::vector<float> blocks(1);
  for (const auto& [k, expected] : std::vector<std::pair<int32_t, std::vector<int32_t>>>{
           {1, {1}}, {2, {1, 2}}, {3, {1, 2, 5}}, {4, {1, 2, 4, 5}}, {5, {0, 1, 2, 4, 5}}}) {
    Room room(6);
    Summarise(row.data(), 6, blocks.data());
    SelectTopK(row.data(), 6, k, blocks.data(), &room.candidates);
    EXPECT_EQ(room.Tokens(), expected) << k;
  }
}

TEST(Select, TopMassIsTheShortestHeadThatReachesTheMass) {
  for (const int32_t count : {1, 2, 3, 50, 1000, 20'000}) {
    for (const int levels : {2, 4, 1 << 20}) {
      // Whole numbers, so that every sum is exact in any order.
      std::mt19937 generator(count + levels);
      std::vector<float> weights(count);
      for (float& weight : weights) weight = static_cast<float>(generator() % levels);
      const std::vector<int32_t> sorted = SortedTokens(weights);
      const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      for (const double part : {-1.0, 0.0, 0.001, 0.3, 0.5, 0.9, 0.999, 1.0}) {
        Room room(count);
        std::iota(room.tokens.begin(), room.tokens.end(), 0);
        room.values = weights;
        room.candidates.values = room.values.data();
        room.candidates.count = count;
        const double mass = std::floor(part * total);
        SelectTopMass(mass, &room.candidates);
        double reached = weights[sorted[0]];
        int32_t expected = 1;
        while (reached < mass) reached += weights[sorted[expected++]];
        ASSERT_EQ(room.Tokens(), Rising({sorted.begin(), sorted.begin() + expected}))
            << part << " of " << count;
      }
    }
  }
}

TEST(Select, AtLeastKeepsTheBoundItself) {
  Room room(4);
  room.tokens = {3, 5, 8, 9};
  room.values = {0.5f, 0.25f, 1.0f, 0.49999997f};
  room.candidates = {4, room.tokens.data(), room.values.data(), room.keys.data(), room.buckets.data()};
  SelectAtLeast(0.5f, &room.candidates);
  EXPECT_EQ(room.Tokens(), (std::vector<int32_t>{3, 8}));
  EXPECT_EQ(room.values[1], 1.0f);
}

TEST(Select, SortFallingKeepsValuesWithTheirTokens) {
  const std::vector<float> row = {-3.5f, 2.0f, 0.0f, 2.0f, -kInfinity, 7.25f};
  Room room(6);
  std::iota(room.tokens.begin(), room.tokens.end(), 0);
  room.values = row;
  room.candidates = {6, room.tokens.data(), room.values.data(), room.keys.data(), room.buckets.data()};
  SortFalling(&room.candidates);
  EXPECT_EQ(room.Tokens(), (std::vector<int32_t>{5, 1, 3, 2, 0, 4}));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(room.values[i], row[room.tokens[i]]);
}

}  // namespace
}  // namespace tessera
