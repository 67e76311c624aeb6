// Sums over leaves of the columns, on every vector set: exactness against double precision, the order of the
// additions, and that nothing but the leaves' own columns plays a part.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/linear/linear_inputs.h"

namespace tessera::cpu {
namespace {

constexpr float kPoison = -3.5e33f;
constexpr double kRounding = 2e-6;  // of the sum of magnitudes

// A matrix, its leaves (some of which share a block), and one prepared row a batch row: leaf after leaf.
struct Cut {
  ActivationMode mode;
  TensorType type;
  int64_t rows, columns, batch;
  LinearLeaves leaves;
  std::vector<uint8_t> source, packed, prepared;
  size_t stride = 0;
  std::vector<float> x, bias;  // x: [batch, prepared columns]

  Cut(LinearInputs& inputs, ActivationMode wanted, TensorType type_, int32_t count)
      : mode(ModeFor(wanted, type_)), type(type_), rows(inputs.Integer(1, 70)), batch(inputs.Integer(1, 17)) {
    const int64_t block = InfoOf(type).block_elements;
    int64_t at = 0, prepared_columns = 0;
    leaves.count = count;
    for (int32_t i = 0; i < count; ++i) {
      if (i > 0 && inputs.Integer(0, 2) == 0) at -= block;  // the block before is in this leaf too
      const int64_t width = (block == 1 ? inputs.Integer(1, 90) : inputs.Integer(1, 4) * block);
      leaves.leaves[i] = {at, width, prepared_columns};
      at += width;
      prepared_columns += width;
    }
    columns = at + inputs.Integer(0, 1) * block;  // a column that no leaf has
    source = inputs.Weights(type, rows, columns);
    packed = Packed(type, rows, columns, source);
    bias = inputs.Floats(rows);
    x = inputs.Floats(batch * prepared_columns);
    stride = PreparedRowBytes(mode, prepared_columns);
    prepared.assign(stride * static_cast<size_t>(batch), 0xa5);
    for (int64_t r = 0; r < batch; ++r) {
      for (int32_t i = 0; i < count; ++i) {
        const LinearLeaf& leaf = leaves.leaves[i];
        PrepareRow(
            mode, x.data() + r * prepared_columns + leaf.prepared_column, leaf.columns,
            prepared.data() + stride * static_cast<size_t>(r) + PreparedOffset(mode, leaf.prepared_column));
      }
    }
  }

  int64_t prepared_columns() const { return static_cast<int64_t>(x.size()) / batch; }

  std::vector<float> Run(const LinearLeaves* of, bool with_bias = false) const {
    std::vector<float> out(static_cast<size_t>(batch * (rows + 3)), kPoison);
    Linear(mode, type, packed.data(), rows, columns, 0, LinearTiles(rows), prepared.data(), stride, batch,
           with_bias ? bias.data() : nullptr, false, out.data(), rows + 3, of);
    return out;
  }

  // One leaf's exact sums and their magnitudes, added to out and magnitude [batch, rows].
  void AddReference(const LinearLeaf& leaf, std::vector<double>& out, std::vector<double>& magnitude) const {
    const size_t whole = RowBytes(type, static_cast<uint64_t>(columns));
    const size_t before = RowBytes(type, static_cast<uint64_t>(leaf.first_column));
    const size_t part = RowBytes(type, static_cast<uint64_t>(leaf.columns));
    std::vector<uint8_t> slice;
    for (int64_t n = 0; n < rows; ++n) {
      const auto from = source.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(n) * whole + before);
      slice.insert(slice.end(), from, from + static_cast<std::ptrdiff_t>(part));
    }
    std::vector<float> own;
    for (int64_t r = 0; r < batch; ++r) {
      const auto from = x.begin() + r * prepared_columns() + leaf.prepared_column;
      own.insert(own.end(), from, from + leaf.columns);
    }
    std::vector<double> sums(out.size()), sizes(out.size());
    LinearReference(mode, type, slice.data(), rows, leaf.columns, own.data(), batch, nullptr, sums.data(),
                    sizes.data());
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] += sums[i];
      magnitude[i] += sizes[i];
    }
  }
};

