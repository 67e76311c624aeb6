// A step's logits become tokens, on the device, by the rules of core/sample/sampler.h: the same order of
// bias, penalties, temperature, top-k, top-p, min-p and draw, the same ties, the same random numbers. Knows
// no step: what it reads and writes is named below.
//
// A sample's results depend on its own logits and parameters alone: sums are integers (probabilities in units
// of 2^-44), so that no order of adding, no number of thread blocks and no neighbour changes them. The token
// is the CPU's, but where the draw or top-p's border lies within rounding error of a boundary between tokens.
#ifndef TESSERA_GPU_KERNELS_SAMPLE_SAMPLE_H_
#define TESSERA_GPU_KERNELS_SAMPLE_SAMPLE_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "core/device/device_module.h"
#include "gpu/kernels/common/launch.h"

namespace tessera::gpu {

inline constexpr int32_t kMostTopLogprobs = TSR_DEVICE_MOST_TOP_LOGPROBS;
inline constexpr int32_t kMostSampledVocabulary = 1 << 19;

// How one sample wants its token chosen: SamplingParams as plain data. Lists are ranges of SampleArgs::biases
// and ::window_tokens.
struct SampleParams {
  float temperature;  // 0: greedy
  int32_t top_k;
  float top_p;
  float min_p;
  float repetition_penalty;
  float frequency_penalty;
  float presence_penalty;
  int32_t top_logprobs;  // -1: no log-probabilities
  uint64_t seed;
  uint64_t position;
  int32_t first_bias;
  int32_t bias_count;  // unique tokens, in any order
  int32_t first_window_token;
  int32_t window_token_count;  // the last tokens of the sequence that penalties look at; 0: no penalties
};

// Of one sample. Its first 16 bytes are written at once, and are all that is written where no
// log-probabilities are wanted.
struct alignas(16) SampleResult {
  int32_t token;          // -1 with numeric_fault
  int32_t numeric_fault;  // NaN or infinity among the raw logits, or every token forbidden by bias
  float logprob;          // of `token` by the raw logits; 0 where not wanted
  int32_t top_count;
  int32_t top_tokens[kMostTopLogprobs];  // the first top_count are written, most probable first
  float top_logprobs[kMostTopLogprobs];
};

// A window token of kFirstEarlierSample - i is the token that the step before sampled as its i-th: the host
// may not know it yet. Other negative ones, and all outside the vocabulary, are passed over.
inline constexpr int32_t kFirstEarlierSample = -2;

// Pointers are the device's; so is `results`, which may be mapped host memory: sixteen bytes a sample go
// there while the kernel ends, and no copy follows it.
struct SampleArgs {
  const float* logits = nullptr;          // [capacity][logits_stride]
  int64_t logits_stride = 0;              // elements, at least `vocabulary`
  int32_t vocabulary = 0;                 // 1 to kMostSampledVocabulary
  int32_t capacity = 0;                   // samples that the launch covers
  const int32_t* sample_count = nullptr;  // of this step; samples from there on are left alone
  const SampleParams* params = nullptr;   // [capacity]
  const tsr_device_bias* biases = nullptr;
  const int32_t* window_tokens = nullptr;
  const int32_t* earlier_tokens = nullptr;  // [earlier_capacity]: `tokens` of the step before, or null
  int32_t earlier_capacity = 0;
  // Optional. The largest logit of every `tile_tokens` neighbours, NaN where one of them is not finite, as
  // the head finds it on its way: greedy samples then read no other logits than one tile's.
  const float* tile_maxima = nullptr;  // [capacity][tiles]
  int32_t tile_tokens = 0;
  int32_t* tokens = nullptr;        // [capacity]: where the next step finds them; -1 with a numeric fault
  SampleResult* results = nullptr;  // [capacity]
  void* workspace = nullptr;  // SampleSetup::workspace_bytes, shared by launches that follow one another
};

// How many thread blocks share a sample, and where its logits are kept meanwhile. Changes the time, not the
// results.
struct SampleSetup {
  int32_t group_blocks = 0;    // a cluster of them; 1 on devices before compute capability 9.0
  bool row_in_shared = false;  // the blocks' shared memory holds the sample's logits; else the workspace
  size_t shared_bytes = 0;     // of each block
  size_t workspace_bytes = 0;
};

// For launches of `capacity` samples on the current device. Outside of any capture, before the first launch.
cudaError_t PrepareSample(int32_t vocabulary, int32_t capacity, SampleSetup* setup);
// The same with the number of blocks given: 1, 2, 4, 8 or 16, which the device must be able to run together.
cudaError_t PrepareSampleWith(int32_t vocabulary, int32_t capacity, int32_t group_blocks, SampleSetup* setup);

cudaError_t LaunchSample(const LaunchContext& context, const SampleSetup& setup, const SampleArgs& args);

// tokens[row] = sampled[sources[row]] where sources[row] >= 0. A sample that had no token gives token 0: the
// row is void, and its embedding must be one that exists.
struct ResolveTokensArgs {
  const int32_t* row_count = nullptr;
  int32_t capacity = 0;              // rows that the launch covers
  const int32_t* sources = nullptr;  // [capacity]
  const int32_t* sampled = nullptr;  // SampleArgs::tokens of the step before
  int32_t* tokens = nullptr;         // [capacity]
};

cudaError_t LaunchResolveTokens(const LaunchContext& context, const ResolveTokensArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_SAMPLE_SAMPLE_H_
