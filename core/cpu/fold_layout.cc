#include "core/cpu/fold_layout.h"

#include <algorithm>

#include "core/model/tensor_type.h"

namespace tessera {

FoldLayout::FoldLayout(const FoldSpec& fold, TensorType type) {
  const int64_t block = InfoOf(type).block_elements;
  const auto down = [block](int64_t column) { return column / block * block; };
  const auto up = [block](int64_t column) { return (column + block - 1) / block * block; };
  first_leaf = fold.first_leaf(fold.rank);
  count = fold.end_leaf(fold.rank) - first_leaf;
  if (count == 0) return;
  const int64_t first = fold.first_column(fold.rank);
  const int64_t end = fold.end_column(fold.rank);
  input_columns = end - first;
  matrix_columns = up(end) - down(first);
  for (int32_t i = 0; i < count; ++i) {
    const int64_t from = fold.columns[static_cast<size_t>(first_leaf + i)];
    const int64_t to = fold.columns[static_cast<size_t>(first_leaf + i) + 1];
    inputs[i] = {from - first, to - from, from - down(from)};
    leaves[i] = {down(from) - down(first), up(to) - down(from), prepared_columns};
    prepared_columns += leaves[i].columns;
    if (leaves[i].columns != to - from) padded_columns = std::max(padded_columns, leaves[i].columns);
  }
}

cpu::LinearLeaves FoldLayout::LeavesOf(const FoldNode& node) const {
  cpu::LinearLeaves of_node;
  of_node.count = node.end - node.first;
  std::copy_n(leaves + (node.first - first_leaf), of_node.count, of_node.leaves);
  return of_node;
}

void FoldLayout::Prepare(cpu::ActivationMode mode, const float* x, float* padded, uint8_t* prepared) const {
  if (padded_columns == 0) {
    cpu::PrepareRow(mode, x, input_columns, prepared);
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    std::fill_n(padded, leaves[i].columns, 0.0f);
    std::copy_n(x + inputs[i].first_column, inputs[i].columns, padded + inputs[i].zeros_before);
    cpu::PrepareRow(mode, padded, leaves[i].columns,
                    prepared + cpu::PreparedOffset(mode, leaves[i].prepared_column));
  }
}

}  // namespace tessera
