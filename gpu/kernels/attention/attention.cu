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
// Leaves room for a neighbour's thread blocks on the same multiprocessor.
constexpr int32_t kClusterRingBytes = 64 * 1024;
constexpr int32_t kMostRingSlots = 8;
// Clusters are for so few rows that each gets at least so many thread blocks a head group, of all that two on
// every multiprocessor make.
constexpr int32_t kLeastClusterBlocks = 4;
constexpr int32_t kPortableClusterBlocks = 8;

size_t Align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
int32_t CeilDivide(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Of decode's kernels, besides the dynamic part: barriers, and a row of the cache.
constexpr size_t kStaticSharedBytes = 2048;

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

cudaError_t HasClusters(bool* has) {
  int device = 0;
  int value = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, cudaDevAttrClusterLaunch, device);
  *has = value != 0;
  return error;
}

// Whether the device can run a cluster of so many such thread blocks.
cudaError_t FitsInClusters(DecodeKernel kernel, int32_t blocks, int32_t threads, size_t shared_bytes,
                           bool* fits) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  const cudaError_t error =
      cudaOccupancyMaxActiveClusters(&clusters, reinterpret_cast<const void*>(kernel), &config);
  *fits = error == cudaSuccess && clusters > 0;
  if (error == cudaErrorInvalidClusterSize || error == cudaErrorInvalidConfiguration) {
    static_cast<void>(cudaGetLastError());  // not a size of this device
    return cudaSuccess;
  }
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
  const size_t items =
      batch_invariant ? pairs * kInvariantSplits : pairs + static_cast<size_t>(sm_count) * kItemsPerCta;
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

// Whether the kernel's device code here has a body that uses static shared memory.
bool HasBody(PrefillKernel kernel) {
  cudaFuncAttributes attributes = {};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel));
  return error == cudaSuccess && attributes.sharedSizeBytes > 0;
}

// The fastest instance that the device has and that fits into `limit`.
PrefillVariant FindPrefill(const AttentionShape& shape, const CacheLayout& cache, size_t limit) {
  if (!TilesAreAligned(shape, cache)) return {};
  const PrefillVariant hopper = FindPrefillHopper(cache.type, shape.head_size);
  if (hopper.kernel != nullptr && hopper.shared_bytes <= limit && HasBody(hopper.kernel)) return hopper;
  for (const bool small : {false, true}) {
    PrefillVariant variant;
    if (cache.type == ElementType::kBF16) variant = FindPrefillBF16(shape.head_size, small);
    if (cache.type == ElementType::kF16) variant = FindPrefillF16(shape.head_size, small);
    if (cache.type == ElementType::kInt8Rows) variant = FindPrefillInt8(shape.head_size, small);
    if (variant.kernel != nullptr && variant.shared_bytes <= limit) return variant;
  }
  return {};
}

// Slots as many as `wanted` bytes hold, at least one, and no more than fit into `limit`.
void SizeRing(const AttentionCall& call, int32_t warps, int32_t wanted, size_t limit, DecodePlan* plan) {
  plan->slot_bytes = 2 * kTileTokens * call.cache.row_bytes;
  plan->merge_bytes = static_cast<int32_t>(MergeBytes(warps, plan->heads_per_pass, call.shape.head_size));
  if (call.ring_bytes > 0) wanted = call.ring_bytes;
  plan->ring_slots = std::clamp(wanted / (warps * plan->slot_bytes), 1, kMostRingSlots);
  while (plan->ring_slots > 1 && DecodeSharedBytes(*plan, warps, call.shape.head_size) > limit) {
    --plan->ring_slots;
  }
}

// Sequences that a launch may have.
int32_t MostSequences(const AttentionCall& call) { return std::min(call.capacity, call.max_sequences); }

// Thread blocks of a cluster for each sequence and head group; 1: clusters would not do.
int32_t ClusterBlocks(const AttentionCall& call, const DecodePlan& plan, int32_t sm_count) {
  if (call.cluster_blocks > 0) return call.cluster_blocks;
  const int64_t pairs = static_cast<int64_t>(MostSequences(call)) * plan.head_groups;
  int32_t blocks = kMostClusterBlocks;
  while (blocks > 1 && pairs * blocks > 2 * sm_count) blocks /= 2;
  return blocks >= kLeastClusterBlocks ? blocks : 1;
}

