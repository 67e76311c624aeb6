// The end of a split: the warps' results become the split's, and splits' results the row's. The splits of a
// row may meet in one CTA, in a cluster (decode_cluster.cuh) or through device memory (decode.cuh): Fold, in
// the order of splits, is the arithmetic of all three, so that the result does not depend on where.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_MERGE_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_MERGE_CUH_

#include <cmath>
#include <cstdint>

#include "gpu/kernels/attention/decode_walk.cuh"
#include "gpu/kernels/attention/mma.cuh"

namespace tessera::gpu {

// Of one head, over some keys: the largest score and the sum of weights, and four elements' weighted sums.
struct Partial {
  float2 weight = make_float2(-INFINITY, 0);
  float4 sum = make_float4(0, 0, 0, 0);
};

// One of the two may be of no keys.
__device__ __forceinline__ void Fold(const Partial& next, Partial* all) {
  const float most = fmaxf(all->weight.x, next.weight.x);
  const float before = Exp2(all->weight.x - most);
  const float factor = Exp2(next.weight.x - most);
  all->weight = make_float2(most, fmaf(all->weight.y, before, __fmul_rn(next.weight.y, factor)));
  all->sum.x = fmaf(all->sum.x, before, __fmul_rn(next.sum.x, factor));
  all->sum.y = fmaf(all->sum.y, before, __fmul_rn(next.sum.y, factor));
  all->sum.z = fmaf(all->sum.z, before, __fmul_rn(next.sum.z, factor));
  all->sum.w = fmaf(all->sum.w, before, __fmul_rn(next.sum.w, factor));
}

// load(split): its partial result.
template <typename Load>
__device__ __forceinline__ Partial FoldSplits(int32_t splits, const Load& load) {
  constexpr int kAtOnce = 8;  // loads on their way together
  Partial all;
  for (int32_t first = 0; first < splits; first += kAtOnce) {
    Partial parts[kAtOnce];
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
      if (first + s < splits) parts[s] = load(first + s);
    }
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) Fold(parts[s], &all);  // of no keys: nothing changes
  }
  return all;
}

__device__ __forceinline__ void StorePartial(ElementType type, const Partial& partial, uint16_t* to) {
  const float factor = 1.0f / partial.weight.y;
  const uint2 packed = make_uint2(Pack(type, partial.sum.x * factor, partial.sum.y * factor),
                                  Pack(type, partial.sum.z * factor, partial.sum.w * factor));
  *reinterpret_cast<uint2*>(to) = packed;
}

// Every call is made by the whole CTA.
template <typename Tile, int kWarps>
class WarpMerge {
  static constexpr int kSize = Tile::kHeadSize;
  static constexpr int kStride = kSize + 4;  // floats of a row in shared memory: rows begin in unlike banks

 public:
  static constexpr int kThreads = kWarps * 32;
  // Vectors of four elements that a thread has of an item.
  static constexpr int kVectors = (Tile::kMostHeads * (kSize / 4) + kThreads - 1) / kThreads;

  // memory: MergeBytes, aligned to 16 bytes.
  __device__ WarpMerge(const DecodePlan& plan, float* memory)
      : heads_per_pass_(plan.heads_per_pass),
        sums_(memory),
        weights_(reinterpret_cast<float2*>(memory + kWarps * plan.heads_per_pass * kStride)) {}

  // take(k, vector, partial): this thread's k-th vector, of all that `heads` have. tokens: of the split.
  // Another call needs a barrier between.
  template <typename Take>
  __device__ void Finish(int32_t tokens, int32_t heads, Tile* tile, const Take& take) const {
    const int32_t warps = min(kWarps, CeilDivide(tokens, kTileTokens));  // those that had a tile
    const int32_t warp = static_cast<int32_t>(threadIdx.x / 32);
    if (warp < warps) Store(warp, heads, tile);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const int32_t vector = static_cast<int32_t>(threadIdx.x) + k * kThreads;
      if (vector < heads * (kSize / 4)) take(k, vector, Merge(warps, vector));
    }
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
        const int32_t row = warp * heads_per_pass_ + head;
#pragma unroll
        for (int t = 0; t < kSize / 16; ++t) {
          *reinterpret_cast<float2*>(sums_ + row * kStride + Tile::ElementOf(t)) =
              make_float2(tile->sums[n][t][i], tile->sums[n][t][2 + i]);
        }
        if (lane / 4 == 0) weights_[row] = make_float2(tile->largest[n][i], tile->weight[n][i]);
      }
    }
  }

  __device__ Partial Merge(int32_t warps, int32_t vector) const {
    const int32_t head = vector / (kSize / 4);
    const int32_t element = vector % (kSize / 4) * 4;
    float2 weights[kWarps];
    Partial all;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      weights[w] = w < warps ? weights_[w * heads_per_pass_ + head] : make_float2(-INFINITY, 0);
      all.weight.x = fmaxf(all.weight.x, weights[w].x);
    }
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w >= warps) continue;
      const float factor = Exp2(weights[w].x - all.weight.x);
      const float4 part =
          *reinterpret_cast<const float4*>(sums_ + (w * heads_per_pass_ + head) * kStride + element);
      all.weight.y = fmaf(weights[w].y, factor, all.weight.y);
      all.sum.x = fmaf(part.x, factor, all.sum.x);
      all.sum.y = fmaf(part.y, factor, all.sum.y);
      all.sum.z = fmaf(part.z, factor, all.sum.z);
      all.sum.w = fmaf(part.w, factor, all.sum.w);
    }
    return all;
  }

  const int32_t heads_per_pass_;
  float* const sums_;      // [warps][heads_per_pass][kStride]
  float2* const weights_;  // [warps][heads_per_pass]: largest score, sum of weights
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_MERGE_CUH_
