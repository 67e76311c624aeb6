// Where leaves are cut, and the tree's nodes.
#include "core/model/fold.h"

#include <algorithm>
#include <numeric>

namespace tessera {
namespace {

// `leaves` runs of whole units, about equally many in each.
FoldSpec CutUnits(int64_t leaves, int64_t units, int64_t unit_columns) {
  FoldSpec fold;
  for (int64_t i = 0; i <= leaves; ++i) fold.columns.push_back(i * units / leaves * unit_columns);
  fold.rank_leaves = {0, static_cast<int32_t>(leaves)};
  return fold;
}

// Calls visit(first, end) for the topmost nodes below [first, first + size) that `whole` accepts, from left
// to right; and merged() after the right half of each node that was taken apart. False: the node is empty.
template <typename Whole, typename Visit, typename Merged>
bool Walk(int32_t first, int32_t size, int32_t leaves, const Whole& whole, const Visit& visit,
          const Merged& merged) {
  if (first >= leaves) return false;
  const int32_t end = std::min(first + size, leaves);
  if (size == 1 || whole(first, end)) {
    visit(first, end);
    return true;
  }
  Walk(first, size / 2, leaves, whole, visit, merged);
  if (Walk(first + size / 2, size / 2, leaves, whole, visit, merged)) merged();
  return true;
}

}  // namespace

FoldSpec FoldOfGroups(int64_t groups, int64_t group_columns, int64_t block_columns) {
  const int64_t blocks = std::max<int64_t>(1, groups * group_columns / block_columns);
  const int64_t leaves = std::min({int64_t{kMostLeaves}, groups, blocks});
  const int64_t aligned_groups = std::lcm(group_columns, block_columns) / group_columns;
  if (groups % aligned_groups == 0 && groups / aligned_groups >= leaves) {
    return CutUnits(leaves, groups / aligned_groups, aligned_groups * group_columns);
  }
  return CutUnits(leaves, groups, group_columns);
}

FoldSpec FoldOfColumns(int64_t columns) {
  const int64_t units = std::max<int64_t>(1, columns / kLeafColumns);
  FoldSpec fold = CutUnits(std::min<int64_t>(kMostLeaves, units), units, kLeafColumns);
  fold.columns.back() = columns;
  return fold;
}

std::vector<FoldNode> NodesOf(int32_t first, int32_t end, int32_t leaves) {
  std::vector<FoldNode> nodes;
  const auto inside = [&](int32_t from, int32_t to) { return from >= first && to <= end; };
  Walk(
      0, kMostLeaves, leaves, inside,
      [&](int32_t from, int32_t to) {
        if (inside(from, to)) nodes.push_back({from, to});
      },
      [] {});
  return nodes;
}

std::vector<FoldTerm> TermsOf(const FoldSpec& fold) {
  std::vector<FoldTerm> terms;
  const auto owner = [&](int32_t leaf) {
    return static_cast<int32_t>(std::upper_bound(fold.rank_leaves.begin(), fold.rank_leaves.end(), leaf) -
                                fold.rank_leaves.begin() - 1);
  };
  Walk(
      0, kMostLeaves, fold.leaves(), [&](int32_t from, int32_t to) { return owner(from) == owner(to - 1); },
      [&](int32_t from, int32_t) {
        FoldTerm term;
        term.rank = owner(from);
        if (!terms.empty() && terms.back().rank == term.rank) term.index = terms.back().index + 1;
        terms.push_back(term);
      },
      [&] { ++terms.back().merges; });
  return terms;
}

}  // namespace tessera
