// The cuts and the tree behind row-parallel sums: that any split of the leaves over ranks makes the same
// additions in the same order. Sums are written out as formulas and compared as texts.
#include "core/model/fold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace tessera {
namespace {

using Stack = std::vector<std::string>;

void Merge(Stack& stack, int32_t merges) {
  for (; merges > 0; --merges) {
    const std::string right = stack.back();
    stack.pop_back();
    stack.back() = "(" + stack.back() + "+" + right + ")";
  }
}

// Leaves [first, end) as a kernel sums them that knows no others.
std::string SumOf(int32_t first, int32_t end) {
  Stack stack;
  for (int32_t leaf = first; leaf < end; ++leaf) {
    const auto pending = static_cast<int32_t>(stack.size());
    stack.push_back(std::to_string(leaf));
    Merge(stack, FoldMerges(leaf - first, end - first, pending));
    EXPECT_LE(stack.size(), static_cast<size_t>(kFoldDepth + 1));
  }
  EXPECT_EQ(stack.size(), 1u);
  return stack.back();
}

FoldSpec LeavesOf(int32_t leaves) {
  FoldSpec fold = FoldOfColumns(leaves * kLeafColumns);
  EXPECT_EQ(fold.leaves(), leaves);
  return fold;
}

// As ranks fold it: each the sums of its nodes, then everybody along the terms.
std::string SumOverRanks(const FoldSpec& fold) {
  std::vector<std::vector<std::string>> brought;
  for (int32_t rank = 0; rank < fold.ranks(); ++rank) {
    brought.emplace_back();
    for (const FoldNode& node : NodesOf(fold.first_leaf(rank), fold.end_leaf(rank), fold.leaves())) {
      brought.back().push_back(SumOf(node.first, node.end));
    }
  }
  Stack stack;
  size_t used = 0;
  for (const FoldTerm& term : TermsOf(fold)) {
    stack.push_back(brought.at(static_cast<size_t>(term.rank)).at(static_cast<size_t>(term.index)));
    ++used;
    Merge(stack, term.merges);
  }
  size_t all = 0;
  for (const auto& sums : brought) all += sums.size();
  EXPECT_EQ(used, all);
  EXPECT_EQ(stack.size(), 1u);
  return stack.back();
}

TEST(Fold, TheTreeAddsHalvesOfPowersOfTwo) {
  EXPECT_EQ(SumOf(0, 1), "0");
  EXPECT_EQ(SumOf(0, 3), "((0+1)+2)");
  EXPECT_EQ(SumOf(0, 6), "(((0+1)+(2+3))+(4+5))");
  EXPECT_EQ(SumOf(0, 7), "(((0+1)+(2+3))+((4+5)+6))");
  EXPECT_EQ(SumOf(0, 8), "(((0+1)+(2+3))+((4+5)+(6+7)))");
}

TEST(Fold, EverySplitOverRanksMakesTheSameAdditions) {
  std::mt19937 random(3);
  for (int32_t leaves = 1; leaves <= kMostLeaves; ++leaves) {
    FoldSpec fold = LeavesOf(leaves);
    const std::string whole = SumOverRanks(fold);
    EXPECT_EQ(whole, SumOf(0, leaves));
    for (int round = 0; round < 400; ++round) {
      const size_t ranks = 1 + random() % 8;
      fold.rank_leaves = {0};
      for (size_t r = 1; r < ranks; ++r) {
        fold.rank_leaves.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(leaves + 1)));
      }
      fold.rank_leaves.push_back(leaves);
      std::sort(fold.rank_leaves.begin(), fold.rank_leaves.end());
      ASSERT_EQ(SumOverRanks(fold), whole) << testing::PrintToString(fold.rank_leaves);
    }
  }
}

TEST(Fold, HalvesBringOneSumEach) {
  EXPECT_EQ(NodesOf(0, 4, 8).size(), 1u);
  EXPECT_EQ(NodesOf(4, 8, 8).size(), 1u);
  EXPECT_EQ(NodesOf(4, 6, 6).size(), 1u);  // the tree's right half, cut
  EXPECT_EQ(NodesOf(1, 7, 8).size(), 4u);
  EXPECT_TRUE(NodesOf(3, 3, 8).empty());
}

TEST(Fold, OutputLeavesAreWholeGroupsAndWholeBlocksWherePossible) {
  const struct {
    int64_t groups, group_columns, block;
    std::vector<int64_t> columns;
  } cases[] = {
      {3, 192, 32, {0, 192, 384, 576}},                                 // SmolLM2
      {8, 256, 256, {0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048}},  // Llama 3.2 1B
      {12, 64, 256, {0, 256, 512, 768}},                                // no narrower than a block
      {40, 128, 256, {0, 512, 1280, 1792, 2560, 3072, 3840, 4352, 5120}},
      {4, 320, 256, {0, 320, 640, 960, 1280}},  // blocks and groups meet at the end only
      {1, 64, 1, {0, 64}},
      {9, 16, 1, {0, 16, 32, 48, 64, 80, 96, 112, 144}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(FoldOfGroups(c.groups, c.group_columns, c.block).columns, c.columns)
        << c.groups << " groups of " << c.group_columns;
  }
}

TEST(Fold, DownLeavesAreAboutEqualAndNoNarrowerThanALeaf) {
  for (int64_t columns : {1, 96, 255, 256, 511, 512, 1312, 1536, 2047, 2048, 5632, 8192, 11008, 18944}) {
    const FoldSpec fold = FoldOfColumns(columns);
    EXPECT_EQ(fold.columns.front(), 0);
    EXPECT_EQ(fold.columns.back(), columns);
    EXPECT_EQ(fold.leaves(), std::clamp<int64_t>(columns / kLeafColumns, 1, kMostLeaves)) << columns;
    int64_t least = columns, most = 0;
    for (int32_t i = 0; i < fold.leaves(); ++i) {
      const auto at = static_cast<size_t>(i);
      EXPECT_EQ(fold.columns[at] % kLeafColumns, 0);
      least = std::min(least, fold.columns[at + 1] - fold.columns[at]);
      most = std::max(most, fold.columns[at + 1] - fold.columns[at]);
    }
    EXPECT_GE(least, std::min(columns, kLeafColumns));
    EXPECT_LT(most - least, 2 * kLeafColumns) << columns;
  }
}

}  // namespace
}  // namespace tessera
