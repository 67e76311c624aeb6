// Who of several ranks has which part of a model: stages take runs of layers, and the ranks of a stage share
// its tensors (tensor parallelism) by rules that are a table. From the whole model's spec comes a rank's
// plan: slices of tensors and a spec of its own. Knows no files, no backend and no communication.
#ifndef TESSERA_CORE_PARALLEL_PARTITION_H_
#define TESSERA_CORE_PARALLEL_PARTITION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model_spec.h"

namespace tessera {

inline constexpr int32_t kMostTensorRanks = kMostLeaves;
inline constexpr int64_t kVocabularyUnit = 16;  // rows of the vocabulary that stay together, at least

struct ShardRequest {
  int32_t rank = 0;  // among the tensor ranks of its stage
  int32_t ranks = 1;
  // [ranks]: what each is given in proportion to, 1 to 2^20; empty: equal shares. The same on all ranks.
  std::vector<int32_t> shares;
  int32_t first_layer = 0;  // the stage's layers [first_layer, end_layer)
  int32_t end_layer = -1;   // -1: through the last
};

// Rows and columns of a whole tensor. A vector is one row.
struct TensorSlice {
  TensorId whole = kNoTensor;
  int64_t first_row = 0;
  int64_t first_column = 0;  // a multiple of the type's block
};

struct ShardPlan {
  ModelSpec spec;                   // the rank's: local sizes, tensors and biases, `part` filled
  std::vector<TensorSlice> slices;  // [spec.tensors]: where each comes from; sizes are the spec's
};

// What the rules are:
//   query, key, value and their biases   rows, whole KV groups: those of the rank's leaves of the output's
//   fold output                               columns of the same heads, extended to whole blocks of its type
//   gate, up; down                       rows; the same columns: the rank's leaves of the down fold
//   embedding, head                      rows: a run of the vocabulary
//   norms, and the output's bias         whole, on every rank: they are applied to sums that all have
// A rank may get no heads or no columns; its tensors then have no rows, or no columns. The first stage has
// the embedding, the last the final norm and the head; a tied table is on both. Cache groups keep their
// numbers on every stage, with the stage's layers and the rank's KV heads. kInvalidArgument, naming the
// request's field, where it is out of range; kUnsupported where the model cannot be cut so.
absl::StatusOr<ShardPlan> PlanShard(const ModelSpec& whole, const ShardRequest& request);

// [ranks + 1]: `count` things in the order of the ranks, each rank's number in proportion to its share.
std::vector<int32_t> CutByShares(int32_t count, int32_t ranks, const std::vector<int32_t>& shares);

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_PARTITION_H_
