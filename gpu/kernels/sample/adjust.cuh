// What a request does to its logits before any choice: bias, then penalties, as core/sample/adjust.h says,
// each block of a row to its own tokens. Every rounding is the CPU's: nothing is contracted.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_ADJUST_CUH_
#define TESSERA_GPU_KERNELS_SAMPLE_ADJUST_CUH_

#include <cfloat>
#include <cstdint>

#include "gpu/kernels/sample/block_ops.cuh"
#include "gpu/kernels/sample/sample.h"
#include "gpu/kernels/sample/state.cuh"

namespace tessera::gpu {

__device__ __forceinline__ bool HasPenalties(const SampleParams& params) {
  return params.window_token_count > 0 &&
         (params.repetition_penalty != 1.0f || params.frequency_penalty != 0.0f ||
          params.presence_penalty != 0.0f);
}

__device__ __forceinline__ float ForbiddenLogit() { return __uint_as_float(0xff800000u); }  // -infinity

__device__ __forceinline__ float BoundedLogit(float logit) {
  return logit != logit ? ForbiddenLogit() : fminf(fmaxf(logit, -FLT_MAX), FLT_MAX);
}

__device__ __forceinline__ float PenalisedLogit(const SampleParams& params, float logit, uint32_t count) {
  if (logit == ForbiddenLogit()) return logit;
  const float repeated =
      logit > 0 ? __fdiv_rn(logit, params.repetition_penalty) : __fmul_rn(logit, params.repetition_penalty);
  const float taken =
      __fadd_rn(__fmul_rn(params.frequency_penalty, static_cast<float>(count)), params.presence_penalty);
  return BoundedLogit(__fsub_rn(BoundedLogit(repeated), taken));
}

__device__ __forceinline__ int32_t WindowToken(const SampleArgs& args, const SampleParams& params,
                                               int32_t i) {
  const int32_t token = args.window_tokens[params.first_window_token + i];
  if (token > kFirstEarlierSample) return token;
  const int32_t earlier = kFirstEarlierSample - token;
  return earlier < args.earlier_capacity ? args.earlier_tokens[earlier] : token;
}

// values [tokens.count]; `counters` [kCounters] is scratch. The whole block calls it, before and after a
// barrier of its own.
__device__ __forceinline__ void AdjustLogits(const SampleArgs& args, const SampleParams& params,
                                             const BlockTokens& tokens, uint32_t* counters, float* values) {
  for (int32_t i = ThreadIndex(); i < params.bias_count; i += kSampleThreads) {
    const tsr_device_bias bias = args.biases[params.first_bias + i];
    if (!tokens.Has(bias.token)) continue;
    const int32_t index = bias.token - tokens.first;
    values[index] =
        bias.bias == ForbiddenLogit() ? bias.bias : BoundedLogit(__fadd_rn(values[index], bias.bias));
  }
  if (!HasPenalties(params)) return;
  // As many tokens at a time as there are counters; each is counted, then penalised by one thread.
  for (int32_t begin = 0; begin < tokens.count; begin += kCounters) {
    const BlockTokens here = {tokens.first + begin, min(kCounters, tokens.count - begin)};
    const auto each_here = [&](auto visit) {
      for (int32_t i = ThreadIndex(); i < params.window_token_count; i += kSampleThreads) {
        const int32_t token = WindowToken(args, params, i);
        if (here.Has(token)) visit(token - here.first);
      }
      __syncthreads();
    };
    each_here([&](int32_t index) { counters[index] = 0; });
    each_here([&](int32_t index) { atomicAdd(&counters[index], 1u); });
    each_here([&](int32_t index) {
      const uint32_t count = atomicExch(&counters[index], 0u);
      if (count != 0) values[begin + index] = PenalisedLogit(params, values[begin + index], count);
    });
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_ADJUST_CUH_
