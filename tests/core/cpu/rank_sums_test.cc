// A row-parallel product over any number of ranks, each with its slice of the matrix: the bits of one rank
// with all of it, also where leaves end inside a block of the weights.
#include "core/cpu/rank_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/cpu/fold_layout.h"
#include "core/parallel/partition.h"
#include "tests/core/cpu/linear/linear_inputs.h"

namespace tessera {
namespace {

using cpu::ActivationMode;

constexpr int64_t kRows = 3;     // of activations
constexpr int64_t kHidden = 90;  // outputs: not a multiple of a tile or of a run

struct Product {
  TensorType type;
  ActivationMode mode;
  FoldSpec whole;
  std::vector<uint8_t> source;
  std::vector<float> x, bias, hidden;

  Product(TensorType type_, ActivationMode wanted, const FoldSpec& fold)
      : type(type_), mode(cpu::ModeFor(wanted, type_)), whole(fold) {
    cpu::LinearInputs inputs(9);
    source = inputs.Weights(type, kHidden, columns());
    x = inputs.Floats(kRows * columns());
    bias = inputs.Floats(kHidden);
    hidden = inputs.Floats(kRows * kHidden);
  }
  int64_t columns() const { return whole.columns.back(); }

  // What a rank brings: its slice packed by itself, its own columns of x prepared by leaves.
  std::vector<float> Brought(const FoldSpec& fold) const {
    const RankSums sums(fold);
    const FoldLayout layout(fold, type);
    std::vector<float> out(sums.nodes().size() * static_cast<size_t>(kRows * kHidden), NAN);
    if (layout.count == 0) return out;
    const int64_t first = fold.first_column(fold.rank);
    const int64_t block = InfoOf(type).block_elements;
    const size_t row_bytes = RowBytes(type, static_cast<uint64_t>(columns()));
    const size_t before = RowBytes(type, static_cast<uint64_t>(first / block * block));
    const size_t part = RowBytes(type, static_cast<uint64_t>(layout.matrix_columns));
    std::vector<uint8_t> slice;
    for (size_t n = 0; n < static_cast<size_t>(kHidden); ++n) {
      const auto from = source.begin() + static_cast<std::ptrdiff_t>(n * row_bytes + before);
      slice.insert(slice.end(), from, from + static_cast<std::ptrdiff_t>(part));
    }
    const std::vector<uint8_t> packed = cpu::Packed(type, kHidden, layout.matrix_columns, slice);
    const size_t stride = cpu::PreparedRowBytes(mode, layout.prepared_columns);
    std::vector<uint8_t> prepared(stride * kRows, 0xa5);
    std::vector<float> padded(static_cast<size_t>(layout.padded_columns), NAN);
    for (int64_t r = 0; r < kRows; ++r) {
      layout.Prepare(mode, x.data() + r * columns() + first, padded.data(),
                     prepared.data() + static_cast<size_t>(r) * stride);
    }
    for (size_t i = 0; i < sums.nodes().size(); ++i) {
      const cpu::LinearLeaves leaves = layout.LeavesOf(sums.nodes()[i]);
      cpu::Linear(mode, type, packed.data(), kHidden, layout.matrix_columns, 0, cpu::LinearTiles(kHidden),
                  prepared.data(), stride, kRows, nullptr, false,
                  out.data() + i * static_cast<size_t>(kRows * kHidden), kHidden, &leaves);
    }
    return out;
  }

  // hidden + the product + bias by `ranks` ranks.
  std::vector<float> Run(int32_t ranks, const std::vector<int32_t>& shares) const {
    FoldSpec fold = whole;
    fold.rank_leaves = CutByShares(fold.leaves(), ranks, shares);
    std::vector<std::vector<float>> brought;
    for (fold.rank = 0; fold.rank < ranks; ++fold.rank) brought.push_back(Brought(fold));
    std::vector<absl::Span<const uint8_t>> views;
    for (const std::vector<float>& part : brought) {
      views.emplace_back(reinterpret_cast<const uint8_t*>(part.data()), part.size() * sizeof(float));
    }
    fold.rank = ranks - 1;
    const RankSums sums(fold);
    EXPECT_TRUE(sums.Fits(views, kRows, kHidden));
    EXPECT_FALSE(sums.Fits(views, kRows + 1, kHidden));
    std::vector<float> out = hidden;
    for (int64_t r = 0; r < kRows; ++r) {
      sums.AddRow(views, r, kRows, kHidden, bias.data(), out.data() + r * kHidden);
    }
    return out;
  }

