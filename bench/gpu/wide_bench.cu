// The products of a whole decode step for 9 to 64 rows, attention left out: the module's kernels, in several
// ways of bringing weights, beside cuBLASLt's bare products, each one graph of all layers' nodes, as a share
// of the read limit measured in the same run. Then each kind of node alone.
//   wide_bench [8b|1b] [--rows N,N,...] [--quick] [--date DATE] [--commit COMMIT] [--out FILE.jsonl]
// Prints a table; --out appends one JSON object a line, of the default way. --quick: that way only.
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench/gpu/library_products.h"
#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {
namespace {

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
#define CHECK_CUDA(call) Check(call, #call)

struct Shape {
  const char* name;
  int hidden, layers, heads, kv_heads, head_size, ffn, vocabulary;
};
constexpr Shape kShapes[] = {{"8b", 4096, 32, 32, 8, 128, 14336, 128256},
                             {"1b", 2048, 16, 32, 8, 64, 8192, 128256}};

__global__ void FillRandom(uint4* data, int64_t count, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t state = static_cast<uint32_t>(i) * 2654435761u + seed;
    uint32_t words[4];
    for (uint32_t& word : words) {
      state ^= state << 13;
      state ^= state >> 17;
      state ^= state << 5;
      word = (state & 0x80FF80FFu) | 0x3C003C00u;  // two BF16 of magnitude 2^-7 to 2^-5
    }
    data[i] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

__global__ void FillFloats(float* data, int64_t count, float value) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    data[i] = value;
  }
}

__global__ void ReadAll(const uint4* data, int64_t count, uint32_t* sink) {
  uint32_t sum = 0;
#pragma unroll 8
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint4 v = __ldcs(data + i);
    sum += v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x12345678u) *sink = sum;
}

