// What programs that measure kernels share: memory on the first device, values that fill it, and graphs that
// are captured, replayed and timed. What fails ends the program. For CUDA's compiler and the host's.
#ifndef TESSERA_BENCH_GPU_CUDA_BENCH_H_
#define TESSERA_BENCH_GPU_CUDA_BENCH_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace tessera_bench {

// Says where and what failed, and exits, unless `error` is cudaSuccess.
void CheckCuda(cudaError_t error, const char* call, const char* file, int line);
#define CHECK_CUDA(call) ::tessera_bench::CheckCuda((call), #call, __FILE__, __LINE__)

// Never freed by itself.
template <typename T>
T* Allocate(size_t count) {
  void* data = nullptr;
  CHECK_CUDA(cudaMalloc(&data, count * sizeof(T)));
  return static_cast<T*>(data);
}

template <typename T>
T* ToDevice(const std::vector<T>& values) {
  T* const data = Allocate<T>(values.size());
  CHECK_CUDA(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return data;
}

// Random BF16 of either sign. `bytes`: a multiple of 16; the rest is left as it is.
enum class Magnitude {
  kWeights,  // 2^-7 to 2^-5
  kUnit,     // 1/2 to 1; as F16 1.75 to 2
};
void FillHalves(void* data, size_t bytes, Magnitude magnitude, uint32_t seed, cudaStream_t stream = nullptr);
void FillFloats(float* data, size_t count, float value, cudaStream_t stream = nullptr);

// What `launches` puts into the stream, once.
cudaGraphExec_t CaptureGraph(cudaStream_t stream, const std::function<void()>& launches);

// How a graph is timed: in each round `warm` replays, then `timed` ones between two events.
struct Rounds {
  int skipped = 0;  // rounds before the first that counts
  int counted = 5;
  int warm = 0;
  int timed = 1;
};
// Milliseconds of a replay, the median of the rounds.
double MedianReplayMs(cudaGraphExec_t graph, cudaStream_t stream, const Rounds& rounds);

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_CUDA_BENCH_H_