  // As one engine computes it: one call over all columns, added to the hidden state.
  std::vector<float> Whole() const {
    const FoldLayout layout(whole, type);
    const cpu::LinearLeaves leaves = layout.LeavesOf({0, whole.leaves()});
    const std::vector<uint8_t> packed = cpu::Packed(type, kHidden, columns(), source);
    const size_t stride = cpu::PreparedRowBytes(mode, layout.prepared_columns);
    std::vector<uint8_t> prepared(stride * kRows, 0xa5);
    std::vector<float> padded(static_cast<size_t>(layout.padded_columns), NAN);
    for (int64_t r = 0; r < kRows; ++r) {
      layout.Prepare(mode, x.data() + r * columns(), padded.data(),
                     prepared.data() + static_cast<size_t>(r) * stride);
    }
    std::vector<float> out = hidden;
    cpu::Linear(mode, type, packed.data(), kHidden, columns(), 0, cpu::LinearTiles(kHidden), prepared.data(),
                stride, kRows, bias.data(), true, out.data(), kHidden, &leaves);
    return out;
  }

  // In double precision, on activations that are not rounded.
  void ExpectNear(const std::vector<float>& out) const {
    if (mode != ActivationMode::kF32) return;
    std::vector<double> exact(static_cast<size_t>(kRows * kHidden)), magnitude(exact.size());
    cpu::LinearReference(mode, type, source.data(), kHidden, columns(), x.data(), kRows, bias.data(),
                         exact.data(), magnitude.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_LE(std::fabs(out[i] - (exact[i] + hidden[i])), 2e-6 * magnitude[i] + 1e-6) << i;
    }
  }
};

// Eight groups of which two leaves meet in a block; four of 320 columns, whose every boundary is inside one.
std::vector<FoldSpec> Folds(TensorType type) {
  const int64_t block = InfoOf(type).block_elements;
  return {FoldOfColumns(2048 + 256), FoldOfColumns(1536), FoldOfGroups(8, 320, block),
          FoldOfGroups(4, 320, block), FoldOfGroups(3, 512, block)};
}

TEST(RankSums, HaveTheBitsOfOneRankForAnySplit) {
  for (const TensorType type : cpu::kAllTypes) {
    for (const ActivationMode wanted : {ActivationMode::kInt8, ActivationMode::kF32}) {
      if (cpu::ModeFor(wanted, type) != wanted) continue;
      for (const FoldSpec& fold : Folds(type)) {
        SCOPED_TRACE(std::string(InfoOf(type).name) + ", columns: " + std::to_string(fold.columns.back()));
        const Product product(type, wanted, fold);
        const std::vector<float> whole = product.Whole();
        product.ExpectNear(whole);
        for (int32_t ranks = 1; ranks <= 8; ++ranks) {
          ASSERT_EQ(product.Run(ranks, {}), whole) << ranks << " ranks";
        }
        ASSERT_EQ(product.Run(3, {1, 5, 2}), whole);
        ASSERT_EQ(product.Run(2, {1, 100}), whole);  // the first has nothing
      }
    }
  }
}

TEST(FoldLayout, IsThatOfTheWholeMatrixWhereLeavesEndAtBlocks) {
  const FoldLayout aligned(FoldOfGroups(8, 256, 256), TensorType::kQ4_K);
  EXPECT_EQ(aligned.padded_columns, 0);
  EXPECT_EQ(aligned.prepared_columns, 2048);
  EXPECT_EQ(aligned.matrix_columns, 2048);
  const FoldLayout straddling(FoldOfGroups(4, 320, 256), TensorType::kQ4_K);
  EXPECT_EQ(straddling.padded_columns, 512);
  EXPECT_EQ(straddling.prepared_columns, 4 * 512);
  EXPECT_EQ(straddling.matrix_columns, 1280);
}

}  // namespace
}  // namespace tessera