// A launch in clusters, or none of it: *launched.
cudaError_t LaunchAsClusters(const LaunchContext& context, const AttentionCall& call,
                             const DecodeVariant& variant, DecodePlan plan, size_t limit, bool* launched) {
  *launched = false;
  int32_t blocks = ClusterBlocks(call, plan, context.sm_count);
  if (blocks <= 1) return cudaSuccess;
  SizeRing(call, variant.warps, kClusterRingBytes, limit, &plan);
  const auto bytes_with = [&](int32_t count) {
    return DecodeSharedBytes(plan, variant.warps, call.shape.head_size) +
           ReceiveBytes(plan, call.shape.head_size, count);
  };
  if (blocks > kPortableClusterBlocks) {
    bool fits = false;
    const cudaError_t error =
        FitsInClusters(variant.clusters, blocks, variant.warps * 32, bytes_with(blocks), &fits);
    if (error != cudaSuccess) return error;
    if (!fits) blocks = kPortableClusterBlocks;
  }
  if (bytes_with(blocks) > limit) return cudaSuccess;
  *launched = true;
  const dim3 grid(static_cast<unsigned>(MostSequences(call) * plan.head_groups * blocks));
  return LaunchClusters(context, blocks, variant.clusters, grid, dim3(variant.warps * 32), bytes_with(blocks),
                        call, plan);
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
  bool has_clusters = false;
  error = HasClusters(&has_clusters);
  const DecodeVariant decode = FindDecode(shape, cache);
  if (error == cudaSuccess && decode.items != nullptr) {
    error = AllowSharedMemory(decode.items, limit - kStaticSharedBytes);
  }
  if (error == cudaSuccess && decode.clusters != nullptr && has_clusters) {
    error = AllowSharedMemory(decode.clusters, limit - kStaticSharedBytes);
    if (error == cudaSuccess) {
      error = cudaFuncSetAttribute(reinterpret_cast<const void*>(decode.clusters),
                                   cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    }
  }
  if (error != cudaSuccess) return error;
  const PrefillVariant prefill = FindPrefill(shape, cache, limit);
  if (prefill.kernel != nullptr) error = AllowSharedMemory(prefill.kernel, prefill.shared_bytes);
  return error;
}

cudaError_t LaunchAttentionDecode(const LaunchContext& context, const AttentionCall& call) {
  if (!IsValid(call.shape, call.cache)) return cudaErrorInvalidValue;
  size_t limit = 0;
  bool has_clusters = false;
  cudaError_t error = SharedLimit(&limit);
  if (error == cudaSuccess) error = HasClusters(&has_clusters);
  if (error != cudaSuccess) return error;
  limit -= kStaticSharedBytes;
  const DecodeVariant variant = FindDecode(call.shape, call.cache);
  if (variant.items == nullptr) return LaunchPlain(context, call, true);
  DecodePlan plan = PassesOf(call.shape);
  if (has_clusters) {
    bool launched = false;
    error = LaunchAsClusters(context, call, variant, plan, limit, &launched);
    if (error != cudaSuccess || launched) return error;
  }
  SizeRing(call, variant.warps, kDefaultRingBytes, limit, &plan);
  const size_t shared_bytes = DecodeSharedBytes(plan, variant.warps, call.shape.head_size);
  if (shared_bytes > limit) return LaunchPlain(context, call, true);

  const ScratchParts parts =
      LayScratch(call.shape, call.max_sequences, context.sm_count, call.batch_invariant);
  auto* const scratch = static_cast<uint8_t*>(call.scratch);
  plan.arrived = reinterpret_cast<int32_t*>(scratch);
  plan.weights = reinterpret_cast<float2*>(scratch + parts.weights);
  plan.sums = reinterpret_cast<float*>(scratch + parts.sums);
  return Launch(context, variant.items, dim3(context.sm_count), dim3(variant.warps * 32), shared_bytes, call,
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
      call.capacity / variant.tile_rows + std::min(call.max_sequences, call.single_rows_as_prompts
                                                                           ? call.capacity
                                                                           : std::max(call.capacity / 2, 1));
  return Launch(context, variant.kernel, dim3(call.shape.heads, tiles), dim3(variant.threads),
                variant.shared_bytes, call);
}

}  // namespace tessera::gpu
