// What the threads of one block find out together: the largest key, an exact sum, and where a running sum
// reaches a target. Every thread of the block calls them, and gets the result. Each begins with a barrier of
// the block, so that its shared memory may be in use by the one before.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_BLOCK_OPS_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_BLOCK_OPS_CUH_

#include <cstdint>

namespace tessera::gpu {

inline constexpr int kSampleThreads = 512;
inline constexpr int kSampleWarps = kSampleThreads / 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// Where a running sum first reaches its target.
struct Reached {
  int32_t index;    // of the element that does
  uint64_t before;  // the sum without it
};

struct BlockScratch {
  uint64_t of_warps[kSampleWarps];
  Reached reached;
};

__device__ __forceinline__ int ThreadIndex() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int LaneIndex() { return ThreadIndex() % 32; }
__device__ __forceinline__ int WarpIndex() { return ThreadIndex() / 32; }

// An integer that orders as (value, then lower index first): larger is better. -0 counts as +0. No NaN.
__device__ __forceinline__ uint32_t OrderedBits(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float ValueOfOrderedBits(uint32_t ordered) {
  return __uint_as_float((ordered >> 31) != 0 ? ordered & 0x7fffffffu : ~ordered);
}
__device__ __forceinline__ uint64_t BestKey(uint32_t ordered, int32_t token) {
  return (static_cast<uint64_t>(ordered) << 32) | ~static_cast<uint32_t>(token);
}
__device__ __forceinline__ float ValueOfKey(uint64_t key) {
  return ValueOfOrderedBits(static_cast<uint32_t>(key >> 32));
}
__device__ __forceinline__ int32_t TokenOfKey(uint64_t key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}

__device__ __forceinline__ uint64_t WarpLargest(uint64_t key) {
  const uint32_t high = static_cast<uint32_t>(key >> 32);
  const uint32_t largest_high = __reduce_max_sync(kAllLanes, high);
  const uint32_t low = high == largest_high ? static_cast<uint32_t>(key) : 0;
  return (static_cast<uint64_t>(largest_high) << 32) | __reduce_max_sync(kAllLanes, low);
}

__device__ __forceinline__ uint64_t WarpSum(uint64_t value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// The sum of this lane's value and those of lower lanes.
__device__ __forceinline__ uint64_t WarpRunningSum(uint64_t value) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const uint64_t other = __shfl_up_sync(kAllLanes, value, distance);
    if (LaneIndex() >= distance) value += other;
  }
  return value;
}

__device__ __forceinline__ uint64_t OfLane(uint64_t value, int lane) {
  return __shfl_sync(kAllLanes, value, lane);
}

__device__ __forceinline__ uint64_t BlockLargest(uint64_t key, BlockScratch* scratch) {
  __syncthreads();
  const uint64_t of_warp = WarpLargest(key);
  if (LaneIndex() == 0) scratch->of_warps[WarpIndex()] = of_warp;
  __syncthreads();
  return WarpLargest(LaneIndex() < kSampleWarps ? scratch->of_warps[LaneIndex()] : 0);
}

__device__ __forceinline__ uint64_t BlockSum(uint64_t value, BlockScratch* scratch) {
  __syncthreads();
  const uint64_t of_warp = WarpSum(value);
  if (LaneIndex() == 0) scratch->of_warps[WarpIndex()] = of_warp;
  __syncthreads();
  return WarpSum(LaneIndex() < kSampleWarps ? scratch->of_warps[LaneIndex()] : 0);
}

// The first of `count` elements whose weight, with the weights of all before it, reaches `target`. 1 <=
// target
// <= the sum of all weights, so there is one.
template <typename WeightAt>
__device__ __forceinline__ Reached FindReached(int32_t count, uint64_t target, WeightAt weight_at,
                                               BlockScratch* scratch) {
  const int32_t each = (count + kSampleThreads - 1) / kSampleThreads;
  const int32_t first = min(ThreadIndex() * each, count);
  const int32_t end = min(first + each, count);
  uint64_t sum = 0;
#pragma unroll 1
  for (int32_t i = first; i < end; ++i) sum += weight_at(i);
  uint64_t until = WarpRunningSum(sum);
  __syncthreads();
  if (LaneIndex() == 31) scratch->of_warps[WarpIndex()] = until;
  __syncthreads();
  const uint64_t of_warp = LaneIndex() < WarpIndex() ? scratch->of_warps[LaneIndex()] : 0;
  until += WarpSum(of_warp);
  uint64_t before = until - sum;
  if (before < target && target <= until) {  // one thread
    int32_t i = first;
    for (uint64_t weight = weight_at(i); before + weight < target; weight = weight_at(++i)) before += weight;
    scratch->reached = {i, before};
  }
  __syncthreads();
  return scratch->reached;
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_BLOCK_OPS_CUH_
