// What ranks that share a layer bring to each other for a row-parallel sum, and how all fold it: the same
// additions in the same order as one rank makes for the whole sum.
#ifndef TESSERA_CORE_CPU_RANK_SUMS_H_
#define TESSERA_CORE_CPU_RANK_SUMS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/model/fold.h"

namespace tessera {

class RankSums {
 public:
  // May throw std::bad_alloc.
  explicit RankSums(const FoldSpec& fold);

  // The nodes that this rank sums; it brings [nodes, rows, hidden] floats.
  const std::vector<FoldNode>& nodes() const { return nodes_; }
  bool Fits(absl::Span<const absl::Span<const uint8_t>> incoming, int64_t rows, int64_t hidden) const;
  // out [hidden] += the sum of row `row` over all ranks' nodes + bias [hidden], which may be null.
  void AddRow(absl::Span<const absl::Span<const uint8_t>> incoming, int64_t row, int64_t rows, int64_t hidden,
              const float* bias, float* out) const;

 private:
  std::vector<FoldNode> nodes_;
  std::vector<FoldTerm> terms_;          // of all ranks
  std::vector<int64_t> nodes_of_ranks_;  // [ranks]
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_RANK_SUMS_H_