template <typename T>
T* Allocate(size_t count) {
  void* data = nullptr;
  CHECK_CUDA(cudaMalloc(&data, count * sizeof(T)));
  return static_cast<T*>(data);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

enum Kind { kQkv, kOut, kGateUp, kDown, kHead, kKinds };
constexpr const char* kKindNames[] = {"qkv", "out", "gate-up", "down", "head"};

struct Way {
  const char* name;
  int in_flight_kb;
  bool release_early;
  int shared_kb;
  int ahead_kb;
  int pace_ns;
};
constexpr Way kWays[] = {
    {"default", 64, true, 227, 0, 0},
    {"48 KB in flight", 48, true, 227, 0, 0},
    {"96 KB in flight", 96, true, 227, 0, 0},
    {"128 KB in flight", 128, true, 227, 0, 0},
    {"whole ring in flight", 1024, true, 227, 0, 0},
    {"64 KB, 64 KB ahead", 64, true, 227, 64, 240},
    {"64 KB, 128 KB ahead", 64, true, 227, 128, 240},
    {"96 KB, 128 KB ahead, slow", 96, true, 227, 128, 350},
    {"113 KB of shared memory, late release", 64, false, 113, 0, 0},
    {"113 KB, late release, all in flight", 1024, false, 113, 0, 0},
    {"113 KB, late release, 64 KB ahead", 64, false, 113, 64, 240},
};

class Bench {
 public:
  Bench(const Shape& shape, const WideSetup& setup) : shape_(shape), setup_(setup) {
    CHECK_CUDA(cudaGetDeviceProperties(&properties_, 0));
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    MeasureLimit();
    uint64_t total = Bytes(kHead);
    for (int kind = 0; kind < kHead; ++kind) total += Bytes(kind) * shape.layers;
    weights_ = Allocate<uint8_t>(total);
    Fill(weights_, total, 77);
    const size_t rows = kMostWideRows;
    const size_t q_size = size_t(shape.heads) * shape.head_size;
    const size_t qkv_size = q_size + 2 * size_t(shape.kv_heads) * shape.head_size;
    x1_ = Vectors(rows * shape.hidden), x2_ = Vectors(rows * shape.hidden), q_ = Vectors(rows * q_size);
    context_ = Vectors(rows * q_size), act_ = Vectors(rows * shape.ffn);
    both_ = Vectors(rows * std::max<size_t>(2 * size_t(shape.ffn), qkv_size));
    hidden_ = Allocate<float>(rows * shape.hidden);
    logits_ = Allocate<float>(rows * shape.vocabulary);
    norm_ = Floats(shape.hidden, 1.0f);
    squares1_ = Floats(kMostStreamBlocks * rows, 8.0f);
    squares2_ = Floats(kMostStreamBlocks * rows, 8.0f);
    rotary_ = reinterpret_cast<float2*>(Floats(64 * shape.head_size, 0.7f));
    pages_ = Allocate<uint8_t>(rows * 16 * 4 * shape.kv_heads * shape.head_size);
    positions_ = Allocate<int32_t>(rows), sequences_ = Allocate<int32_t>(rows);
    std::vector<int32_t> ids(rows);
    for (size_t i = 0; i < rows; ++i) ids[i] = static_cast<int32_t>(i);
    CHECK_CUDA(cudaMemset(positions_, 0, rows * 4));
    CHECK_CUDA(cudaMemcpy(sequences_, ids.data(), rows * 4, cudaMemcpyHostToDevice));
    CHECK_CUDA(cudaDeviceSynchronize());
  }

  const std::string device() const { return properties_.name; }
  double limit() const { return limit_; }
  double GraphBytes(const std::vector<int>& kinds) const {
    double bytes = 0;
    for (const int kind : kinds) bytes += double(Bytes(kind)) * (kind == kHead ? 1 : shape_.layers);
    return bytes;
  }

  // Milliseconds of all nodes of these kinds. `like`: the bits of the logits, or empty to be filled.
  double TimeOwn(const std::vector<int>& kinds, int rows, const Way& way, std::vector<float>* like,
                 bool* alike) {
    WideSetup setup = setup_;
    setup.in_flight_bytes = way.in_flight_kb * 1024;
    setup.release_early = way.release_early;
    setup.shared_bytes = std::min(setup.shared_bytes, way.shared_kb * 1024);
    setup.ahead_bytes = way.ahead_kb * 1024;
    if (way.pace_ns > 0) setup.pace_ns = way.pace_ns;
    std::vector<WideNode> nodes;
    ForNodes(kinds, [&](int kind, uint8_t* weight) { nodes.push_back(Node(kind, weight, rows)); });
    for (const WideNode& node : nodes) {
      if (!WideFits(setup, ElementType::kBF16, node)) return 0;
    }
    cudaGraphExec_t graph = Capture([&] {
      for (size_t i = 0; i < nodes.size(); ++i) {
        const LaunchContext launch{stream_, properties_.multiProcessorCount, i > 0};
        CHECK_CUDA(LaunchWideLinear(launch, setup, ElementType::kBF16, nodes[i],
                                    i + 1 < nodes.size() ? &nodes[i + 1] : nullptr, i > 0));
      }
    });
    if (like != nullptr) {
      Reset();
      CHECK_CUDA(cudaGraphLaunch(graph, stream_));
      CHECK_CUDA(cudaStreamSynchronize(stream_));
      std::vector<float> logits(size_t(rows) * shape_.vocabulary);
      CHECK_CUDA(cudaMemcpy(logits.data(), logits_, logits.size() * 4, cudaMemcpyDeviceToHost));
      if (like->empty()) *like = logits;
      *alike = std::memcmp(like->data(), logits.data(), logits.size() * 4) == 0;
    }
    return Time(graph);
  }

  double TimeLibrary(const std::vector<int>& kinds, int rows, LibraryProducts* library) {
    const LaunchContext launch{stream_, properties_.multiProcessorCount, false};
    struct Product {
      int index;
      const void *x, *weight;
      void* out;
    };
    std::vector<Product> products;
    ForNodes(kinds, [&](int kind, uint8_t* weight) {
      const int q_size = shape_.heads * shape_.head_size;
      const int kv_size = shape_.kv_heads * shape_.head_size;
      const void* const x = kind == kOut ? context_ : kind == kDown ? act_ : kind == kGateUp ? x1_ : x2_;
      const int columns = kind == kOut ? q_size : kind == kDown ? shape_.ffn : shape_.hidden;
      const int outputs = kind == kQkv      ? q_size + 2 * kv_size
                          : kind == kGateUp ? 2 * shape_.ffn
                          : kind == kHead   ? shape_.vocabulary
                                            : shape_.hidden;
      const bool adds = kind == kOut || kind == kDown;
      void* const out = adds            ? static_cast<void*>(hidden_)
                        : kind == kHead ? static_cast<void*>(logits_)
                                        : static_cast<void*>(both_);
      const int index =
          library->Prepare(launch, rows, outputs, columns, adds || kind == kHead, adds, x, weight, out);
      products.push_back({index, x, weight, out});
    });
    CHECK_CUDA(cudaStreamSynchronize(stream_));
    return Time(Capture([&] {
      for (const Product& p : products) library->Run(p.index, launch, p.x, p.weight, rows, p.out);
    }));
  }

 private:
  uint64_t Bytes(int kind) const {
    const uint64_t hidden = shape_.hidden, q_size = uint64_t(shape_.heads) * shape_.head_size;
    switch (kind) {
      case kQkv:
        return 2 * hidden * (q_size + 2 * uint64_t(shape_.kv_heads) * shape_.head_size);
      case kOut:
        return 2 * hidden * q_size;
      case kGateUp:
        return 4 * hidden * shape_.ffn;
      case kDown:
        return 2 * hidden * shape_.ffn;
      default:
        return 2 * hidden * shape_.vocabulary;
    }
  }

  void Fill(uint8_t* data, uint64_t bytes, uint32_t seed) {
    FillRandom<<<1024, 256>>>(reinterpret_cast<uint4*>(data), static_cast<int64_t>(bytes / 16), seed);
  }
  uint8_t* Vectors(size_t count) {
    uint8_t* const data = Allocate<uint8_t>(2 * count);
    Fill(data, 2 * count, 5);
    return data;
  }
  float* Floats(size_t count, float value) {
    float* const data = Allocate<float>(count);
    FillFloats<<<64, 256>>>(data, static_cast<int64_t>(count), value);
    return data;
  }
  void Reset() {
    FillFloats<<<64, 256, 0, stream_>>>(hidden_, int64_t{kMostWideRows} * shape_.hidden, 0.5f);
    FillFloats<<<64, 256, 0, stream_>>>(squares2_, int64_t{kMostWideRows} * kMostStreamBlocks, 8.0f);
    FillRandom<<<256, 256, 0, stream_>>>(reinterpret_cast<uint4*>(x2_),
                                         int64_t{kMostWideRows} * shape_.hidden / 8, 5);
    CHECK_CUDA(cudaMemsetAsync(logits_, 0xFF, size_t{kMostWideRows} * shape_.vocabulary * 4, stream_));
  }

  void MeasureLimit() {
    const int64_t bytes = int64_t{4} << 30;
    auto* const data = Allocate<uint8_t>(bytes);
    auto* const sink = Allocate<uint32_t>(1);
    Fill(data, bytes, 3);
    CHECK_CUDA(cudaDeviceSynchronize());
    cudaEvent_t begin, end;
    CHECK_CUDA(cudaEventCreate(&begin));
    CHECK_CUDA(cudaEventCreate(&end));
    std::vector<double> rates;
    for (int i = 0; i < 12; ++i) {
      CHECK_CUDA(cudaEventRecord(begin, stream_));
      ReadAll<<<properties_.multiProcessorCount * 8, 256, 0, stream_>>>(reinterpret_cast<uint4*>(data),
                                                                        bytes / 16, sink);
      CHECK_CUDA(cudaEventRecord(end, stream_));
      CHECK_CUDA(cudaEventSynchronize(end));
      float ms = 0;
      CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
      if (i >= 2) rates.push_back(bytes / (ms * 1e-3));
    }
    limit_ = Median(rates);
    CHECK_CUDA(cudaFree(data));
    CHECK_CUDA(cudaFree(sink));
  }

  // Calls `call` with each node's kind and weights, in the step's order.
  void ForNodes(const std::vector<int>& kinds, const std::function<void(int, uint8_t*)>& call) {
    const auto has = [&](int kind) { return std::find(kinds.begin(), kinds.end(), kind) != kinds.end(); };
    uint8_t* at = weights_;
    for (int layer = 0; layer < shape_.layers; ++layer) {
      for (int kind = 0; kind < kHead; ++kind) {
        if (has(kind)) call(kind, at);
        at += Bytes(kind);
      }
    }
    if (has(kHead)) call(kHead, at);
  }

  WideNode Node(int kind, uint8_t* weight, int rows) const {
    WideNode wide;
    StreamNode& node = wide.node;
    const int q_size = shape_.heads * shape_.head_size;
    const int kv_size = shape_.kv_heads * shape_.head_size;
    const int parts = WideSquareParts(setup_, shape_.hidden);
    node.weight = weight;
    node.input = {x2_, rows, shape_.hidden, squares2_, parts, 1e-5f};
    switch (kind) {
      case kQkv: {
        node.kind = StreamKind::kQkv;
        node.outputs = q_size + 2 * kv_size;
        StreamQkv& qkv = wide.qkv;
        qkv.query = weight;
        qkv.key = weight + uint64_t{2} * shape_.hidden * q_size;
        qkv.value = weight + uint64_t{2} * shape_.hidden * (q_size + kv_size);
        qkv.heads = shape_.heads, qkv.kv_heads = shape_.kv_heads, qkv.head_size = shape_.head_size;
        qkv.rotary_dimensions = shape_.head_size;
        qkv.halves = true;
        qkv.rotary = rotary_;
        qkv.q = q_;
        qkv.cache.data = pages_;
        qkv.cache.block_tokens = 16, qkv.cache.kv_heads = shape_.kv_heads;
        qkv.cache.head_size = shape_.head_size;
        qkv.cache.row_bytes = 2 * shape_.head_size;
        qkv.cache.value_offset_bytes = int64_t{16} * kv_size * 2;
        qkv.cache.block_bytes = 2 * qkv.cache.value_offset_bytes;
        qkv.step.positions = positions_, qkv.step.row_sequence = sequences_;
        qkv.step.block_table = sequences_, qkv.step.table_stride = 1;
        break;
      }
      case kOut:
      case kDown:
        node.kind = StreamKind::kResidual;
        node.input = {
            kind == kOut ? context_ : act_, rows, kind == kOut ? q_size : shape_.ffn, nullptr, 0, 0};
        node.outputs = shape_.hidden;
        node.hidden = {hidden_, norm_, kind == kOut ? x1_ : x2_, kind == kOut ? squares1_ : squares2_};
        break;
      case kGateUp:
        node.kind = StreamKind::kGateUp;
        node.input.x = x1_;
        node.input.square_sums = squares1_;
        node.up = weight + uint64_t{2} * shape_.hidden * shape_.ffn;
        node.outputs = shape_.ffn;
        node.out = act_;
        break;
      default:
        node.kind = StreamKind::kHead;
        node.outputs = shape_.vocabulary;
        node.out = logits_;
        break;
    }
    return wide;
  }

  cudaGraphExec_t Capture(const std::function<void()>& launches) {
    CHECK_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    launches();
    cudaGraph_t graph = nullptr;
    CHECK_CUDA(cudaStreamEndCapture(stream_, &graph));
    cudaGraphExec_t executable = nullptr;
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphDestroy(graph));
    return executable;
  }

  // The median of five rounds of six replays; destroys the graph.
  double Time(cudaGraphExec_t graph) {
    cudaEvent_t begin, end;
    CHECK_CUDA(cudaEventCreate(&begin));
    CHECK_CUDA(cudaEventCreate(&end));
    std::vector<double> times;
    for (int round = 0; round < 5; ++round) {
      CHECK_CUDA(cudaGraphLaunch(graph, stream_));
      CHECK_CUDA(cudaEventRecord(begin, stream_));
      for (int i = 0; i < 6; ++i) CHECK_CUDA(cudaGraphLaunch(graph, stream_));
      CHECK_CUDA(cudaEventRecord(end, stream_));
      CHECK_CUDA(cudaEventSynchronize(end));
      float ms = 0;
      CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
      times.push_back(ms / 6);
    }
    CHECK_CUDA(cudaEventDestroy(begin));
    CHECK_CUDA(cudaEventDestroy(end));
    CHECK_CUDA(cudaGraphExecDestroy(graph));
    return Median(times);
  }

  const Shape shape_;
  const WideSetup setup_;
  cudaDeviceProp properties_ = {};
  cudaStream_t stream_ = nullptr;
  double limit_ = 0;  // bytes a second
  uint8_t *weights_, *x1_, *x2_, *q_, *context_, *act_, *both_, *pages_;
  float *hidden_, *logits_, *norm_, *squares1_, *squares2_;
  float2* rotary_;
  int32_t *positions_, *sequences_;
};

}  // namespace
}  // namespace tessera::gpu

