// Log-probabilities of the raw logits' softmax at temperature 1: of the token, and of the most probable ones.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_LOGPROBS_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_LOGPROBS_CUH_

#include <cstdint>

#include "gpu/kernels/sample/block_ops.cuh"
#include "gpu/kernels/sample/draw.cuh"
#include "gpu/kernels/sample/row_group.cuh"
#include "gpu/kernels/sample/select.cuh"
#include "gpu/kernels/sample/state.cuh"

namespace tessera::gpu {

// The part of a result that every sample has.
struct alignas(16) ResultHead {
  int32_t token;
  int32_t numeric_fault;
  float logprob;
  int32_t top_count;
};

__device__ __forceinline__ void WriteResult(const ResultHead& head, SampleResult* result) {
  *reinterpret_cast<int4*>(result) =
      make_int4(head.token, head.numeric_fault, __float_as_int(head.logprob), head.top_count);
}

// raw [tokens.count] are the block's raw logits, row_logits all of the row's. Block 0's shared->token holds
// the token from the first barrier of the group on, and shared->top_count 0. All blocks call it; block 0
// fills `result`. The group may end afterwards.
template <bool kRowInShared>
__device__ __forceinline__ void FillLogprobs(const RowGroup& group, int32_t wanted, float raw_largest,
                                             int32_t vocabulary, const BlockTokens& tokens,
                                             const float* row_logits, const SharedParts<kRowInShared>& parts,
                                             SampleResult* result) {
  SampleShared* const shared = parts.shared;
  const float* const raw = row_logits + tokens.first;
  uint64_t sum = 0;
#pragma unroll 4
  for (int32_t i = ThreadIndex(); i < tokens.count; i += kSampleThreads) {
    sum += AsInteger(UnitsOf(raw[i], raw_largest, 1.0f));
  }
  TellGroup(group, BlockSum(sum, &shared->scratch), shared->raw_sums);
  SyncGroup();
  const uint64_t total = WarpSum(LaneIndex() < group.size ? shared->raw_sums[LaneIndex()] : 0);
  const auto logprob_of = [&](float logit) {
    const double log_sum = log(static_cast<double>(total) / static_cast<double>(uint64_t{1} << kUnitBits));
    return static_cast<float>((static_cast<double>(logit) - static_cast<double>(raw_largest)) - log_sum);
  };
  const int32_t top_count = min(min(wanted, kMostTopLogprobs), vocabulary);
  if (group.rank == 0 && ThreadIndex() == 0) {
    WriteResult({shared->token, 0, logprob_of(row_logits[shared->token]), top_count}, result);
  }
  if (top_count <= 0) return;

  const auto key_at = [&](int32_t i) { return OrderedBits(raw[i]); };
  const Cut cut = SelectBest(group, tokens.count, key_at, CountWeights{static_cast<uint64_t>(top_count)},
                             parts.bins, shared);
  for (int32_t i = ThreadIndex(); i < tokens.count; i += kSampleThreads) {
    const uint32_t key = key_at(i);
    if (!cut.Keeps(key, i)) continue;
    const int32_t slot = CountIn(&shared->top_count, 0);  // in any order: they are ranked below
    StoreTo(&shared->top_keys[slot], 0, BestKey(key, tokens.first + i));
  }
  SyncGroup();
  if (group.rank != 0 || ThreadIndex() >= top_count) return;
  const uint64_t key = shared->top_keys[ThreadIndex()];
  int32_t place = 0;
  for (int32_t i = 0; i < top_count; ++i) place += shared->top_keys[i] > key;
  result->top_tokens[place] = TokenOfKey(key);
  result->top_logprobs[place] = logprob_of(ValueOfKey(key));
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_LOGPROBS_CUH_
