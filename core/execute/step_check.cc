#include "core/execute/step_check.h"

#include "core/base/status.h"

namespace tessera {
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

absl::Status CheckStep(const ModelSpec& spec, const BackendLimits& limits, const StepView& step,
                       int32_t samples_before) {
  if (step.row_count < 1 || step.row_count > limits.max_rows || step.sample_count > limits.max_samples ||
      step.sequence_count > limits.max_sequences) {
    return Internal("step",
                    "it has more rows, samples or sequences than the context was made for, or no row");
  }
  for (int32_t row = 0; row < step.row_count; ++row) {
    const int32_t token = step.tokens[row];
    if (token == kSampledToken && samples_before > 0) {
      if (step.sources[row] < 0 || step.sources[row] >= samples_before) {
        return Internal("step", "a token comes from no sample of the step before");
      }
    } else if (token < 0 || token >= spec.vocabulary_size) {
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

}  // namespace tessera