int main(int argc, char** argv) {
  using namespace tessera::gpu;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const Shape* shape = &kShapes[0];
  std::vector<int> row_counts = {16, 32, 64};
  std::string date, commit, out, command = "wide_bench";
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    command += " " + word;
    const auto value = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (word == "--quick") {
      quick = true;
    } else if (word == "--date") {
      date = value();
    } else if (word == "--commit") {
      commit = value();
    } else if (word == "--out") {
      out = value();
    } else if (word == "--rows") {
      row_counts.clear();
      std::string list = value();
      for (char* at = list.data(); *at != 0; at += *at == ',') {
        row_counts.push_back(static_cast<int>(std::strtol(at, &at, 10)));
        if (*at != ',' && *at != 0) return 2;
      }
    } else if (word == "1b" || word == "8b") {
      for (const Shape& s : kShapes)
        if (word == s.name) shape = &s;
    } else {
      std::fprintf(stderr, "what is %s?\n", word.c_str());
      return 2;
    }
  }
  WideSetup setup;
  CHECK_CUDA(PrepareWideKernels(&setup));
  Bench bench(*shape, setup);
  LibraryProducts library;
  std::printf("%s, %s: read limit %.3f TB/s, %d clusters of 4, %s\n", bench.device().c_str(), shape->name,
              bench.limit() / 1e12, setup.clusters,
              library.is_library() ? "cuBLASLt" : "no cuBLASLt: the module's own product instead");
  const std::vector<int> all = {kQkv, kOut, kGateUp, kDown, kHead};
  std::FILE* const file = out.empty() ? nullptr : std::fopen(out.c_str(), "a");
  for (const int rows : row_counts) {
    const auto share = [&](const std::vector<int>& kinds, double ms) {
      return ms > 0 ? bench.GraphBytes(kinds) / bench.limit() * 1e3 / ms : 0;
    };
    const double peer = bench.TimeLibrary(all, rows, &library);
    std::printf("%d rows\n  %-40s %8.4f ms  share %.3f\n", rows, "the library, products alone", peer,
                share(all, peer));
    std::vector<float> like;
    double own = 0;
    for (const Way& way : kWays) {
      bool alike = false;
      const double ms = bench.TimeOwn(all, rows, way, &like, &alike);
      std::printf("  %-40s %8.4f ms  share %.3f  %s\n", way.name, ms, share(all, ms),
                  ms == 0 ? "does not fit"
                  : alike ? "same bits"
                          : "OTHER BITS");
      if (own == 0) own = ms;
      if (quick) break;
    }
    for (int kind = 0; kind < kKinds; ++kind) {
      const double ms = bench.TimeOwn({kind}, rows, kWays[0], nullptr, nullptr);
      const double ahead = bench.TimeOwn({kind}, rows, kWays[6], nullptr, nullptr);
      const double theirs = bench.TimeLibrary({kind}, rows, &library);
      std::printf("  %-8s alone: share %.3f, with 128 KB ahead %.3f, the library %.3f\n", kKindNames[kind],
                  share({kind}, ms), share({kind}, ahead), share({kind}, theirs));
    }
    if (file == nullptr) continue;
    std::fprintf(file,
                 "{\"name\": \"wide_linear/%s/rows_%d\", \"value\": %.4f, \"unit\": \"ms\", "
                 "\"share_of_limit\": %.4f, \"peer\": \"cuBLASLt products alone\", \"ratio_to_peer\": %.4f, "
                 "\"device\": \"%s\", \"date\": \"%s\", \"commit\": \"%s\", \"command\": \"%s\"}\n",
                 shape->name, rows, own, share(all, own), peer / own, bench.device().c_str(), date.c_str(),
                 commit.c_str(), command.c_str());
  }
  if (file != nullptr) std::fclose(file);
  return 0;
}
