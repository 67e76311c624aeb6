#include <algorithm>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/step_arrays.h"
#include "gpu/kernels/step_io/step_io.h"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ uint64_t DeviceClockNs() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)::"memory");
  return now;
}

// A sample that had no token gives token 0: the row is void, and its embedding must be one that exists.
__device__ __forceinline__ int32_t ResolveToken(int32_t token, const StepTarget& target) {
  if (token > kFirstEarlierSample) return token;
  return max(target.sampled[kFirstEarlierSample - token], 0);
}

// Block ids of one sequence and group, 16 bytes at a time: the source is padded to that.
__device__ void CopyTable(const StepInput& input, const StepTarget& target, int table) {
  const int sequence = table / input.groups;
  const int group = table % input.groups;
  const TableSource source = input.tables[table];
  const auto* const from = reinterpret_cast<const int4*>(input.table_blocks + source.first);
  auto* const to = reinterpret_cast<int4*>(target.block_tables +
                                           (static_cast<int64_t>(group) * target.max_sequences + sequence) *
                                               target.table_stride);
  for (int i = threadIdx.x; i < (source.count + 3) / 4; i += kThreads) to[i] = from[i];
}

// The first blocks copy a table each, the others all that is left.
__global__ void __launch_bounds__(kThreads) UnpackStepKernel(StepInput input, StepTarget target) {
  AwaitPredecessor();
  const int tables = input.sequences * input.groups;
  if (static_cast<int>(blockIdx.x) < tables) {
    CopyTable(input, target, blockIdx.x);
    return;
  }
  const int first = (blockIdx.x - tables) * kThreads + threadIdx.x;
  const int step = (gridDim.x - tables) * kThreads;
  if (first == 0) {
    input.outlet.times->first_ns = DeviceClockNs();
    target.counts[StepArrays::kRows] = input.rows;
    target.counts[StepArrays::kSequences] = input.sequences;
    target.counts[StepArrays::kSamples] = input.samples;
    *target.outlet = input.outlet;
  }
  for (int row = first; row < target.row_capacity; row += step) {
    const bool live = row < input.rows;
    target.tokens[row] = live ? ResolveToken(input.tokens[row], target) : 0;
    target.positions[row] = live ? input.positions[row] : 0;
    target.row_sequence[row] = live ? input.row_sequence[row] : -1;
  }
  for (int sequence = first; sequence < target.max_sequences; sequence += step) {
    const bool live = sequence < input.sequences;
    target.first_row[sequence] = live ? input.first_row[sequence] : 0;
    target.row_count[sequence] = live ? input.row_count[sequence] : 0;
    target.first_position[sequence] = live ? input.first_position[sequence] : 0;
  }
  for (int sample = first; sample < target.sample_capacity; sample += step) {
    target.sample_rows[sample] = sample < input.samples ? input.sample_rows[sample] : 0;
  }
  constexpr int kParamUnits = sizeof(SampleParams) / sizeof(uint64_t);
  static_assert(sizeof(SampleParams) % sizeof(uint64_t) == 0 && alignof(SampleParams) == sizeof(uint64_t));
  for (int i = first; i < input.samples * kParamUnits; i += step) {
    reinterpret_cast<uint64_t*>(target.params)[i] = reinterpret_cast<const uint64_t*>(input.params)[i];
  }
  for (int i = first; i < input.bias_count; i += step) target.biases[i] = input.biases[i];
  for (int i = first; i < input.window_token_count; i += step) {
    target.window_tokens[i] = ResolveToken(input.window_tokens[i], target);
  }
}

// What the first 16 bytes of a result do not hold is copied where log-probabilities were asked for only.
__global__ void __launch_bounds__(kThreads) PublishStepKernel(PublishArgs args) {
  AwaitPredecessor();
  ReleaseSuccessor();
  constexpr int kUnits = sizeof(SampleResult) / 16;
  static_assert(sizeof(SampleResult) % 16 == 0, "results are copied 16 bytes at a time");
  const StepOutlet outlet = *args.outlet;
  const int samples = min(args.counts[StepArrays::kSamples], args.capacity);
  for (int i = threadIdx.x; i < samples * kUnits; i += kThreads) {
    const int sample = i / kUnits;
    if (i % kUnits != 0 && args.params[sample].top_logprobs <= 0) continue;
    reinterpret_cast<uint4*>(outlet.results)[i] = reinterpret_cast<const uint4*>(args.results)[i];
  }
  __syncthreads();
  if (threadIdx.x == 0) outlet.times->last_ns = DeviceClockNs();
}

}  // namespace

cudaError_t LaunchUnpackStep(const LaunchContext& context, const StepInput& input, const StepTarget& target) {
  const int widest = std::max({target.row_capacity, target.max_sequences, target.sample_capacity,
                               input.samples * static_cast<int>(sizeof(SampleParams) / sizeof(uint64_t)),
                               input.bias_count, input.window_token_count});
  const int blocks = input.sequences * input.groups + std::clamp((widest + kThreads - 1) / kThreads, 1, 256);
  return Launch(context, UnpackStepKernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, input,
                target);
}

cudaError_t LaunchPublishStep(const LaunchContext& context, const PublishArgs& args) {
  return Launch(context, PublishStepKernel, dim3(1), dim3(kThreads), 0, args);
}

}  // namespace tessera::gpu
