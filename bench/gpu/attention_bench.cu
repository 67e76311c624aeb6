// Attention alone: decode in bytes per second beside what streaming loads read in the same run, prompts in
// operations per second. Each launch is a node of one graph, and reads another layer's cache than the one
// before, more than the L2 holds.
//   gpu_attention_bench [--date DATE] [--commit COMMIT] [--out FILE.jsonl] [--sweep]
// Prints a table; --out appends one JSON object a line. --sweep: decode with other
// clusters and rings instead.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu/cuda_bench.h"
#include "bench/gpu/json_lines.h"
#include "bench/gpu/read_limit.h"
#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/launch.h"

namespace tessera::gpu {
namespace {

using tessera_bench::Allocate;
using tessera_bench::CaptureGraph;
using tessera_bench::FillHalves;
using tessera_bench::JsonLines;
using tessera_bench::Line;
using tessera_bench::Magnitude;
using tessera_bench::MedianReplayMs;
using tessera_bench::Rounds;
using tessera_bench::RunOptions;

constexpr Rounds kRounds = {2, 11, 0, 1};

__global__ void EmptyKernel() {
  ReleaseSuccessor();
  AwaitPredecessor();
}

class Memory {
 public:
  ~Memory() {
    for (void* data : all_) cudaFree(data);
  }
  template <typename T>
  T* Get(int64_t count) {
    T* const data = Allocate<T>(static_cast<size_t>(count));
    all_.push_back(data);
    return data;
  }
  const int32_t* Put(const std::vector<int32_t>& values) {
    auto* const data = Get<int32_t>(static_cast<int64_t>(values.size()));
    CHECK_CUDA(cudaMemcpy(data, values.data(), values.size() * sizeof(int32_t), cudaMemcpyHostToDevice));
    return data;
  }
  uint8_t* Filled(int64_t bytes) {
    auto* const data = Get<uint8_t>(bytes);
    FillHalves(data, static_cast<size_t>(bytes), Magnitude::kUnit, 1);
    return data;
  }

