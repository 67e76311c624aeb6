#include <cstdio>
#include <cstdlib>

#include "bench/gpu/cuda_bench.h"
#include "bench/gpu/statistics.h"

namespace tessera_bench {
namespace {

// Bits of two BF16: random ones where `random` has ones, and those of `fixed`.
__global__ void FillHalvesKernel(uint4* data, int64_t count, uint32_t random, uint32_t fixed, uint32_t seed) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += stride) {
    uint32_t state = static_cast<uint32_t>(i) * 2654435761u + seed;
    uint32_t words[4];
    for (uint32_t& word : words) {
      state ^= state << 13;
      state ^= state >> 17;
      state ^= state << 5;
      word = (state & random) | fixed;
    }
    data[i] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

__global__ void FillFloatsKernel(float* data, int64_t count, float value) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += stride) data[i] = value;
}

}  // namespace

void CheckCuda(cudaError_t error, const char* call, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, cudaGetErrorString(error));
  std::exit(1);
}

void FillHalves(void* data, size_t bytes, Magnitude magnitude, uint32_t seed, cudaStream_t stream) {
  const bool weights = magnitude == Magnitude::kWeights;
  FillHalvesKernel<<<1024, 256, 0, stream>>>(static_cast<uint4*>(data), static_cast<int64_t>(bytes / 16),
                                             weights ? 0x80FF80FFu : 0x807F807Fu,
                                             weights ? 0x3C003C00u : 0x3F003F00u, seed);
  CHECK_CUDA(cudaGetLastError());
}

void FillFloats(float* data, size_t count, float value, cudaStream_t stream) {
  FillFloatsKernel<<<64, 256, 0, stream>>>(data, static_cast<int64_t>(count), value);
  CHECK_CUDA(cudaGetLastError());
}

cudaGraphExec_t CaptureGraph(cudaStream_t stream, const std::function<void()>& launches) {
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  launches();
  cudaGraph_t graph = nullptr;
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t executable = nullptr;
  CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  CHECK_CUDA(cudaGraphDestroy(graph));
  return executable;
}

double MedianReplayMs(cudaGraphExec_t graph, cudaStream_t stream, const Rounds& rounds) {
  cudaEvent_t begin, end;
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreate(&end));
  std::vector<double> times;
  for (int round = 0; round < rounds.skipped + rounds.counted; ++round) {
    for (int i = 0; i < rounds.warm; ++i) CHECK_CUDA(cudaGraphLaunch(graph, stream));
    CHECK_CUDA(cudaEventRecord(begin, stream));
    for (int i = 0; i < rounds.timed; ++i) CHECK_CUDA(cudaGraphLaunch(graph, stream));
    CHECK_CUDA(cudaEventRecord(end, stream));
    CHECK_CUDA(cudaEventSynchronize(end));
    float ms = 0;
    CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
    if (round >= rounds.skipped) times.push_back(static_cast<double>(ms) / rounds.timed);
  }
  CHECK_CUDA(cudaEventDestroy(begin));
  CHECK_CUDA(cudaEventDestroy(end));
  return Median(times);
}

}  // namespace tessera_bench
