// Where the leaves of a row-parallel sum (core/model/fold.h) lie in a rank's matrix and in its prepared rows.
// A leaf that ends inside a block of the weights reaches out to whole blocks, and its activations are zero
// outside its own columns: the block is then in two leaves, with other activations in each. Where no leaf
// does that, matrix and prepared row are laid as if there were no leaves.
#ifndef TESSERA_CORE_CPU_FOLD_LAYOUT_H_
#define TESSERA_CORE_CPU_FOLD_LAYOUT_H_

#include <cstdint>

#include "core/cpu/kernels/linear/linear.h"
#include "core/model/fold.h"

namespace tessera {

// One leaf's activations: zeros, its own columns of the rank's input, zeros.
struct LeafInput {
  int64_t first_column = 0;  // of the rank's input
  int64_t columns = 0;
  int64_t zeros_before = 0;
};

struct FoldLayout {
  FoldLayout(const FoldSpec& fold, TensorType type);

  // Those of a node's leaves; the node's numbers are the whole model's.
  cpu::LinearLeaves LeavesOf(const FoldNode& node) const;
  // One row x of the rank's input to `prepared`. padded [padded_columns].
  void Prepare(cpu::ActivationMode mode, const float* x, float* padded, uint8_t* prepared) const;

  int32_t first_leaf = 0;
  int32_t count = 0;             // the rank's leaves
  int64_t matrix_columns = 0;    // of the rank's matrix
  int64_t input_columns = 0;     // of its input
  int64_t prepared_columns = 0;  // of a prepared row
  int64_t padded_columns = 0;    // of the widest leaf; 0 where none reaches out
  cpu::LinearLeaf leaves[kMostLeaves];
  LeafInput inputs[kMostLeaves];
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_FOLD_LAYOUT_H_