 private:
  std::vector<void*> all_;
};

class Bench {
 public:
  explicit Bench(const RunOptions& options)
      : properties_(Properties()), lines_(options, properties_.name, "gpu_attention_bench") {
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  ~Bench() { cudaStreamDestroy(stream_); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Microseconds of a node.
  double Time(int nodes, const std::function<void(int)>& node) {
    cudaGraphExec_t const graph = CaptureGraph(stream_, [&] {
      for (int i = 0; i < nodes; ++i) node(i);
    });
    const double ms = MedianReplayMs(graph, stream_, kRounds);
    CHECK_CUDA(cudaGraphExecDestroy(graph));
    return ms * 1000 / nodes;
  }

  void Report(const std::string& name, double value, const char* unit, double share) {
    std::printf("%-58s %10.2f %-8s", name.c_str(), value, unit);
    if (share > 0) std::printf(" share %.3f", share);
    std::printf("\n");
    std::fflush(stdout);
    Write(name, value, unit, share);
  }

  void Write(const std::string& name, double value, const char* unit, double share) {
    Line line;
    line.name = name;
    line.value = value;
    line.digits = 3;
    line.unit = unit;
    line.share_of_limit = share;
    lines_.Add(line);
  }

  void MeasureLimit() {
    const double limit = tessera_bench::DeviceReadGBps();
    bytes_per_us_ = limit * 1e3;
    Report("attention/read_limit", limit, "GB/s", 0);
    const double us =
        Time(100, [&](int) { CHECK_CUDA(Launch(Context(true), EmptyKernel, dim3(1), dim3(32), 0)); });
    Report("attention/empty_node/pdl", us, "us", 0);
  }

  struct Shape {
    const char* name;
    int32_t heads;
    int32_t kv_heads;
    int32_t head_size;
    ElementType cache_type;
  };
  enum class Launches { kPlain, kPrefetch };

  // A cache of as many layers as make more than the L2 holds, blocks shuffled.
  struct Setup {
    AttentionCall call;
    int32_t layers = 0;
    int64_t plane_bytes = 0;
    int64_t bytes_per_launch = 0;
  };
  Setup SetUp(Memory* memory, const Shape& shape, int32_t sequences, int32_t tokens, int32_t rows,
              int32_t block_tokens, bool batch_invariant) {
    Setup setup;
    AttentionCall& call = setup.call;
    const bool int8 = shape.cache_type == ElementType::kInt8Rows;
    CacheLayout& cache = call.cache;
    cache.type = shape.cache_type;
    cache.block_tokens = block_tokens;
    cache.kv_heads = shape.kv_heads;
    cache.head_size = shape.head_size;
    cache.row_bytes = int8 ? shape.head_size + shape.head_size / 16 : 2 * shape.head_size;
    setup.plane_bytes = int64_t{cache.row_bytes} * shape.kv_heads * block_tokens;
    const int32_t blocks = (tokens + block_tokens - 1) / block_tokens;
    setup.bytes_per_launch = int64_t{2} * cache.row_bytes * shape.kv_heads * tokens * sequences;
    setup.layers = static_cast<int32_t>(std::max<int64_t>(4, (int64_t{600} << 20) / setup.bytes_per_launch));
    cache.block_bytes = 2 * setup.plane_bytes * setup.layers;
    cache.value_offset_bytes = setup.plane_bytes;
    cache.data = memory->Filled(cache.block_bytes * blocks * sequences);

    std::vector<int32_t> table(static_cast<size_t>(blocks) * sequences);
    std::iota(table.begin(), table.end(), 0);
    std::mt19937 generator(1);
    std::shuffle(table.begin(), table.end(), generator);
    std::vector<int32_t> positions;
    std::vector<int32_t> owners;
    std::vector<int32_t> first_row;
    for (int32_t s = 0; s < sequences; ++s) {
      first_row.push_back(s * rows);
      for (int32_t r = 0; r < rows; ++r) {
        positions.push_back(tokens - rows + r);
        owners.push_back(s);
      }
    }
    call.step.counts = memory->Put({sequences * rows, sequences, 0, 0});
    call.step.positions = memory->Put(positions);
    call.step.row_sequence = memory->Put(owners);
    call.step.first_row = memory->Put(first_row);
    call.step.row_count = memory->Put(std::vector<int32_t>(static_cast<size_t>(sequences), rows));
    call.step.first_position =
        memory->Put(std::vector<int32_t>(static_cast<size_t>(sequences), tokens - rows));
    call.step.block_table = memory->Put(table);
    call.step.table_stride = blocks;
    call.shape = {ElementType::kBF16, shape.heads, shape.kv_heads,
                  shape.head_size,    0,           1.0f / std::sqrt(static_cast<float>(shape.head_size))};
    call.capacity = sequences * rows;
    call.max_sequences = sequences;
    call.batch_invariant = batch_invariant;
    const int64_t width = int64_t{shape.heads} * shape.head_size;
    call.query = memory->Filled(call.capacity * width * 2);
    call.context = memory->Filled(call.capacity * width * 2);
    const auto scratch = static_cast<int64_t>(
        AttentionScratchBytes(call.shape, sequences, properties_.multiProcessorCount, batch_invariant));
    call.scratch = memory->Get<uint8_t>(scratch);
    CHECK_CUDA(cudaMemset(call.scratch, 0, static_cast<size_t>(scratch)));
    CHECK_CUDA(PrepareAttention(call.shape, call.cache));
    CHECK_CUDA(cudaDeviceSynchronize());
    return setup;
  }

  double TimeDecode(const Setup& setup, Launches launches) {
    const int nodes = std::max(setup.layers, std::min(64, setup.layers * 4));
    return Time(nodes, [&](int i) {
      AttentionCall call = setup.call;
      call.cache.layer_offset_bytes = 2 * setup.plane_bytes * (i % setup.layers);
      call.prefetch_before_wait = launches == Launches::kPrefetch;
      CHECK_CUDA(LaunchAttentionDecode(Context(launches != Launches::kPlain), call));
    });
  }

  void MeasureDecode(const Shape& shape, int32_t batch, int32_t tokens, int32_t block_tokens = 16,
                     bool batch_invariant = false) {
    Memory memory;
    const Setup setup = SetUp(&memory, shape, batch, tokens, 1, block_tokens, batch_invariant);
    const std::string base = std::string("attention/decode/") + shape.name + "/batch" +
                             std::to_string(batch) + "/context" + std::to_string(tokens) +
                             (block_tokens == 16 ? "" : "/blocks" + std::to_string(block_tokens)) +
                             (batch_invariant ? "/invariant" : "");
    std::printf("%-58s", base.c_str());
    const struct {
      Launches launches;
      const char* name;
    } manners[] = {{Launches::kPlain, "plain"}, {Launches::kPrefetch, "prefetch"}};
    for (const auto& manner : manners) {
      const double us = TimeDecode(setup, manner.launches);
      const double share = static_cast<double>(setup.bytes_per_launch) / us / bytes_per_us_;
      std::printf("  %s %8.2f us %.3f", manner.name, us, share);
      Write(base + "/" + manner.name, us, "us", share);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  // With other clusters and rings, one line for each size of cluster.
  void SweepDecode(const Shape& shape, int32_t batch, int32_t tokens, const std::vector<int32_t>& clusters) {
    Memory memory;
    Setup setup = SetUp(&memory, shape, batch, tokens, 1, 16, false);
    for (const int32_t blocks : clusters) {
      const std::string name = std::string("sweep/") + shape.name + "/batch" + std::to_string(batch) +
                               "/context" + std::to_string(tokens) + "/cluster" + std::to_string(blocks);
      std::printf("%-46s prefetch us by ring KB:", name.c_str());
      for (const int32_t kilobytes : {64, 96, 128, 192}) {
        setup.call.ring_bytes = kilobytes * 1024;
        setup.call.cluster_blocks = blocks;
        std::printf(" %d: %.2f", kilobytes, TimeDecode(setup, Launches::kPrefetch));
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }

  void MeasurePrefill(const Shape& shape, int32_t batch, int32_t tokens) {
    Memory memory;
    const Setup setup = SetUp(&memory, shape, batch, tokens, tokens, 16, false);
    const double us = Time(4, [&](int i) {
      AttentionCall call = setup.call;
      call.cache.layer_offset_bytes = 2 * setup.plane_bytes * (i % setup.layers);
      CHECK_CUDA(LaunchAttentionPrefill(Context(false), call));
    });
    const double seen = 0.5 * tokens * (tokens + 1.0) * batch;
    const double operations = 4.0 * shape.head_size * shape.heads * seen;
    const std::string base = std::string("attention/prefill/") + shape.name + "/batch" +
                             std::to_string(batch) + "/tokens" + std::to_string(tokens);
    Report(base, operations / us * 1e-6, "TFLOP/s", 0);
  }

 private:
  LaunchContext Context(bool overlap) const { return {stream_, properties_.multiProcessorCount, overlap}; }

  static cudaDeviceProp Properties() {
    cudaDeviceProp properties = {};
    CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
    return properties;
  }

  const cudaDeviceProp properties_;
  JsonLines lines_;
  cudaStream_t stream_ = nullptr;
  double bytes_per_us_ = 1;
};

constexpr Bench::Shape k8b = {"8b", 32, 8, 128, ElementType::kBF16};
constexpr Bench::Shape k1b = {"1b", 32, 8, 64, ElementType::kBF16};
constexpr Bench::Shape k8bInt8 = {"8b_int8", 32, 8, 128, ElementType::kInt8Rows};

void Measure(const RunOptions& options) {
  Bench bench(options);
  bench.MeasureLimit();
  if (options.sweep) {
    bench.SweepDecode(k8b, 1, 1024, {1, 4, 8, 16});
    bench.SweepDecode(k8b, 4, 1024, {1, 4, 8, 16});
    bench.SweepDecode(k8b, 16, 1024, {1, 2, 4});
    bench.SweepDecode(k8b, 64, 1024, {1});
    bench.SweepDecode(k8b, 1, 32768, {1, 8, 16});
    bench.SweepDecode(k8b, 16, 32768, {1, 2});
    bench.SweepDecode(k1b, 1, 1024, {1, 4, 8, 16});
    bench.SweepDecode(k1b, 1, 32768, {1, 8, 16});
    bench.SweepDecode(k8bInt8, 1, 32768, {1, 8, 16});
    bench.SweepDecode(k8bInt8, 16, 32768, {1, 2});
    return;
  }
  for (const int32_t batch : {1, 2, 4, 8, 16, 64}) bench.MeasureDecode(k8b, batch, 1024);
  for (const int32_t batch : {1, 64}) bench.MeasureDecode(k8b, batch, 1024, 16, true);
  bench.MeasureDecode(k8b, 1, 32768);
  bench.MeasureDecode(k8b, 16, 32768);
  bench.MeasureDecode(k1b, 1, 1024);
  bench.MeasureDecode(k1b, 1, 32768);
  bench.MeasureDecode(k1b, 16, 32768);
  bench.MeasureDecode(k8bInt8, 1, 32768);
  bench.MeasureDecode(k8bInt8, 16, 32768);
  bench.MeasurePrefill(k8b, 1, 1024);
  bench.MeasurePrefill(k8b, 16, 1024);
  bench.MeasurePrefill(k8b, 1, 8192);
  bench.MeasurePrefill(k1b, 1, 8192);
  bench.MeasurePrefill(k8bInt8, 1, 8192);
}

}  // namespace
}  // namespace tessera::gpu

int main(int argc, char** argv) {
  tessera::gpu::Measure(tessera_bench::ParseRunOptions("gpu_attention_bench", argc, argv));
  return 0;
}
