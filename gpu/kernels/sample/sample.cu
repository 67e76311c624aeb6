// One kernel, one cluster of blocks a sample: every block keeps its share of the row in shared memory through
// all passes, so that the row is read once from the cache where the head has left it, and passes are a
// barrier of the cluster apart. Greedy samples need one pass and one exchange.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/sample/adjust.cuh"
#include "gpu/kernels/sample/block_ops.cuh"
#include "gpu/kernels/sample/draw.cuh"
#include "gpu/kernels/sample/logprobs.cuh"
#include "gpu/kernels/sample/row_group.cuh"
#include "gpu/kernels/sample/sample.h"
#include "gpu/kernels/sample/state.cuh"

namespace tessera::gpu {
namespace {

// The thread's largest value so far. Values come by rising index, so of equal ones the first stays.
struct Largest {
  float value = -INFINITY;
  int32_t index = 0;

  __device__ __forceinline__ void Take(float other, int32_t other_index) {
    if (!(other > value)) return;
    value = other;
    index = other_index;
  }
};

__device__ __forceinline__ bool IsFinite(float value) {
  return (__float_as_uint(value) & 0x7fffffffu) < 0x7f800000u;
}

// Over the block's raw values [count], which begin at `first` of their row; where `values` is not null it
// gets a copy. Loads go out in batches, since one pass is all there is to hide their latency.
__device__ __forceinline__ BlockSummary SummariseRaw(const float* raw, int32_t first, int32_t count,
                                                     float* values, SampleShared* shared) {
  constexpr int kBatch = 8;
  Largest largest;
  bool faulty = false;
  for (int32_t begin = ThreadIndex(); begin < count; begin += kBatch * kSampleThreads) {
    float batch[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t index = begin + i * kSampleThreads;
      batch[i] = index < count ? raw[index] : -FLT_MAX;
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t index = begin + i * kSampleThreads;
      faulty |= !IsFinite(batch[i]);
      if (index >= count) continue;
      largest.Take(batch[i], index);
      if (values != nullptr) values[index] = batch[i];
    }
  }
  const uint64_t key = ThreadIndex() < count ? BestKey(OrderedBits(largest.value), first + largest.index) : 0;
  const uint32_t any_faulty = static_cast<uint32_t>(__syncthreads_or(faulty));
  const uint64_t best = BlockLargest(key, &shared->scratch);
  return {best, best, any_faulty};
}

__device__ __forceinline__ uint64_t BestOfAdjusted(const BlockTokens& tokens, const float* values,
                                                   SampleShared* shared) {
  Largest largest;
  for (int32_t i = ThreadIndex(); i < tokens.count; i += kSampleThreads) largest.Take(values[i], i);
  const uint64_t key =
      ThreadIndex() < tokens.count ? BestKey(OrderedBits(largest.value), tokens.first + largest.index) : 0;
  return BlockLargest(key, &shared->scratch);
}

// Of the blocks' summaries, that of the row.
__device__ __forceinline__ BlockSummary ExchangeSummaries(const RowGroup& group, const BlockSummary& mine,
                                                          SampleShared* shared) {
  AwaitGroup();  // every block has begun: its shared memory may be written to
  TellGroup(group, mine.best, shared->bests);
  TellGroup(group, mine.raw_best, shared->raw_bests);
  TellGroup(group, mine.faulty, shared->faulty);
  SyncGroup();
  const bool has_block = LaneIndex() < group.size;
  return {WarpLargest(has_block ? shared->bests[LaneIndex()] : 0),
          WarpLargest(has_block ? shared->raw_bests[LaneIndex()] : 0),
          __any_sync(kAllLanes, has_block && shared->faulty[LaneIndex()] != 0) ? 1u : 0u};
}

__device__ __forceinline__ void FinishRow(int32_t token, bool numeric_fault, int32_t* slot,
                                          SampleResult* result) {
  if (ThreadIndex() != 0) return;
  *slot = token;
  WriteResult({token, numeric_fault ? 1 : 0, 0.0f, 0}, result);
}

// A greedy sample whose tiles' maxima are known.
__device__ __forceinline__ void SampleFromTiles(const RowGroup& group, const SampleArgs& args, int32_t row,
                                                SampleShared* shared) {
  const int32_t tiles = (args.vocabulary + args.tile_tokens - 1) / args.tile_tokens;
  const int32_t of_block = (tiles + group.size - 1) / group.size;
  const int32_t first = min(group.rank * of_block, tiles);
  const float* const maxima = args.tile_maxima + static_cast<int64_t>(row) * tiles + first;
  const BlockSummary best = ExchangeSummaries(
      group, SummariseRaw(maxima, first, min(of_block, tiles - first), nullptr, shared), shared);
  if (group.rank != 0) return;
  if (best.faulty != 0) return FinishRow(-1, true, args.tokens + row, args.results + row);
  const int32_t begin = TokenOfKey(best.best) * args.tile_tokens;
  const BlockSummary of_tile = SummariseRaw(args.logits + row * args.logits_stride + begin, begin,
                                            min(args.tile_tokens, args.vocabulary - begin), nullptr, shared);
  FinishRow(TokenOfKey(of_tile.best), false, args.tokens + row, args.results + row);
}

template <bool kRowInShared>
__global__ void __launch_bounds__(kSampleThreads, 2) SampleKernel(const SampleArgs args) {
  extern __shared__ __align__(16) uint8_t memory[];
  const RowGroup group = ThisGroup();
  const SharedParts<kRowInShared> parts(memory, group.size);
  SampleShared* const shared = parts.shared;
  if (ThreadIndex() == 0) shared->top_count = 0;
  ArriveAtGroupRelaxed();
  ReleaseSuccessor();
  AwaitPredecessor();
  const int32_t row = static_cast<int32_t>(blockIdx.x) / group.size;
  if (row >= *args.sample_count) return AwaitGroup();

  if (ThreadIndex() == 0) shared->params = args.params[row];
  __syncthreads();
  const SampleParams& params = shared->params;
  const bool draws = params.temperature > 0;
  const bool adjusts = params.bias_count > 0 || HasPenalties(params);
  if (args.tile_maxima != nullptr && !draws && !adjusts && params.top_logprobs < 0) {
    return SampleFromTiles(group, args, row, shared);
  }
  const int32_t of_block = TokensOfBlock(args.vocabulary, group.size);
  const int32_t first = min(group.rank * of_block, args.vocabulary);
  const BlockTokens tokens = {first, min(of_block, args.vocabulary - first)};
  const float* const row_logits = args.logits + row * args.logits_stride;
  float* const values = kRowInShared ? parts.values
                                     : static_cast<float*>(args.workspace) +
                                           static_cast<int64_t>(row) * args.vocabulary + tokens.first;

  BlockSummary mine = SummariseRaw(row_logits + tokens.first, tokens.first, tokens.count,
                                   draws || adjusts ? values : nullptr, shared);
  if (adjusts) {
    __syncthreads();
    AdjustLogits(args, params, tokens, parts.counters(), values);
    __syncthreads();
    mine.best = BestOfAdjusted(tokens, values, shared);
  }
  const BlockSummary best = ExchangeSummaries(group, mine, shared);
  const float largest = ValueOfKey(best.best);
  if (best.faulty != 0 || largest == ForbiddenLogit()) {
    if (group.rank == 0) FinishRow(-1, true, args.tokens + row, args.results + row);
    return;
  }
  int32_t token = -1;  // in the block that has it
  if (draws) {
    token = DrawToken(group, params, largest, args.vocabulary, tokens, values, parts);
  } else if (group.rank == 0) {
    token = TokenOfKey(best.best);
  }
  if (params.top_logprobs < 0) {
    if (token >= 0) FinishRow(token, false, args.tokens + row, args.results + row);
    return;
  }
  if (token >= 0 && ThreadIndex() == 0) {
    args.tokens[row] = token;
    StoreTo(&shared->token, 0, token);
  }
  FillLogprobs(group, params.top_logprobs, ValueOfKey(best.raw_best), args.vocabulary, tokens, row_logits,
               parts, args.results + row);
}

// The kernel for a launch, and the attributes that it needs: PDL, and clusters where there are any.
struct SampleLaunch {
  SampleLaunch(const SampleSetup& setup, int32_t capacity, cudaStream_t stream, bool overlap) {
    config.gridDim = dim3(static_cast<unsigned>(capacity * setup.group_blocks));
    config.blockDim = dim3(kSampleThreads);
    config.dynamicSmemBytes = setup.shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    if (setup.group_blocks > 1) {
      cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
      cluster.id = cudaLaunchAttributeClusterDimension;
      cluster.val.clusterDim.x = static_cast<unsigned>(setup.group_blocks);
      cluster.val.clusterDim.y = 1;
      cluster.val.clusterDim.z = 1;
    }
    if (overlap) {
      cudaLaunchAttribute& programmatic = attributes[config.numAttrs++];
      programmatic.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      programmatic.val.programmaticStreamSerializationAllowed = 1;
    }
  }
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
};

const void* KernelOf(const SampleSetup& setup) {
  return setup.row_in_shared ? reinterpret_cast<const void*>(&SampleKernel<true>)
                             : reinterpret_cast<const void*>(&SampleKernel<false>);
}

// Finds room for `group_blocks` blocks a sample. Not all of a device's clusters need fit: `*fits` says so.
cudaError_t TrySetup(int32_t vocabulary, int32_t capacity, int32_t group_blocks, int most_shared_bytes,
                     SampleSetup* setup, bool* fits) {
  const int32_t of_block = TokensOfBlock(vocabulary, group_blocks);
  const size_t with_row =
      SharedBytesWithoutRow<true>(group_blocks) + static_cast<size_t>(of_block) * sizeof(float);
  setup->group_blocks = group_blocks;
  setup->row_in_shared = of_block <= kMostSharedTokens && with_row <= static_cast<size_t>(most_shared_bytes);
  setup->shared_bytes = setup->row_in_shared ? with_row : SharedBytesWithoutRow<false>(group_blocks);
  setup->workspace_bytes =
      setup->row_in_shared ? 0
                           : static_cast<size_t>(capacity) * static_cast<size_t>(vocabulary) * sizeof(float);
  *fits = false;
  if (setup->shared_bytes > static_cast<size_t>(most_shared_bytes)) return cudaSuccess;
  const void* const kernel = KernelOf(*setup);
  // The most that the device has, since other setups of the same kernel may need more than this one.
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared_bytes);
  if (error != cudaSuccess) return error;
  if (group_blocks == 1) {
    *fits = true;
    return cudaSuccess;
  }
  if (group_blocks > 8) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (error != cudaSuccess) return error;
  }
  int clusters = 0;
  const SampleLaunch launch(*setup, capacity, nullptr, false);
  error = cudaOccupancyMaxActiveClusters(&clusters, kernel, &launch.config);
  if (error == cudaErrorInvalidClusterSize || error == cudaErrorInvalidConfiguration) {
    static_cast<void>(cudaGetLastError());  // not a size of this device
    return cudaSuccess;
  }
  *fits = error == cudaSuccess && clusters > 0;
  return error;
}