template <typename Test>
void ForEachCut(uint32_t seed, const Test& test) {
  LinearInputs inputs(seed);
  for (TensorType type : kAllTypes) {
    for (ActivationMode wanted : {ActivationMode::kInt8, ActivationMode::kF32}) {
      if (ModeFor(wanted, type) != wanted) continue;
      for (int32_t count = 1; count <= kMostLeaves; ++count) {
        SCOPED_TRACE(std::string(InfoOf(type).name) + ", leaves: " + std::to_string(count));
        const Cut cut(inputs, wanted, type, count);
        ForEachTarget([&] { test(cut); });
      }
    }
  }
}

TEST(LinearLeaves, AgreeWithDoublePrecisionAndWriteNothingElse) {
  ForEachCut(31, [](const Cut& cut) {
    std::vector<double> expected(static_cast<size_t>(cut.batch * cut.rows)), magnitude(expected.size());
    for (int32_t i = 0; i < cut.leaves.count; ++i) {
      cut.AddReference(cut.leaves.leaves[i], expected, magnitude);
    }
    const std::vector<float> out = cut.Run(&cut.leaves);
    for (int64_t r = 0; r < cut.batch; ++r) {
      for (int64_t n = 0; n < cut.rows + 3; ++n) {
        const float value = out[static_cast<size_t>(r * (cut.rows + 3) + n)];
        if (n >= cut.rows) {
          ASSERT_EQ(value, kPoison);
          continue;
        }
        const auto at = static_cast<size_t>(r * cut.rows + n);
        ASSERT_LE(std::fabs(value - expected[at]), kRounding * magnitude[at] + 1e-30);
      }
    }
  });
}

// The tree of core/model/fold.h written out: halves of powers of two, cut at the end.
std::vector<float> Tree(const Cut& cut, int32_t first, int32_t size) {
  if (size == 1) {
    LinearLeaves one;
    one.count = 1;
    one.leaves[0] = cut.leaves.leaves[first];
    return cut.Run(&one);
  }
  std::vector<float> left = Tree(cut, first, size / 2);
  if (first + size / 2 >= cut.leaves.count) return left;
  const std::vector<float> right = Tree(cut, first + size / 2, size / 2);
  for (size_t i = 0; i < left.size(); ++i) left[i] = left[i] == kPoison ? kPoison : left[i] + right[i];
  return left;
}

TEST(LinearLeaves, AreAddedAlongTheTreeAndTheBiasLast) {
  ForEachCut(32, [](const Cut& cut) {
    const std::vector<float> expected = Tree(cut, 0, kMostLeaves);
    ASSERT_EQ(cut.Run(&cut.leaves), expected);
    const std::vector<float> with_bias = cut.Run(&cut.leaves, true);
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto n = static_cast<int64_t>(i) % (cut.rows + 3);
      const float value = n < cut.rows ? expected[i] + cut.bias[static_cast<size_t>(n)] : kPoison;
      ASSERT_EQ(with_bias[i], value);
    }
  });
}

TEST(LinearLeaves, OneOfAllColumnsIsTheWholeProduct) {
  LinearInputs inputs(33);
  for (TensorType type : kAllTypes) {
    Cut cut(inputs, ActivationMode::kInt8, type, 1);
    LinearLeaves all;
    all.count = 1;
    all.leaves[0] = {0, cut.columns, 0};
    cut.x = inputs.Floats(cut.batch * cut.columns);
    cut.prepared = Prepared(cut.mode, cut.columns, cut.batch, cut.x.data());
    cut.stride = PreparedRowBytes(cut.mode, cut.columns);
    ForEachTarget([&] { ASSERT_EQ(cut.Run(&all), cut.Run(nullptr)) << InfoOf(type).name; });
  }
}

}  // namespace
}  // namespace tessera::cpu
