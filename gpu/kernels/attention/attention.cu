// Launches: which kernel serves a shape, how decode is cut, where the scratch's parts lie.
#include <algorithm>
#include <cmath>

#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/attention/decode_plan.h"
#include "gpu/kernels/attention/prefill_variants.h"

namespace tessera::gpu {
namespace {

constexpr size_t kAlignment = 256;
constexpr int32_t kDefaultRingBytes = 128 * 1024;
constexpr int32_t kMostRingSlots = 8;

size_t Align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
int32_t CeilDivide(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Of decode's kernels, besides the dynamic part.
constexpr size_t kStaticSharedBytes = 256;

// The most shared memory of a CTA on the current device.
cudaError_t SharedLimit(size_t* bytes) {
  int device = 0;
  int limit = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  *bytes = static_cast<size_t>(limit);
  return error;
}

// Tiles are copied in pieces of 16 bytes from one block.
bool TilesAreAligned(const AttentionShape& shape, const CacheLayout& cache) {
  const int64_t together = reinterpret_cast<int64_t>(cache.data) | cache.block_bytes |
                           cache.layer_offset_bytes | cache.value_offset_bytes;
  const bool int8 = cache.type == ElementType::kInt8Rows;
  const int32_t row_bytes =
      int8 ? shape.head_size + 2 * CeilDivide(shape.head_size, 32) : 2 * shape.head_size;
  return cache.block_tokens % 16 == 0 && together % 16 == 0 && cache.row_bytes == row_bytes;
}

int32_t MostHeadsPerPass(const AttentionShape& shape) { return shape.head_size <= 128 ? 16 : 8; }

DecodePlan PassesOf(const AttentionShape& shape) {
  DecodePlan plan;
  const int32_t group = shape.heads / shape.kv_heads;
  plan.passes = CeilDivide(group, MostHeadsPerPass(shape));
  plan.heads_per_pass = CeilDivide(group, plan.passes);
  plan.head_groups = shape.kv_heads * plan.passes;
  plan.scale_log2 = shape.scale * 1.44269504088896340736f;
  return plan;
}

struct ScratchParts {
  size_t weights = 0;
  size_t sums = 0;
  size_t all = 0;
};

// The counters of arrivals come first.
ScratchParts LayScratch(const AttentionShape& shape, int32_t max_sequences, int32_t sm_count,
                        bool batch_invariant) {
  const DecodePlan plan = PassesOf(shape);
  const size_t pairs = static_cast<size_t>(max_sequences) * plan.head_groups;
  const size_t items = batch_invariant ? pairs * kInvariantSplits
                                       : std::max(static_cast<size_t>(sm_count) * kItemsPerCta, pairs);
  const size_t rows = items * plan.heads_per_pass;
  ScratchParts parts;
  parts.weights = Align(pairs * sizeof(int32_t));
  parts.sums = parts.weights + Align(rows * sizeof(float2));
  parts.all = parts.sums + Align(rows * shape.head_size * sizeof(float));
  return parts;
}

DecodeVariant FindDecode(const AttentionShape& shape, const CacheLayout& cache) {
  if (!TilesAreAligned(shape, cache)) return {};
  const int32_t head_tiles = CeilDivide(PassesOf(shape).heads_per_pass, 8);
  switch (cache.type) {
    case ElementType::kBF16:
      return FindDecodeBF16(shape.head_size, head_tiles);
    case ElementType::kF16:
      return FindDecodeF16(shape.head_size, head_tiles);
    case ElementType::kInt8Rows:
      return FindDecodeInt8(shape.head_size, head_tiles);
    default:
      return {};
  }
}

// The largest instance that fits into `limit`.
PrefillVariant FindPrefill(const AttentionShape& shape, const CacheLayout& cache, size_t limit) {
  if (!TilesAreAligned(shape, cache)) return {};
  for (const bool small : {false, true}) {
    PrefillVariant variant;
    if (cache.type == ElementType::kBF16) variant = FindPrefillBF16(shape.head_size, small);
    if (cache.type == ElementType::kF16) variant = FindPrefillF16(shape.head_size, small);
    if (cache.type == ElementType::kInt8Rows) variant = FindPrefillInt8(shape.head_size, small);
    if (variant.kernel != nullptr && variant.shared_bytes <= limit) return variant;
  }
  return {};
}

// Slots as many as `ring_bytes` hold, at least one, and no more than fit into `limit`.
void SizeRing(const AttentionCall& call, const DecodeVariant& variant, size_t limit, DecodePlan* plan) {
  plan->slot_bytes = 2 * 16 * call.cache.row_bytes;
  const int32_t wanted = call.ring_bytes > 0 ? call.ring_bytes : kDefaultRingBytes;
  plan->ring_slots = std::clamp(wanted / (variant.warps * plan->slot_bytes), 1, kMostRingSlots);
  while (plan->ring_slots > 1 && DecodeSharedBytes(*plan, variant.warps, call.shape.head_size) > limit) {
    --plan->ring_slots;
  }
}

bool IsValid(const AttentionShape& shape, const CacheLayout& cache) {
  return shape.heads > 0 && shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0 && shape.head_size > 0 &&
         shape.head_size <= 256 && shape.head_size % 2 == 0 && shape.head_size == cache.head_size &&
         shape.kv_heads == cache.kv_heads && cache.block_tokens > 0 &&
         (shape.type == ElementType::kBF16 || shape.type == ElementType::kF16) &&
         cache.type != ElementType::kF32;
}

cudaError_t LaunchPlain(const LaunchContext& context, const AttentionCall& call, bool decode) {
  const dim3 grid(call.capacity, CeilDivide(call.shape.heads, kPlainThreads / 32));
  return Launch(context, PlainAttention, grid, dim3(kPlainThreads), 0, call, decode);
}

}  // namespace

size_t AttentionScratchBytes(const AttentionShape& shape, int32_t max_sequences, int32_t sm_count,
                             bool batch_invariant) {
  return LayScratch(shape, max_sequences, sm_count, batch_invariant).all;
}

cudaError_t PrepareAttention(const AttentionShape& shape, const CacheLayout& cache) {
  size_t limit = 0;
  cudaError_t error = SharedLimit(&limit);
  if (error != cudaSuccess) return error;
  if (!IsValid(shape, cache)) return cudaErrorInvalidValue;
  const DecodeVariant decode = FindDecode(shape, cache);
  if (decode.kernel != nullptr) error = AllowSharedMemory(decode.kernel, limit - kStaticSharedBytes);
  if (error != cudaSuccess) return error;
  const PrefillVariant prefill = FindPrefill(shape, cache, limit);
  if (prefill.kernel != nullptr) error = AllowSharedMemory(prefill.kernel, prefill.shared_bytes);
  return error;
}

cudaError_t LaunchAttentionDecode(const LaunchContext& context, const AttentionCall& call) {
  if (!IsValid(call.shape, call.cache)) return cudaErrorInvalidValue;
  size_t limit = 0;
  const cudaError_t error = SharedLimit(&limit);
  if (error != cudaSuccess) return error;
  const DecodeVariant variant = FindDecode(call.shape, call.cache);
  DecodePlan plan = PassesOf(call.shape);
  if (variant.kernel != nullptr) SizeRing(call, variant, limit - kStaticSharedBytes, &plan);
  const size_t shared_bytes = DecodeSharedBytes(plan, variant.warps, call.shape.head_size);
  if (variant.kernel == nullptr || shared_bytes > limit - kStaticSharedBytes)
    return LaunchPlain(context, call, true);

  const ScratchParts parts =
      LayScratch(call.shape, call.max_sequences, context.sm_count, call.batch_invariant);
  auto* const scratch = static_cast<uint8_t*>(call.scratch);
  plan.arrived = reinterpret_cast<int32_t*>(scratch);
  plan.weights = reinterpret_cast<float2*>(scratch + parts.weights);
  plan.sums = reinterpret_cast<float*>(scratch + parts.sums);
  return Launch(context, variant.kernel, dim3(context.sm_count), dim3(variant.warps * 32), shared_bytes, call,
                plan);
}

cudaError_t LaunchAttentionPrefill(const LaunchContext& context, const AttentionCall& call) {
  if (!IsValid(call.shape, call.cache)) return cudaErrorInvalidValue;
  size_t limit = 0;
  const cudaError_t error = SharedLimit(&limit);
  if (error != cudaSuccess) return error;
  const PrefillVariant variant = FindPrefill(call.shape, call.cache, limit);
  if (variant.kernel == nullptr) return LaunchPlain(context, call, false);
  // Each sequence of at least two rows has at most one tile that is not full.
  const int32_t tiles =
      call.capacity / variant.tile_rows + std::min(call.max_sequences, std::max(call.capacity / 2, 1));
  return Launch(context, variant.kernel, dim3(call.shape.heads, tiles), dim3(variant.threads),
                variant.shared_bytes, call);
}

}  // namespace tessera::gpu
