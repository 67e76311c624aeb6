// What sampling adds to a step: the time of a node of a graph that does nothing else, over 100 of them, for
// greedy and for each manner of sampling, beside a node that is empty.
//   sample_bench [--date DATE] [--commit COMMIT] [--out FILE.jsonl] [--sweep]
// Prints a table; --out appends one JSON object a line. --sweep: every number of blocks a sample, instead of
// what the library takes.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu/cuda_bench.h"
#include "bench/gpu/json_lines.h"
#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/sample/sample.h"

namespace tessera::gpu {
namespace {

using tessera_bench::CaptureGraph;
using tessera_bench::JsonLines;
using tessera_bench::Line;
using tessera_bench::MedianReplayMs;
using tessera_bench::Rounds;
using tessera_bench::RunOptions;
using tessera_bench::ToDevice;

constexpr int32_t kVocabulary = 128256;
constexpr int32_t kMostSamples = 64;
constexpr int kNodes = 100;
constexpr Rounds kRounds = {3, 21, 0, 1};

__global__ void EmptyKernel() {
  ReleaseSuccessor();
  AwaitPredecessor();
}

struct Manner {
  const char* name;
  SampleParams params;
};

SampleParams Params(float temperature, int32_t top_k, float top_p, float min_p, int32_t top_logprobs,
                    int32_t window) {
  SampleParams params = {};
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.repetition_penalty = window > 0 ? 1.1f : 1.0f;
  params.top_logprobs = top_logprobs;
  params.seed = 1;
  params.window_token_count = window;
  return params;
}

class Bench {
 public:
  Bench() {
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    cudaDeviceProp properties = {};
    CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
    device_ = properties.name;
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 1.0f);
    std::vector<float> flat(static_cast<size_t>(kMostSamples) * kVocabulary);
    for (float& logit : flat) logit = normal(random);
    std::vector<float> peaked = flat;  // the mass in some tens of tokens, as models that were trained have it
    for (float& logit : peaked) logit = 2 * logit + (random() % 8192 == 0 ? 14.0f : 0.0f);
    logits_[0] = ToDevice(flat);
    logits_[1] = ToDevice(peaked);
    std::vector<float> maxima(static_cast<size_t>(kMostSamples) * kVocabulary / 16);
    for (size_t tile = 0; tile < maxima.size(); ++tile) {
      maxima[tile] = *std::max_element(flat.begin() + static_cast<std::ptrdiff_t>(tile) * 16,
                                       flat.begin() + static_cast<std::ptrdiff_t>(tile + 1) * 16);
    }
    tile_maxima_ = ToDevice(maxima);
    std::vector<int32_t> window(64);
    for (int32_t& token : window) token = static_cast<int32_t>(random() % kVocabulary);
    window_ = ToDevice(window);
    tokens_ = ToDevice(std::vector<int32_t>(kMostSamples));
    device_results_ = ToDevice(std::vector<SampleResult>(kMostSamples));
    CHECK_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&host_results_), kMostSamples * sizeof(SampleResult),
                             cudaHostAllocMapped));
    CHECK_CUDA(cudaHostGetDevicePointer(reinterpret_cast<void**>(&mapped_results_), host_results_, 0));
    count_ = ToDevice(std::vector<int32_t>(1));
    params_ = ToDevice(std::vector<SampleParams>(kMostSamples));
  }

  const std::string& device() const { return device_; }

  // Microseconds of one of kNodes nodes.
  double Time(const std::function<void()>& node) {
    cudaGraphExec_t const graph = CaptureGraph(stream_, [&] {
      for (int i = 0; i < kNodes; ++i) node();
    });
    const double ms = MedianReplayMs(graph, stream_, kRounds);
    CHECK_CUDA(cudaGraphExecDestroy(graph));
    return ms * 1000 / kNodes;
  }

  double TimeEmpty(bool overlap) {
    const LaunchContext context = Context(overlap);
    return Time([&] { CHECK_CUDA(Launch(context, &EmptyKernel, dim3(1), dim3(32), 0)); });
  }

  enum class Output { kMapped, kDevice, kCopied };

  // group_blocks 0: what the library takes.
  double TimeSample(const SampleParams& params, int32_t samples, int32_t capacity, int logits,
                    int32_t group_blocks, Output output, bool tiles, bool overlap) {
    std::vector<SampleParams> all(kMostSamples, params);
    for (int32_t i = 0; i < kMostSamples; ++i) all[i].position = static_cast<uint64_t>(i);
    CHECK_CUDA(cudaMemcpy(params_, all.data(), all.size() * sizeof(SampleParams), cudaMemcpyHostToDevice));
    CHECK_CUDA(cudaMemcpy(count_, &samples, sizeof(samples), cudaMemcpyHostToDevice));
    SampleSetup setup;
    CHECK_CUDA(group_blocks == 0 ? PrepareSample(kVocabulary, capacity, &setup)
                                 : PrepareSampleWith(kVocabulary, capacity, group_blocks, &setup));
    void* workspace = nullptr;
    if (setup.workspace_bytes > 0) CHECK_CUDA(cudaMalloc(&workspace, setup.workspace_bytes));
    SampleArgs args;
    args.logits = logits_[logits];
    args.logits_stride = kVocabulary;
    args.vocabulary = kVocabulary;
    args.capacity = capacity;
    args.sample_count = count_;
    args.params = params_;
    args.window_tokens = window_;
    args.tile_maxima = tiles ? tile_maxima_ : nullptr;
    args.tile_tokens = 16;
    args.tokens = tokens_;
    args.results = output == Output::kMapped ? mapped_results_ : device_results_;
    args.workspace = workspace;
    const LaunchContext context = Context(overlap);
    const double time = Time([&] {
      CHECK_CUDA(LaunchSample(context, setup, args));
      if (output != Output::kCopied) return;
      CHECK_CUDA(cudaMemcpyAsync(host_results_, device_results_, samples * sizeof(SampleResult),
                                 cudaMemcpyDeviceToHost, stream_));
    });
    cudaFree(workspace);
    return time;
  }

 private:
  LaunchContext Context(bool overlap) const {
    LaunchContext context;
    context.stream = stream_;
    context.overlap = overlap;
    return context;
  }

  std::string device_;
  cudaStream_t stream_ = nullptr;
  float* logits_[2] = {};
  float* tile_maxima_ = nullptr;
  int32_t* window_ = nullptr;
  int32_t* tokens_ = nullptr;
  int32_t* count_ = nullptr;
  SampleParams* params_ = nullptr;
  SampleResult* device_results_ = nullptr;
  SampleResult* host_results_ = nullptr;
  SampleResult* mapped_results_ = nullptr;
};

