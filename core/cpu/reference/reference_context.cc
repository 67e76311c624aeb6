#include "core/cpu/reference/reference_context.h"

#include <algorithm>
#include <new>

#include "core/base/status.h"
#include "core/cpu/kernels/attention/attention_reference.h"
#include "core/cpu/kernels/cache_rows/cache_rows_reference.h"
#include "core/cpu/kernels/linear/linear.h"
#include "core/cpu/kernels/rms_norm/rms_norm_reference.h"
#include "core/cpu/kernels/rotary/rotary_reference.h"
#include "core/cpu/kernels/silu_multiply/silu_multiply_reference.h"
#include "core/cpu/weight_check.h"
#include "core/execute/step_check.h"

namespace tessera {
namespace {

// Row `row` of a weight that is kept as the file stores it.
void ReadRow(const WeightView& weight, int64_t row, float* out) {
  const size_t row_bytes = RowBytes(weight.type, static_cast<uint64_t>(weight.columns));
  const auto* const bytes = static_cast<const uint8_t*>(weight.data);
  cpu::DequantizeReference(weight.type, bytes + static_cast<size_t>(row) * row_bytes, weight.columns, out);
}

size_t Count(int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns); }

}  // namespace

ReferenceSizes::ReferenceSizes(const ModelSpec& spec, const BackendLimits& limits) {
  int64_t query_size = 0;
  int64_t key_size = 0;
  for (const LayerSpec& layer : spec.layers) {
    const AttentionSpec& attention = layer.attention;
    query_size = std::max<int64_t>(query_size, static_cast<int64_t>(attention.heads) * attention.head_size);
    key_size = std::max<int64_t>(key_size, static_cast<int64_t>(attention.kv_heads) * attention.head_size);
  }
  const int64_t rows = limits.max_rows;
  const int64_t hidden_size = spec.hidden_size;
  const int64_t feed_forward = spec.feed_forward_size;
  hidden = Count(rows, hidden_size);
  normed = Count(std::max<int64_t>(rows, limits.max_samples), hidden_size);
  query = context = Count(rows, query_size);
  key = value = Count(rows, key_size);
  gate = up = Count(rows, feed_forward);
  logits = Count(limits.max_samples, spec.vocabulary_size);
  weight_row = vector =
      Count(1, std::max({hidden_size, query_size, feed_forward, static_cast<int64_t>(spec.vocabulary_size)}));
}

size_t ReferenceSizes::bytes() const {
  return sizeof(float) *
         (hidden + normed + query + key + value + context + gate + up + logits + weight_row + vector);
}

ReferenceContext::ReferenceContext(const ModelSpec& spec, const BackendLimits& limits)
    : spec_(spec), limits_(limits), layer_in_group_(spec.layers.size(), 0) {
  for (const CacheGroupSpec& group : spec.cache_groups) {
    for (size_t i = 0; i < group.layers.size(); ++i) {
      layer_in_group_[static_cast<size_t>(group.layers[i])] = static_cast<int32_t>(i);
    }
  }
  const ReferenceSizes sizes(spec, limits);
  hidden_.resize(sizes.hidden);
  normed_.resize(sizes.normed);
  query_.resize(sizes.query);
  key_.resize(sizes.key);
  value_.resize(sizes.value);
  context_.resize(sizes.context);
  gate_.resize(sizes.gate);
  up_.resize(sizes.up);
  logits_.resize(sizes.logits);
  weight_row_.resize(sizes.weight_row);
  vector_.resize(sizes.vector);
  sampler_ = Sampler::Create(spec.vocabulary_size);
}

size_t ReferenceContext::scratch_bytes() const noexcept { return ReferenceSizes(spec_, limits_).bytes(); }

absl::Status ReferenceContext::Execute(const Region& region, const RegionWeights& weights,
                                       const StepView& step) noexcept {
  try {
    TSR_RETURN_IF_ERROR(CheckStep(spec_, limits_, step));
    TSR_RETURN_IF_ERROR(CheckWeights(spec_, region, weights));
    Run(region, weights, step);
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return BareError(ErrorCode::kOutOfMemory);
  }
}

void ReferenceContext::Run(const Region& region, const RegionWeights& weights, const StepView& step) {
  const int32_t rows = step.row_count;
  const int64_t hidden = spec_.hidden_size;
  const auto layer = static_cast<size_t>(region.layer);
  const auto norm_all = [&] {
    for (int32_t row = 0; row < rows; ++row) {
      Norm(weights.norm, &hidden_[Count(row, hidden)], &normed_[Count(row, hidden)]);
    }
  };
  switch (region.kind) {
    case RegionKind::kEmbed:
      Embed(weights.matrix, step);
      break;
    case RegionKind::kNormQkv:
      norm_all();
      Linear(weights.query, weights.query_bias, normed_.data(), rows, false, query_.data());
      Linear(weights.key, weights.key_bias, normed_.data(), rows, false, key_.data());
      Linear(weights.value, weights.value_bias, normed_.data(), rows, false, value_.data());
      RotateAndAppend(spec_.layers[layer], layer_in_group_[layer], step);
      break;
    case RegionKind::kAttention:
      Attend(spec_.layers[layer], layer_in_group_[layer], step);
      break;
    case RegionKind::kOutput:
      Linear(weights.matrix, weights.matrix_bias, context_.data(), rows, true, hidden_.data());
      break;
    case RegionKind::kNormGateUp:
      norm_all();
      Linear(weights.gate, {}, normed_.data(), rows, false, gate_.data());
      Linear(weights.up, {}, normed_.data(), rows, false, up_.data());
      for (size_t i = 0; i < Count(rows, spec_.feed_forward_size); ++i) {
        gate_[i] = static_cast<float>(cpu::SiluMultiplyReference(gate_[i], up_[i]));
      }
      break;
    case RegionKind::kDown:
      Linear(weights.matrix, weights.matrix_bias, gate_.data(), rows, true, hidden_.data());
      break;
    case RegionKind::kHead:
      Head(weights, step);
      break;
    case RegionKind::kSample:
      for (int32_t i = 0; i < step.sample_count; ++i) {
        sampler_->Sample(&logits_[Count(i, spec_.vocabulary_size)], &step.samples[i]);
      }
      break;
  }
}

