#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "bench/gpu/cuda_bench.h"
#include "bench/gpu/read_limit.h"
#include "bench/gpu/statistics.h"

namespace tessera_bench {
namespace {

constexpr size_t kReadBytes = size_t{4} << 30;
constexpr int kRepeats = 10;
constexpr size_t kPieceBytes = size_t{16} << 20;
constexpr int kPiecesEach = 2;  // a thread fills one while the other is copied

constexpr int kAtOnce = 8;  // loads of a thread on their way

__global__ void __launch_bounds__(512) ReadAll(const uint4* data, int64_t count, uint32_t* sink) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  uint32_t sum = 0;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + (kAtOnce - 1) * stride < count; i += kAtOnce * stride) {
    uint4 parts[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) parts[k] = __ldcs(data + i + k * stride);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) sum += parts[k].x ^ parts[k].y ^ parts[k].z ^ parts[k].w;
  }
  for (; i < count; i += stride) {
    const uint4 part = __ldcs(data + i);
    sum += part.x ^ part.y ^ part.z ^ part.w;
  }
  if (sum == 0x12345678u) *sink = sum;  // so that nothing is left out
}

// Median milliseconds of `work` on the default stream; the first time is not counted.
template <typename Work>
double MedianMs(Work&& work) {
  cudaEvent_t begin, end;
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreate(&end));
  std::vector<double> times;
  for (int i = 0; i <= kRepeats; ++i) {
    CHECK_CUDA(cudaEventRecord(begin, nullptr));
    work();
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaEventRecord(end, nullptr));
    CHECK_CUDA(cudaEventSynchronize(end));
    float ms = 0;
    CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
    if (i > 0) times.push_back(static_cast<double>(ms));
  }
  CHECK_CUDA(cudaEventDestroy(begin));
  CHECK_CUDA(cudaEventDestroy(end));
  return Median(times);
}

// Where StagedCopyGBps copies to: pieces go round in it.
struct Target {
  uint8_t* data = nullptr;
  uint64_t pieces = 0;
};

// One thread's part: takes pieces by turns until there are none.
void CopyPieces(uint64_t total_bytes, const Target& target, std::atomic<uint64_t>* next,
                uint8_t* const* pinned,
                const std::function<void(uint64_t offset, void* to, size_t size)>& read) {
  cudaStream_t stream;
  cudaEvent_t copied[kPiecesEach];
  CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (cudaEvent_t& event : copied) {
    CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  for (int turn = 0;; turn = (turn + 1) % kPiecesEach) {
    const uint64_t piece = next->fetch_add(1);
    const uint64_t offset = piece * kPieceBytes;
    if (offset >= total_bytes) break;
    const size_t size = std::min<uint64_t>(kPieceBytes, total_bytes - offset);
    CHECK_CUDA(cudaEventSynchronize(copied[turn]));
    read(offset, pinned[turn], size);
    CHECK_CUDA(cudaMemcpyAsync(target.data + piece % target.pieces * kPieceBytes, pinned[turn], size,
                               cudaMemcpyHostToDevice, stream));
    CHECK_CUDA(cudaEventRecord(copied[turn], stream));
  }
  CHECK_CUDA(cudaStreamSynchronize(stream));
  for (cudaEvent_t event : copied) CHECK_CUDA(cudaEventDestroy(event));
  CHECK_CUDA(cudaStreamDestroy(stream));
}

}  // namespace

double DeviceReadGBps() {
  int processors = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  const auto count = static_cast<int64_t>(kReadBytes / sizeof(uint4));
  auto* const data = Allocate<uint4>(kReadBytes / sizeof(uint4));
  auto* const sink = Allocate<uint32_t>(1);
  FillHalves(data, kReadBytes, Magnitude::kWeights, 1);
  double best_ms = 1e30;
  for (const int blocks_each : {2, 3, 4, 8, 16}) {
    best_ms =
        std::min(best_ms, MedianMs([&] { ReadAll<<<processors * blocks_each, 512>>>(data, count, sink); }));
  }
  CHECK_CUDA(cudaFree(data));
  CHECK_CUDA(cudaFree(sink));
  return static_cast<double>(kReadBytes) / 1e6 / best_ms;
}

double PinnedCopyGBps() {
  constexpr size_t kBytes = size_t{64} << 20;
  void* host = nullptr;
  void* device = nullptr;
  CHECK_CUDA(cudaMallocHost(&host, kBytes));
  CHECK_CUDA(cudaMalloc(&device, kBytes));
  const double ms =
      MedianMs([&] { CHECK_CUDA(cudaMemcpyAsync(device, host, kBytes, cudaMemcpyHostToDevice, nullptr)); });
  CHECK_CUDA(cudaFree(device));
  CHECK_CUDA(cudaFreeHost(host));
  return static_cast<double>(kBytes) / 1e6 / ms;
}

double StagedCopyGBps(uint64_t total_bytes, int threads,
                      const std::function<void(uint64_t offset, void* to, size_t size)>& read) {
  Target target;
  target.pieces = std::min<uint64_t>(256, (total_bytes + kPieceBytes - 1) / kPieceBytes);
  CHECK_CUDA(cudaMalloc(&target.data, target.pieces * kPieceBytes));
  std::vector<uint8_t*> pinned(static_cast<size_t>(threads * kPiecesEach));
  for (uint8_t*& piece : pinned) CHECK_CUDA(cudaMallocHost(&piece, kPieceBytes));
  std::atomic<uint64_t> next{0};
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] { CopyPieces(total_bytes, target, &next, &pinned[i * kPiecesEach], read); });
  }
  for (std::thread& worker : workers) worker.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  for (uint8_t* piece : pinned) CHECK_CUDA(cudaFreeHost(piece));
  CHECK_CUDA(cudaFree(target.data));
  return static_cast<double>(total_bytes) / 1e9 / seconds.count();
}

}  // namespace tessera_bench
