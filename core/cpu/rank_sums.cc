#include "core/cpu/rank_sums.h"

#include <algorithm>
#include <cstring>

namespace tessera {
namespace {

constexpr int64_t kRun = 64;  // elements whose pending sums stay in the first cache

}  // namespace

RankSums::RankSums(const FoldSpec& fold)
    : nodes_(NodesOf(fold.first_leaf(fold.rank), fold.end_leaf(fold.rank), fold.leaves())),
      terms_(TermsOf(fold)),
      nodes_of_ranks_(static_cast<size_t>(fold.ranks()), 0) {
  for (const FoldTerm& term : terms_) ++nodes_of_ranks_[static_cast<size_t>(term.rank)];
}

bool RankSums::Fits(absl::Span<const absl::Span<const uint8_t>> incoming, int64_t rows,
                    int64_t hidden) const {
  if (incoming.size() != nodes_of_ranks_.size()) return false;
  for (size_t r = 0; r < incoming.size(); ++r) {
    if (incoming[r].size() != static_cast<size_t>(nodes_of_ranks_[r] * rows * hidden) * sizeof(float)) {
      return false;
    }
  }
  return true;
}

void RankSums::AddRow(absl::Span<const absl::Span<const uint8_t>> incoming, int64_t row, int64_t rows,
                      int64_t hidden, const float* bias, float* out) const {
  float sums[kFoldDepth + 1][kRun];  // a stack, as in the kernels of the whole sum
  for (int64_t first = 0; first < hidden; first += kRun) {
    const auto count = static_cast<size_t>(std::min(kRun, hidden - first));
    int32_t top = 0;
    for (const FoldTerm& term : terms_) {
      const int64_t element = (term.index * rows + row) * hidden + first;
      std::memcpy(
          sums[top],
          incoming[static_cast<size_t>(term.rank)].data() + static_cast<size_t>(element) * sizeof(float),
          count * sizeof(float));
      for (int32_t merge = 0; merge < term.merges; ++merge) {
        --top;
        for (size_t i = 0; i < count; ++i) sums[top][i] += sums[top + 1][i];
      }
      ++top;
    }
    for (size_t i = 0; i < count; ++i) {
      float sum = sums[0][i];
      if (bias != nullptr) sum += bias[first + static_cast<int64_t>(i)];
      out[first + static_cast<int64_t>(i)] += sum;
    }
  }
}

}  // namespace tessera
