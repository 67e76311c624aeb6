// The oracle of attention: all scores, then softmax, then the sum, in double precision, over the cache as it
// is.
#ifndef TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/cache/cache_view.h"
#include "core/cpu/kernels/cache_rows/cache_rows_reference.h"

namespace tessera::cpu {

// One query [head_size] at `position`, over the cache's head kv_head. context [head_size].
template <typename Out>
void AttentionReference(const CacheView& cache, int32_t layer_in_group, const int32_t* blocks,
                        int32_t kv_head, int32_t window_tokens, float scale, int32_t position,
                        const float* query, Out* context) {
  const int32_t size = cache.head_size;
  const int32_t begin = window_tokens > 0 ? std::max(0, position - window_tokens + 1) : 0;
  const auto row_of = [&](const uint8_t* plane, int32_t at) {
    const int64_t row = static_cast<int64_t>(kv_head) * cache.block_tokens + at % cache.block_tokens;
    return plane + row * static_cast<int64_t>(cache.row_bytes());
  };
  std::vector<float> row(size);
  std::vector<double> weights;
  double largest = -INFINITY;
  for (int32_t at = begin; at <= position; ++at) {
    const int32_t block = blocks[at / cache.block_tokens];
    LoadCacheRowReference(cache.type, row_of(cache.keys(block, layer_in_group), at), size, row.data());
    double score = 0;
    for (int32_t i = 0; i < size; ++i) score += static_cast<double>(query[i]) * row[i];
    weights.push_back(score * scale);
    largest = std::max(largest, weights.back());
  }
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(weight - largest);
    sum += weight;
  }
  std::vector<double> total(size, 0.0);
  for (int32_t at = begin; at <= position; ++at) {
    const int32_t block = blocks[at / cache.block_tokens];
    LoadCacheRowReference(cache.type, row_of(cache.values(block, layer_in_group), at), size, row.data());
    for (int32_t i = 0; i < size; ++i) total[i] += weights[at - begin] * row[i];
  }
  for (int32_t i = 0; i < size; ++i) context[i] = static_cast<Out>(total[i] / sum);
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_REFERENCE_H_
