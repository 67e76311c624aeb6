// How the sum behind a row-parallel product (attention's output projection, the down projection) is folded.
// The matrix's input columns are cut into leaves; each leaf's products are summed from zero, and the leaves'
// sums are added along a fixed binary tree. Leaves and tree depend on the model alone, so any number of
// ranks, each with some consecutive leaves, gives the same bits. Knows no weights and no ranks'
// communication.
#ifndef TESSERA_CORE_MODEL_FOLD_H_
#define TESSERA_CORE_MODEL_FOLD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera {

inline constexpr int32_t kMostLeaves = 8;
// The narrowest leaf of a down projection, and a multiple of every block of the weights' types.
inline constexpr int64_t kLeafColumns = 256;

// The tree over n leaves: a node of level k is leaves [j 2^k, (j + 1) 2^k), cut at n; it adds its left half's
// sum and its right half's, or is the left half where the right one is empty. Walked from left to right with
// a stack: push each leaf's sum, then add the topmost two as often as `merges` says.
inline constexpr int32_t FoldMerges(int32_t leaf, int32_t leaves, int32_t pending) {
  if (leaf + 1 == leaves) return pending;  // the sums below this one on the stack
  int32_t merges = 0;
  while (((leaf + 1) >> merges & 1) == 0) ++merges;
  return merges;
}
inline constexpr int32_t kFoldDepth = 3;  // sums waiting on the stack, at most: log2 of kMostLeaves

struct FoldSpec {
  std::vector<int64_t> columns;      // [leaves + 1]: leaf i sums columns [columns[i], columns[i + 1])
  std::vector<int32_t> rank_leaves;  // [ranks + 1]: rank r has leaves [rank_leaves[r], rank_leaves[r + 1])
  int32_t rank = 0;                  // whose spec this is

  int32_t leaves() const { return static_cast<int32_t>(columns.size()) - 1; }
  int32_t ranks() const { return static_cast<int32_t>(rank_leaves.size()) - 1; }
  int32_t first_leaf(int32_t of_rank) const { return rank_leaves[static_cast<size_t>(of_rank)]; }
  int32_t end_leaf(int32_t of_rank) const { return rank_leaves[static_cast<size_t>(of_rank) + 1]; }
  // The rank's own columns; equal where it has none.
  int64_t first_column(int32_t of_rank) const { return columns[static_cast<size_t>(first_leaf(of_rank))]; }
  int64_t end_column(int32_t of_rank) const { return columns[static_cast<size_t>(end_leaf(of_rank))]; }
};

// Of an output projection whose input is `groups` KV groups of `group_columns`: up to kMostLeaves leaves of
// whole groups, none on average narrower than a block of the weights (`block_columns`), with boundaries at
// blocks where as many leaves can be had that way. One rank.
FoldSpec FoldOfGroups(int64_t groups, int64_t group_columns, int64_t block_columns);
// Of a down projection: up to kMostLeaves leaves of about equal size, of kLeafColumns or more. One rank.
FoldSpec FoldOfColumns(int64_t columns);

// A node of the tree: leaves [first, end).
struct FoldNode {
  int32_t first = 0;
  int32_t end = 0;
};
// The largest nodes that make up leaves [first, end): a rank sums each of them by itself.
std::vector<FoldNode> NodesOf(int32_t first, int32_t end, int32_t leaves);

// One node's sum among all ranks', in leaf order: the rank's index-th. Walked with a stack as above.
struct FoldTerm {
  int32_t rank = 0;
  int32_t index = 0;
  int32_t merges = 0;
};
std::vector<FoldTerm> TermsOf(const FoldSpec& fold);

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_FOLD_H_
