#include "core/cpu/weight_check.h"

#include "core/base/status.h"
#include "core/cpu/fold_layout.h"
#include "core/cpu/rank_vocabulary.h"

namespace tessera {
namespace {

bool IsMatrix(const WeightView& view, int64_t rows, int64_t columns) {
  const bool there = view.data != nullptr || rows == 0 || columns == 0;  // a rank may have nothing of it
  return there && view.rows == rows && view.columns == columns;
}

// Of a row-parallel sum: the rank's columns, in whole blocks.
bool IsFolded(const WeightView& view, int64_t rows, const FoldSpec& fold) {
  return IsMatrix(view, rows, FoldLayout(fold, view.type).matrix_columns);
}

bool IsVector(const WeightView& view, int64_t size) {
  return (view.data != nullptr || size == 0) && view.rows == 1 && view.columns == size;
}

bool IsVectorOrAbsent(const WeightView& view, int64_t size) {
  return view.data == nullptr || IsVector(view, size);
}

bool WeightsFit(const ModelSpec& spec, const Region& region, const RegionWeights& weights) {
  const int64_t hidden = spec.hidden_size;
  if (region.layer < 0) {
    const int64_t vocabulary = RankVocabulary(&spec.part).size();
    switch (region.kind) {
      case RegionKind::kEmbed:
        return IsMatrix(weights.matrix, vocabulary, hidden);
      case RegionKind::kHead:
        return IsVector(weights.norm, hidden) && IsMatrix(weights.matrix, vocabulary, hidden) &&
               IsVectorOrAbsent(weights.matrix_bias, vocabulary);
      default:
        return region.kind == RegionKind::kSample;
    }
  }
  if (region.layer >= static_cast<int32_t>(spec.layers.size())) return false;
  const LayerSpec& layer = spec.layers[static_cast<size_t>(region.layer)];
  const AttentionSpec& attention = layer.attention;
  const int64_t query = static_cast<int64_t>(attention.heads) * attention.head_size;
  const int64_t key = static_cast<int64_t>(attention.kv_heads) * attention.head_size;
  switch (region.kind) {
    case RegionKind::kNormQkv:
      return IsVector(weights.norm, hidden) && IsMatrix(weights.query, query, hidden) &&
             IsMatrix(weights.key, key, hidden) && IsMatrix(weights.value, key, hidden) &&
             IsVectorOrAbsent(weights.query_bias, query) && IsVectorOrAbsent(weights.key_bias, key) &&
             IsVectorOrAbsent(weights.value_bias, key);
    case RegionKind::kAttention:
      return true;
    case RegionKind::kOutput:
      return IsFolded(weights.matrix, hidden, layer.output_fold) &&
             IsVectorOrAbsent(weights.matrix_bias, hidden);
    case RegionKind::kNormGateUp:
      return IsVector(weights.norm, hidden) && IsMatrix(weights.gate, spec.feed_forward_size, hidden) &&
             IsMatrix(weights.up, spec.feed_forward_size, hidden);
    case RegionKind::kDown:
      return IsFolded(weights.matrix, hidden, layer.down_fold) &&
             IsVectorOrAbsent(weights.matrix_bias, hidden);
    default:
      return false;
  }
}

}  // namespace

absl::Status CheckWeights(const ModelSpec& spec, const Region& region, const RegionWeights& weights) {
  if (WeightsFit(spec, region, weights)) return absl::OkStatus();
  return Internal(RegionName(region.kind), "a weight of the region is absent or not of the model's shape");
}

}  // namespace tessera