cudaError_t DeviceLimits(int* most_blocks, int* most_shared_bytes) {
  int device = 0;
  int major = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(most_shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  *most_blocks = major >= 9 ? kMostGroupBlocks : 1;
  return error;
}

bool IsServed(int32_t vocabulary, int32_t capacity) {
  return vocabulary >= 1 && vocabulary <= kMostSampledVocabulary && capacity >= 1 && capacity <= (1 << 20);
}

}  // namespace

cudaError_t PrepareSampleWith(int32_t vocabulary, int32_t capacity, int32_t group_blocks,
                              SampleSetup* setup) {
  if (!IsServed(vocabulary, capacity)) return cudaErrorInvalidValue;
  int most_blocks = 1;
  int most_shared_bytes = 0;
  cudaError_t error = DeviceLimits(&most_blocks, &most_shared_bytes);
  if (error != cudaSuccess) return error;
  const bool is_power = group_blocks >= 1 && (group_blocks & (group_blocks - 1)) == 0;
  if (!is_power || group_blocks > most_blocks) return cudaErrorInvalidValue;
  bool fits = false;
  error = TrySetup(vocabulary, capacity, group_blocks, most_shared_bytes, setup, &fits);
  return error != cudaSuccess || fits ? error : cudaErrorInvalidConfiguration;
}

