// From logits to a token at a temperature: what top-k, top-p and min-p leave is laid end to end by rising id,
// and a random number points at one.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_DRAW_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_DRAW_CUH_

#include <cstdint>

#include "gpu/kernels/sample/block_ops.cuh"
#include "gpu/kernels/sample/row_group.cuh"
#include "gpu/kernels/sample/select.cuh"
#include "gpu/kernels/sample/state.cuh"

namespace tessera::gpu {

// Uniform in [0, 1), a multiple of 2^-53: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011, section 4.2)
// of counter (position, 0, 0) and key `seed`, its first 53 bits as core/sample/random.h counts them.
__device__ __forceinline__ double UniformDraw(uint64_t seed, uint64_t position) {
  uint32_t counter[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter[0] = static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0];
    counter[1] = static_cast<uint32_t>(product1);
    counter[2] = static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1];
    counter[3] = static_cast<uint32_t>(product0);
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return static_cast<double>((static_cast<uint64_t>(counter[0]) << 21) | (counter[1] >> 11)) * 0x1p-53;
}

// exp((logit - largest) * scale) in units of 2^-kUnitBits, a whole number.
__device__ __forceinline__ float UnitsOf(float logit, float largest, float scale) {
  const float probability = expf(__fmul_rn(__fsub_rn(logit, largest), scale));
  return floorf(fminf(probability, 1.0f) * kUnits);
}

__device__ __forceinline__ uint64_t AsInteger(float units) { return __float2ull_rz(units); }

// Takes the tokens below `cut` and below `least_units` out, and adds up what is left: draw_sums [each
// kDrawTokens tokens of the block]. Returns the block's sum.
__device__ __forceinline__ uint64_t CutAndSum(const Cut& cut, float least_units, int32_t count, float* values,
                                              uint64_t* draw_sums, SampleShared* shared) {
  uint64_t sum = 0;
  for (int32_t begin = WarpIndex() * kDrawTokens, piece = WarpIndex(); begin < count;
       begin += kSampleWarps * kDrawTokens, piece += kSampleWarps) {
    uint64_t of_piece = 0;
#pragma unroll 4
    for (int32_t i = begin + LaneIndex(); i < min(begin + kDrawTokens, count); i += 32) {
      const float units = values[i];
      if (units >= least_units && cut.Keeps(__float_as_uint(units), i)) {
        of_piece += AsInteger(units);
      } else {
        values[i] = 0;
      }
    }
    sum += of_piece;
    of_piece = WarpSum(of_piece);
    if (LaneIndex() == 0) draw_sums[piece] = of_piece;
  }
  return BlockSum(sum, &shared->scratch);
}

// `values` [tokens.count] are the logits, and become the probabilities of the tokens kept. All blocks of the
// row call it; the one that has the token drawn returns it, the others -1.
template <bool kRowInShared>
__device__ __forceinline__ int32_t DrawToken(const RowGroup& group, const SampleParams& params, float largest,
                                             int32_t vocabulary, const BlockTokens& tokens, float* values,
                                             const SharedParts<kRowInShared>& parts) {
  SampleShared* const shared = parts.shared;
  Cut top_k = {0, tokens.count};  // no key is 0: all remain
  if (params.top_k > 0 && params.top_k < vocabulary) {
    top_k = SelectBest(
        group, tokens.count, [&](int32_t i) { return OrderedBits(values[i]); },
        CountWeights{static_cast<uint64_t>(params.top_k)}, parts.bins, shared);
  }
  const float scale = __fdiv_rn(1.0f, fminf(fmaxf(params.temperature, 1e-30f), 1e30f));
#pragma unroll 4
  for (int32_t i = ThreadIndex(); i < tokens.count; i += kSampleThreads) {
    const float logit = values[i];
    values[i] = top_k.Keeps(OrderedBits(logit), i) ? UnitsOf(logit, largest, scale) : 0.0f;
  }
  __syncthreads();
  Cut top_p = {0, tokens.count};
  if (params.top_p < 1.0f) {
    top_p = SelectBest(
        group, tokens.count, [&](int32_t i) { return __float_as_uint(values[i]); }, MassWeights{params.top_p},
        parts.bins, shared);
  }
  const float least_units = params.min_p > 0.0f ? floorf(fminf(params.min_p, 1.0f) * kUnits) : 0.0f;

  uint64_t* const draw_sums = parts.draw_sums();
  const uint64_t kept_here = CutAndSum(top_p, least_units, tokens.count, values, draw_sums, shared);
  TellGroup(group, kept_here, shared->kept_sums);
  SyncGroup();
  const uint64_t of_lane = LaneIndex() < group.size ? shared->kept_sums[LaneIndex()] : 0;
  const uint64_t until = WarpRunningSum(of_lane);
  const uint64_t kept = OfLane(until, 31);
  const uint64_t before = OfLane(until - of_lane, group.rank);  // in earlier blocks
  // The largest logit has probability 1 and is kept always, so there is something to draw from. Rounding may
  // put the target at the end: the last token of any weight takes it.
  const double drawn = UniformDraw(params.seed, params.position) * static_cast<double>(kept);
  uint64_t target = min(static_cast<uint64_t>(drawn), kept - 1) + 1;
  if (target <= before || target > before + kept_here) return -1;
  target -= before;
  const int32_t pieces = (tokens.count + kDrawTokens - 1) / kDrawTokens;
  const Reached piece = FindReached(
      pieces, target, [&](int32_t i) { return draw_sums[i]; }, &shared->scratch);
  const int32_t begin = piece.index * kDrawTokens;
  const Reached token = FindReached(
      min(kDrawTokens, tokens.count - begin), target - piece.before,
      [&](int32_t i) { return AsInteger(values[begin + i]); }, &shared->scratch);
  return tokens.first + begin + token.index;
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_DRAW_CUH_