void ReferenceContext::Embed(const WeightView& table, const StepView& step) {
  for (int32_t row = 0; row < step.row_count; ++row) {
    ReadRow(table, step.tokens[row], &hidden_[Count(row, table.columns)]);
  }
}

void ReferenceContext::Norm(const WeightView& weight, const float* x, float* out) {
  ReadRow(weight, 0, vector_.data());
  cpu::RmsNormReference(x, vector_.data(), spec_.norm_epsilon, spec_.hidden_size, out);
}

void ReferenceContext::Linear(const WeightView& weight, const WeightView& bias, const float* x, int32_t rows,
                              bool accumulate, float* out) {
  if (bias.data != nullptr) ReadRow(bias, 0, vector_.data());
  for (int64_t n = 0; n < weight.rows; ++n) {
    ReadRow(weight, n, weight_row_.data());
    for (int32_t row = 0; row < rows; ++row) {
      double sum = bias.data != nullptr ? vector_[static_cast<size_t>(n)] : 0.0;
      for (int64_t k = 0; k < weight.columns; ++k) {
        sum += static_cast<double>(x[row * weight.columns + k]) * weight_row_[static_cast<size_t>(k)];
      }
      float* const target = out + row * weight.rows + n;
      *target = static_cast<float>(accumulate ? *target + sum : sum);
    }
  }
}

void ReferenceContext::RotateAndAppend(const LayerSpec& layer, int32_t layer_in_group, const StepView& step) {
  const AttentionSpec& attention = layer.attention;
  const int32_t size = attention.head_size;
  const CacheView& cache = step.caches[layer.cache_group];
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const SequenceView& sequence = step.sequences[s];
    for (int32_t i = 0; i < sequence.row_count; ++i) {
      const int32_t row = sequence.first_row + i;
      const int32_t position = sequence.first_position + i;
      float* const query = &query_[Count(row, attention.heads * size)];
      float* const key = &key_[Count(row, attention.kv_heads * size)];
      const float* const value = &value_[Count(row, attention.kv_heads * size)];
      cpu::RotateReference(spec_.rotary, position, attention.heads, size, query);
      cpu::RotateReference(spec_.rotary, position, attention.kv_heads, size, key);

      const int32_t block = sequence.blocks[layer.cache_group][position / cache.block_tokens];
      const size_t row_bytes = cache.row_bytes();
      for (int32_t head = 0; head < attention.kv_heads; ++head) {
        const size_t at =
            Count(head, cache.block_tokens) + static_cast<size_t>(position % cache.block_tokens);
        cpu::StoreCacheRowReference(cache.type, key + head * size, size,
                                    cache.keys(block, layer_in_group) + at * row_bytes);
        cpu::StoreCacheRowReference(cache.type, value + head * size, size,
                                    cache.values(block, layer_in_group) + at * row_bytes);
      }
    }
  }
}

void ReferenceContext::Attend(const LayerSpec& layer, int32_t layer_in_group, const StepView& step) {
  const AttentionSpec& attention = layer.attention;
  const int32_t group = attention.heads / attention.kv_heads;
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const SequenceView& sequence = step.sequences[s];
    for (int32_t i = 0; i < sequence.row_count; ++i) {
      for (int32_t head = 0; head < attention.heads; ++head) {
        const size_t at = Count((sequence.first_row + i) * attention.heads + head, attention.head_size);
        cpu::AttentionReference(step.caches[layer.cache_group], layer_in_group,
                                sequence.blocks[layer.cache_group], head / group, attention.window_tokens,
                                attention.scale, sequence.first_position + i, &query_[at], &context_[at]);
      }
    }
  }
}

void ReferenceContext::Head(const RegionWeights& weights, const StepView& step) {
  const int64_t hidden = spec_.hidden_size;
  for (int32_t i = 0; i < step.sample_count; ++i) {
    Norm(weights.norm, &hidden_[Count(step.samples[i].row, hidden)], &normed_[Count(i, hidden)]);
  }
  if (step.sample_count == 0) return;
  Linear(weights.matrix, weights.matrix_bias, normed_.data(), step.sample_count, false, logits_.data());
}

}  // namespace tessera
