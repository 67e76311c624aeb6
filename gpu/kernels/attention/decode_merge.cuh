// The end of a decode item: the warps' results become the split's, and the last split to arrive makes the
// context of all. Always in the order of warps and of splits, whoever comes last.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_MERGE_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_MERGE_CUH_

#include <cmath>
#include <cstdint>

#include "gpu/kernels/attention/decode_walk.cuh"
#include "gpu/kernels/attention/mma.cuh"

namespace tessera::gpu {

// Every call is made by the whole CTA.
template <typename Tile, int kWarps>
class WarpMerge {
  static constexpr int kSize = Tile::kHeadSize;
  static constexpr int kStride = kSize + 4;  // floats of a row in shared memory: rows begin in unlike banks
  static constexpr int kThreads = kWarps * 32;

 public:
  // memory: MergeBytes, aligned to 16 bytes.
  __device__ WarpMerge(const AttentionCall& call, const DecodePlan& plan, float* memory)
      : call_(call),
        plan_(plan),
        sums_(memory),
        weights_(reinterpret_cast<float2*>(memory + kWarps * plan.heads_per_pass * kStride)) {}

  // context: [heads, head size] of the item.
  __device__ void Finish(const DecodeItem& item, int32_t heads, Tile* tile, uint16_t* context) const {
    const int32_t tiles = CeilDivide(item.end - item.begin, kTileTokens);
    const int32_t warps = min(kWarps, tiles);  // those that had a tile
    const int32_t warp = static_cast<int32_t>(threadIdx.x / 32);
    if (warp < warps) Store(warp, heads, tile);
    __syncthreads();
    const bool whole = item.splits == 1;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < heads * (kSize / 4); i += kThreads) {
      const int32_t head = i / (kSize / 4);
      const int32_t element = i % (kSize / 4) * 4;
      float4 sum;
      const float2 weight = MergeWarps(warps, head, element, &sum);
      if (whole) {
        StoreContext(context + head * kSize + element, sum, 1.0f / weight.y);
        continue;
      }
      const int64_t row = static_cast<int64_t>(item.index) * plan_.heads_per_pass + head;
      __stcg(reinterpret_cast<float4*>(plan_.sums + row * kSize + element), sum);
      if (element == 0) __stcg(plan_.weights + row, weight);
    }
    __syncthreads();  // all has been written, and shared memory is free again
    if (!whole && ArrivesLast(item)) MergeSplits(item, heads, context);
  }

 private:
  __device__ void Store(int32_t warp, int32_t heads, Tile* tile) const {
    tile->End();
    const int lane = static_cast<int>(threadIdx.x & 31);
#pragma unroll
    for (int n = 0; n < Tile::kMostHeads / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int32_t head = 8 * n + lane % 4 * 2 + i;
        if (head >= heads) continue;
        const int32_t row = warp * plan_.heads_per_pass + head;
#pragma unroll
        for (int t = 0; t < kSize / 16; ++t) {
          *reinterpret_cast<float2*>(sums_ + row * kStride + Tile::ElementOf(t)) =
              make_float2(tile->sums[n][t][i], tile->sums[n][t][2 + i]);
        }
        if (lane / 4 == 0) weights_[row] = make_float2(tile->largest[n][i], tile->weight[n][i]);
      }
    }
  }

  // Largest score and sum of weights of all warps; *sum: of four elements.
  __device__ float2 MergeWarps(int32_t warps, int32_t head, int32_t element, float4* sum) const {
    float most = -INFINITY;
    for (int32_t w = 0; w < warps; ++w) most = fmaxf(most, weights_[w * plan_.heads_per_pass + head].x);
    float total = 0;
    *sum = make_float4(0, 0, 0, 0);
    for (int32_t w = 0; w < warps; ++w) {
      const int32_t row = w * plan_.heads_per_pass + head;
      const float2 weight = weights_[row];
      const float factor = Exp2(weight.x - most);
      const float4 part = *reinterpret_cast<const float4*>(sums_ + row * kStride + element);
      total += weight.y * factor;
      sum->x += part.x * factor;
      sum->y += part.y * factor;
      sum->z += part.z * factor;
      sum->w += part.w * factor;
    }
    return make_float2(most, total);
  }

  __device__ void StoreContext(uint16_t* to, const float4& sum, float factor) const {
    const uint2 packed = make_uint2(Pack(call_.shape.type, sum.x * factor, sum.y * factor),
                                    Pack(call_.shape.type, sum.z * factor, sum.w * factor));
    *reinterpret_cast<uint2*>(to) = packed;
  }

  // The last one also puts the counter back for the next launch.
  __device__ bool ArrivesLast(const DecodeItem& item) const {
    __shared__ int32_t last;
    if (threadIdx.x == 0) {
      int32_t* const arrived =
          plan_.arrived + static_cast<int64_t>(item.sequence) * plan_.head_groups + item.head_group;
      __threadfence();
      last = atomicAdd(arrived, 1) == item.splits - 1;
      if (last) {
        *arrived = 0;
        __threadfence();
      }
    }
    __syncthreads();
    const bool result = last != 0;
    __syncthreads();  // the next item may write it
    return result;
  }

  __device__ void MergeSplits(const DecodeItem& item, int32_t heads, uint16_t* context) const {
    constexpr int kAtOnce = 8;  // loads on their way together
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < heads * (kSize / 2); i += kThreads) {
      const int32_t head = i / (kSize / 2);
      const int32_t element = i % (kSize / 2) * 2;
      float most = -INFINITY;
      float total = 0;
      float2 sum = make_float2(0, 0);
      for (int32_t first = 0; first < item.splits; first += kAtOnce) {
        float2 weights[kAtOnce];
        float2 parts[kAtOnce];
        float highest = most;
#pragma unroll
        for (int s = 0; s < kAtOnce; ++s) {
          weights[s] = make_float2(-INFINITY, 0);
          parts[s] = make_float2(0, 0);
          if (first + s >= item.splits) continue;
          const int64_t index = item.first_index + static_cast<int64_t>(first + s) * plan_.head_groups;
          const int64_t row = index * plan_.heads_per_pass + head;
          weights[s] = __ldcg(plan_.weights + row);
          parts[s] = __ldcg(reinterpret_cast<const float2*>(plan_.sums + row * kSize + element));
        }
#pragma unroll
        for (int s = 0; s < kAtOnce; ++s) highest = fmaxf(highest, weights[s].x);
        const float rescale = first == 0 ? 0.0f : Exp2(most - highest);
        most = highest;
        total *= rescale;
        sum.x *= rescale;
        sum.y *= rescale;
#pragma unroll
        for (int s = 0; s < kAtOnce; ++s) {
          if (first + s >= item.splits) continue;
          const float factor = Exp2(weights[s].x - most);
          total += weights[s].y * factor;
          sum.x += parts[s].x * factor;
          sum.y += parts[s].y * factor;
        }
      }
      const float factor = 1.0f / total;
      *reinterpret_cast<uint32_t*>(context + head * kSize + element) =
          Pack(call_.shape.type, sum.x * factor, sum.y * factor);
    }
  }

  const AttentionCall& call_;
  const DecodePlan& plan_;
  float* const sums_;      // [warps][heads_per_pass][kStride]
  float2* const weights_;  // [warps][heads_per_pass]: largest score, sum of weights
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_MERGE_CUH_