cudaError_t PrepareSample(int32_t vocabulary, int32_t capacity, SampleSetup* setup) {
  if (!IsServed(vocabulary, capacity)) return cudaErrorInvalidValue;
  int most_blocks = 1;
  int most_shared_bytes = 0;
  cudaError_t error = DeviceLimits(&most_blocks, &most_shared_bytes);
  // Few samples are spread over as many multiprocessors as can be; many fill them anyhow, and smaller groups
  // wait less for one another.
  int32_t group_blocks = std::min(most_blocks, capacity <= 8 ? 16 : 8);
  bool fits = false;
  while (error == cudaSuccess && !fits && group_blocks >= 1) {
    error = TrySetup(vocabulary, capacity, group_blocks, most_shared_bytes, setup, &fits);
    group_blocks /= 2;
  }
  return error != cudaSuccess || fits ? error : cudaErrorInvalidConfiguration;
}

cudaError_t LaunchSample(const LaunchContext& context, const SampleSetup& setup, const SampleArgs& args) {
  if (args.capacity <= 0) return cudaSuccess;
  SampleLaunch launch(setup, args.capacity, context.stream, context.overlap);
  SampleArgs exact = args;
  void* addresses[] = {&exact};
  return cudaLaunchKernelExC(&launch.config, KernelOf(setup), addresses);
}

}  // namespace tessera::gpu
