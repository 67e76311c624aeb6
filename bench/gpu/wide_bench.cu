// The products of a whole decode step for 9 to 64 rows, attention left out: the module's kernels, in several
// ways of bringing weights, beside cuBLASLt's bare products, each one graph of all layers' nodes, as a share
// of the read limit measured in the same run. Then each kind of node alone.
//   wide_bench [8b|1b] [--rows N,N,...] [--quick] [--date DATE] [--commit COMMIT] [--out FILE.jsonl]
// Prints a table; --out appends one JSON object a line, of the default way. --quick: that way only.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench/gpu/cuda_bench.h"
#include "bench/gpu/json_lines.h"
#include "bench/gpu/library_products.h"
#include "bench/gpu/model_shapes.h"
#include "bench/gpu/read_limit.h"
#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {
namespace {

using tessera_bench::Allocate;
using tessera_bench::CaptureGraph;
using tessera_bench::FillFloats;
using tessera_bench::FillHalves;
using tessera_bench::FindModelShape;
using tessera_bench::JsonLines;
using tessera_bench::Line;
using tessera_bench::Magnitude;
using tessera_bench::MedianReplayMs;
using tessera_bench::ModelShape;
using tessera_bench::Rounds;
using tessera_bench::RunOptions;

constexpr Rounds kRounds = {0, 5, 1, 6};

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
  Bench(const ModelShape& shape, const WideSetup& setup) : shape_(shape), setup_(setup) {
    CHECK_CUDA(cudaGetDeviceProperties(&properties_, 0));
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    uint64_t total = Bytes(kHead);
    for (int kind = 0; kind < kHead; ++kind) total += Bytes(kind) * shape.layers;
    weights_ = Allocate<uint8_t>(total);
    FillHalves(weights_, total, Magnitude::kWeights, 77);
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
  double limit() const { return limit_; }  // bytes a second
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
    cudaGraphExec_t graph = CaptureGraph(stream_, [&] {
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
    return TimeGraph(graph);
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
    return TimeGraph(CaptureGraph(stream_, [&] {
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

  uint8_t* Vectors(size_t count) {
    uint8_t* const data = Allocate<uint8_t>(2 * count);
    FillHalves(data, 2 * count, Magnitude::kWeights, 5);
    return data;
  }
  float* Floats(size_t count, float value) {
    float* const data = Allocate<float>(count);
    FillFloats(data, count, value);
    return data;
  }
  void Reset() {
    FillFloats(hidden_, size_t{kMostWideRows} * shape_.hidden, 0.5f, stream_);
    FillFloats(squares2_, size_t{kMostWideRows} * kMostStreamBlocks, 8.0f, stream_);
    FillHalves(x2_, size_t{kMostWideRows} * shape_.hidden * 2, Magnitude::kWeights, 5, stream_);
    CHECK_CUDA(cudaMemsetAsync(logits_, 0xFF, size_t{kMostWideRows} * shape_.vocabulary * 4, stream_));
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

  // Milliseconds; destroys the graph.
  double TimeGraph(cudaGraphExec_t graph) {
    const double ms = MedianReplayMs(graph, stream_, kRounds);
    CHECK_CUDA(cudaGraphExecDestroy(graph));
    return ms;
  }

  const ModelShape shape_;
  const WideSetup setup_;
  cudaDeviceProp properties_ = {};
  cudaStream_t stream_ = nullptr;
  const double limit_ = tessera_bench::DeviceReadGBps() * 1e9;
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
  const ModelShape* shape = FindModelShape("8b");
  RunOptions options;
  std::vector<int> row_counts = {16, 32, 64};
  std::string command = "wide_bench";
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    const int first = i;
    const std::string word = argv[i];
    if (word == "--quick") {
      quick = true;
    } else if (word == "--rows" && i + 1 < argc) {
      row_counts.clear();
      std::string list = argv[++i];
      for (char* at = list.data(); *at != 0; at += *at == ',') {
        row_counts.push_back(static_cast<int>(std::strtol(at, &at, 10)));
        if (*at != ',' && *at != 0) return 2;
      }
    } else if (FindModelShape(word) != nullptr) {
      shape = FindModelShape(word);
    } else if (!tessera_bench::TakeRunOption(argc, argv, &i, &options)) {
      std::fprintf(stderr, "what is %s?\n", word.c_str());
      return 2;
    }
    for (int k = first; k <= i; ++k) command += std::string(" ") + argv[k];
  }
  WideSetup setup;
  CHECK_CUDA(PrepareWideKernels(&setup));
  Bench bench(*shape, setup);
  LibraryProducts library;
  std::printf("%s, %s: read limit %.3f TB/s, %d clusters of 4, %s\n", bench.device().c_str(), shape->name,
              bench.limit() / 1e12, setup.clusters,
              library.is_library() ? "cuBLASLt" : "no cuBLASLt: the module's own product instead");
  const std::vector<int> all = {kQkv, kOut, kGateUp, kDown, kHead};
  JsonLines lines(options, bench.device(), command);
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
    Line line;
    line.name = std::string("wide_linear/") + shape->name + "/rows_" + std::to_string(rows);
    line.value = own;
    line.digits = 4;
    line.unit = "ms";
    line.share_of_limit = share(all, own);
    line.peer = "cuBLASLt products alone";
    line.ratio_to_peer = peer / own;
    line.ratio_digits = 4;
    lines.Add(line);
  }
  return 0;
}
