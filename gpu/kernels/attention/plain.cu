// Attention for shapes and devices without a kernel of their own: a warp takes one row and one query head and
// walks over the keys, 32 at a time. Right for everything, fast for nothing.
#include <cmath>

#include "gpu/kernels/attention/decode_walk.cuh"
#include "gpu/kernels/attention/mma.cuh"
#include "gpu/kernels/attention/prefill_variants.h"
#include "gpu/kernels/common/dependency.cuh"

namespace tessera::gpu {
namespace {

constexpr int kWarps = kPlainThreads / 32;
constexpr int kMostHeadSize = 256;
constexpr int kSums = kMostHeadSize / 32;  // of each lane: elements lane, lane + 32, ...

__device__ float LoadElement(ElementType type, const uint8_t* row, int64_t index) {
  if (type == ElementType::kBF16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[index]);
  return __half2float(reinterpret_cast<const __half*>(row)[index]);
}

__device__ float LoadCacheElement(const CacheLayout& cache, const uint8_t* row, int32_t index) {
  if (cache.type != ElementType::kInt8Rows) return LoadElement(cache.type, row, index);
  const auto* const scales = reinterpret_cast<const __half*>(row + (cache.head_size + 1) / 2 * 2);
  return static_cast<float>(reinterpret_cast<const int8_t*>(row)[index]) * __half2float(scales[index / 32]);
}

}  // namespace

__global__ void __launch_bounds__(kPlainThreads) PlainAttention(AttentionCall call, bool decode) {
  __shared__ float queries[kWarps][kMostHeadSize];
  ReleaseSuccessor();
  AwaitPredecessor();
  const int32_t row = static_cast<int32_t>(blockIdx.x);
  const int32_t lane = static_cast<int32_t>(threadIdx.x & 31);
  const int32_t head = static_cast<int32_t>(blockIdx.y * kWarps + threadIdx.x / 32);
  if (row >= call.step.counts[StepArrays::kRows] || head >= call.shape.heads) return;
  const int32_t sequence = call.step.row_sequence[row];
  if (sequence < 0) return;
  const bool decodes = call.step.row_count[sequence] == 1 && !call.single_rows_as_prompts;
  if (decodes != decode) return;

  const int32_t size = call.shape.head_size;
  const int64_t element = (static_cast<int64_t>(row) * call.shape.heads + head) * size;
  float* const query = queries[threadIdx.x / 32];
  const float scale = call.shape.scale * 1.44269504088896340736f;
  for (int32_t i = lane; i < size; i += 32) {
    query[i] = scale * LoadElement(call.shape.type, static_cast<const uint8_t*>(call.query), element + i);
  }
  __syncwarp();

  const CacheLayout& cache = call.cache;
  const int32_t* const table =
      call.step.block_table + static_cast<int64_t>(sequence) * call.step.table_stride;
  const int32_t first_row = head / (call.shape.heads / call.shape.kv_heads) * cache.block_tokens;
  const auto key_row = [&](int32_t token) {
    return cache.data + table[token / cache.block_tokens] * cache.block_bytes + cache.layer_offset_bytes +
           static_cast<int64_t>(first_row + token % cache.block_tokens) * cache.row_bytes;
  };
  const int32_t position = call.step.positions[row];
  float most = -INFINITY;
  float total = 0;
  float sums[kSums] = {};
  for (int32_t first = FirstVisible(position, call.shape.window_tokens); first <= position; first += 32) {
    const int32_t token = first + lane;
    float score = -INFINITY;
    if (token <= position) {
      const uint8_t* const keys = key_row(token);
      score = 0;
      for (int32_t i = 0; i < size; ++i) score += query[i] * LoadCacheElement(cache, keys, i);
    }
    float highest = score;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, lanes));
    }
    highest = fmaxf(highest, most);
    const float rescale = Exp2(most - highest);
    most = highest;
    const float weight = Exp2(score - most);
    total = total * rescale + weight;
    for (float& sum : sums) sum *= rescale;
    const int32_t tokens = min(32, position - first + 1);
    for (int32_t t = 0; t < tokens; ++t) {
      const float factor = __shfl_sync(kAllLanes, weight, t);
      const uint8_t* const values = key_row(first + t) + cache.value_offset_bytes;
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        if (lane + 32 * i < size) sums[i] += factor * LoadCacheElement(cache, values, lane + 32 * i);
      }
    }
  }
  for (int lanes = 1; lanes < 32; lanes *= 2) total += __shfl_xor_sync(kAllLanes, total, lanes);
  auto* const context = static_cast<uint16_t*>(call.context) + element;
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    if (lane + 32 * i < size) {
      context[lane + 32 * i] = static_cast<uint16_t>(Pack(call.shape.type, sums[i] / total, 0.0f));
    }
  }
}

}  // namespace tessera::gpu