class Report {
 public:
  Report(const RunOptions& options, const std::string& device)
      : lines_(options, device, "gpu/sample_bench") {}

  // greedy_us: the same without sampling, 0 where there is none.
  void Add(const std::string& name, double us, double greedy_us) {
    std::printf("%-52s %8.2f us", name.c_str(), us);
    if (greedy_us > 0) std::printf("  greedy and %6.2f", us - greedy_us);
    std::printf("\n");
    Line line;
    line.name = name;
    line.value = us;
    if (greedy_us > 0) {
      line.peer = "greedy, same run";
      line.ratio_to_peer = us / greedy_us;
    }
    lines_.Add(line);
  }

 private:
  JsonLines lines_;
};

const char* const kLogitsNames[] = {"flat", "peaked"};

void Measure(const RunOptions& options) {
  Bench bench;
  Report report(options, bench.device());
  const SampleParams greedy = Params(0, 0, 1, 0, -1, 0);
  const Manner manners[] = {{"top_p0.9", Params(0.8f, 0, 0.9f, 0, -1, 0)},
                            {"temperature", Params(0.8f, 0, 1, 0, -1, 0)},
                            {"min_p0.05", Params(0.8f, 0, 1, 0.05f, -1, 0)},
                            {"top_k40_top_p0.9", Params(0.8f, 40, 0.9f, 0, -1, 0)},
                            {"penalties64_top_p0.9", Params(0.8f, 0, 0.9f, 0, -1, 64)},
                            {"greedy_logprobs5", Params(0, 0, 1, 0, 5, 0)}};
  using Output = Bench::Output;
  for (const bool overlap : {true, false}) {
    const std::string launch = overlap ? "pdl" : "plain";
    const double empty = bench.TimeEmpty(overlap);
    report.Add("sample/" + launch + "/empty_node", empty, 0);
    for (const int32_t samples : {1, 16, 64}) {
      const std::string batch = "sample/" + launch + "/batch" + std::to_string(samples) + "/";
      const double base = bench.TimeSample(greedy, samples, samples, 0, 0, Output::kMapped, false, overlap);
      report.Add(batch + "greedy", base, 0);
      report.Add(batch + "greedy_by_tiles",
                 bench.TimeSample(greedy, samples, samples, 0, 0, Output::kMapped, true, overlap), base);
      report.Add(batch + "greedy_results_on_device",
                 bench.TimeSample(greedy, samples, samples, 0, 0, Output::kDevice, false, overlap), base);
      if (samples < 64) {
        report.Add(batch + "greedy_in_bucket_of_64",
                   bench.TimeSample(greedy, samples, 64, 0, 0, Output::kMapped, false, overlap), base);
      }
      if (!overlap) {
        report.Add(batch + "greedy_results_copied",
                   bench.TimeSample(greedy, samples, samples, 0, 0, Output::kCopied, false, overlap), base);
      }
      for (const Manner& manner : manners) {
        for (int logits = 0; logits < 2; ++logits) {
          report.Add(
              batch + manner.name + "/" + kLogitsNames[logits],
              bench.TimeSample(manner.params, samples, samples, logits, 0, Output::kMapped, false, overlap),
              base);
        }
      }
    }
  }
}

void Sweep(const RunOptions& options) {
  Bench bench;
  Report report(options, bench.device());
  const SampleParams greedy = Params(0, 0, 1, 0, -1, 0);
  const SampleParams top_p = Params(0.8f, 0, 0.9f, 0, -1, 0);
  for (const int32_t samples : {1, 4, 8, 16, 32, 64}) {
    for (const int32_t blocks : {16, 8, 4, 2}) {
      const std::string name =
          "sample/sweep/batch" + std::to_string(samples) + "/blocks" + std::to_string(blocks) + "/";
      const auto time = [&](const SampleParams& params, int logits) {
        return bench.TimeSample(params, samples, samples, logits, blocks, Bench::Output::kMapped, false,
                                true);
      };
      const double base = time(greedy, 0);
      report.Add(name + "greedy", base, 0);
      for (int logits = 0; logits < 2; ++logits) {
        report.Add(name + "top_p0.9/" + kLogitsNames[logits], time(top_p, logits), base);
      }
    }
  }
}

}  // namespace
}  // namespace tessera::gpu

int main(int argc, char** argv) {
  const tessera_bench::RunOptions options = tessera_bench::ParseRunOptions("sample_bench", argc, argv);
  if (options.sweep) {
    tessera::gpu::Sweep(options);
  } else {
    tessera::gpu::Measure(options);
  }
  return 0;
}
