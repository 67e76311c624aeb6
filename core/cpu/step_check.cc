#include "core/cpu/step_check.h"

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

absl::Status CheckLimits(const ModelSpec& spec, const BackendLimits& limits) {
  if (limits.max_rows < 1 || limits.max_samples < 1 || limits.max_sequences < 1 || limits.max_positions < 1 ||
      limits.block_tokens < 1 || limits.threads < 1) {
    return InvalidArgument("backend limits", "every one of them must be 1 or more");
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const AttentionSpec& attention = spec.layers[i].attention;
    const bool none = spec.part.ranks > 1 && attention.heads == 0 && attention.kv_heads == 0;
    if (attention.head_size < 2 || attention.head_size % 2 != 0 ||
        (!none && (attention.kv_heads < 1 || attention.heads % attention.kv_heads != 0)) ||
        spec.rotary.dimensions > attention.head_size) {
      return Unsupported(absl::StrCat("layer ", i),
                         "heads must be an even number of elements that holds the rotary dimensions, and the "
                         "query heads a multiple of the key heads");
    }
  }
  if (spec.part.vocabulary_cuts.size() != static_cast<size_t>(spec.part.ranks) + 1) {
    return Internal("model", "it does not say who has which part of the vocabulary");
  }
  for (const LayerSpec& layer : spec.layers) {
    for (const FoldSpec* fold : {&layer.output_fold, &layer.down_fold}) {
      if (fold->leaves() < 1 || fold->leaves() > kMostLeaves || fold->ranks() != spec.part.ranks) {
        return Internal("model", "it does not say how its sums are folded");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStep(const ModelSpec& spec, const BackendLimits& limits, const StepView& step) {
  if (step.row_count < 1 || step.row_count > limits.max_rows || step.sample_count > limits.max_samples ||
      step.sequence_count > limits.max_sequences) {
    return Internal("step",
                    "it has more rows, samples or sequences than the context was made for, or no row");
  }
  for (int32_t row = 0; row < step.row_count; ++row) {
    if (step.tokens[row] < 0 || step.tokens[row] >= spec.vocabulary_size) {
      return Internal("step", "a token is outside the vocabulary");
    }
  }
  int32_t rows = 0;
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const SequenceView& sequence = step.sequences[s];
    if (sequence.first_row != rows || sequence.row_count < 1 || sequence.row_count > step.row_count - rows ||
        sequence.first_position < 0 || sequence.first_position > limits.max_positions - sequence.row_count) {
      return Internal("step", "a sequence's rows or positions are outside the step or the context");
    }
    rows += sequence.row_count;
  }
  if (rows != step.row_count) return Internal("step", "the sequences do not cover its rows");
  for (int32_t i = 0; i < step.sample_count; ++i) {
    if (step.samples[i].row < 0 || step.samples[i].row >= step.row_count) {
      return Internal("step", "a sampled row is outside it");
    }
  }
  for (size_t group = 0; group < spec.cache_groups.size(); ++group) {
    const CacheGroupSpec& expected = spec.cache_groups[group];
    const CacheView& cache = step.caches[group];
    if (cache.kv_heads != expected.kv_heads || cache.head_size != expected.head_size ||
        cache.block_tokens < 1 || cache.layer_count != static_cast<int32_t>(expected.layers.size())) {
      return Internal("step", "the cache's shape is not the model's");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWeights(const ModelSpec& spec, const Region& region, const RegionWeights& weights) {
  if (WeightsFit(spec, region, weights)) return absl::OkStatus();
  return Internal(RegionName(region.kind), "a weight of the region is absent or not of the model's shape");
}

}  // namespace tessera
