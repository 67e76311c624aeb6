// The experiment that decides how the small-batch chain is built: a whole step's nodes at real shapes with
// random weights, one graph, in many variants of ring, release and prefetch; each as a share of the read
// limit measured in the same run. Attention is a node that reads as many bytes as the cache of one sequence
// has.
//   chain_bench SHAPE [ROWS [CONTEXT]]
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {
namespace {

#define CHECK_CUDA(call)                                                                             \
  do {                                                                                               \
    const cudaError_t error = (call);                                                                \
    if (error != cudaSuccess) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error)); \
      std::exit(1);                                                                                  \
    }                                                                                                \
  } while (false)

struct Shape {
  const char* name;
  int hidden, layers, heads, kv_heads, head_size, ffn, vocabulary;
};
constexpr Shape kShapes[] = {{"1b", 2048, 16, 32, 8, 64, 8192, 128256},
                             {"8b", 4096, 32, 32, 8, 128, 14336, 128256}};

__global__ void FillRandom(uint4* data, int64_t count, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t state = static_cast<uint32_t>(i) * 2654435761u + seed;
    uint32_t words[4];
    for (uint32_t& word : words) {
      state ^= state << 13;
      state ^= state >> 17;
      state ^= state << 5;
      // two bf16 of magnitude 2^-7 to 2^-5
      word = (state & 0x80FF80FFu) | 0x3C003C00u;
    }
    data[i] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

__global__ void FillFloats(float* data, int64_t count, float value) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x)
    data[i] = value;
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

// In attention's place: reads the cache before it waits, and writes the context.
__global__ void __launch_bounds__(512)
    ReadCache(const uint4* cache, int64_t count, const __nv_bfloat16* q, __nv_bfloat16* context, int size) {
  ReleaseSuccessor();
  uint32_t sum = 0;
  uint4 held[8];
  int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
#pragma unroll
  for (int k = 0; k < 8; ++k) held[k] = i + k * stride < count ? __ldcs(cache + i + k * stride) : uint4{};
#pragma unroll
  for (int k = 0; k < 8; ++k) sum += held[k].x ^ held[k].y ^ held[k].z ^ held[k].w;
  for (int64_t j = i + 8 * stride; j < count; j += stride) sum += __ldcs(cache + j).x;
  AwaitPredecessor();
  for (int j = i; j < size; j += stride) context[j] = sum == 0x12345678u ? __nv_bfloat16(0.0f) : q[j];
}

struct Variant {
  const char* name;
  bool overlap;
  int in_flight;
  int in_flight_ahead;
  int most_ahead = 0;
  int pace_ns = 330;
  int nodes = 4;  // of a chain
};

template <typename T>
T* Allocate(size_t count) {
  T* data = nullptr;
  CHECK_CUDA(cudaMalloc(reinterpret_cast<void**>(&data), count * sizeof(T)));
  return data;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Chain {
  Shape shape;
  int rows, context, sm_count;
  cudaStream_t stream;
  uint8_t* weights;  // all layers' one after the other
  std::vector<uint64_t> at;
  uint8_t *q, *x, *ctx, *act;
  float *hidden, *norm, *squares, *logits;
  uint4* cache;
  float2* rotary;
  uint8_t* pages;
  int32_t *positions, *sequences, *table;

  struct Node {
    int kind;
    const void *w0, *w1;
  };  // 0 qkv 1 attention 2 out 3 gate-up 4 down 5 head
  std::vector<Node> nodes;
  uint64_t bytes = 0;
  unsigned long long* ledger = nullptr;
  uint8_t* sets = nullptr;
  size_t set_bytes = 0;

  uint64_t BytesOf(int kind) const {
    const uint64_t h = shape.hidden, q_size = uint64_t(shape.heads) * shape.head_size;
    switch (kind) {
      case 0:
        return 2 * h * (q_size + 2 * uint64_t(shape.kv_heads) * shape.head_size);
      case 2:
        return 2 * h * q_size;
      case 3:
        return 4 * h * shape.ffn;
      case 4:
        return 2 * h * shape.ffn;
      case 5:
        return 2 * h * shape.vocabulary;
    }
    return 0;
  }
  uint64_t CacheBytes() const { return uint64_t(rows) * context * 4 * shape.kv_heads * shape.head_size; }

  void Make() {
    uint64_t total = 0;
    for (int l = 0; l < shape.layers; ++l)
      for (int kind : {0, 2, 3, 4}) total += BytesOf(kind);
    total += BytesOf(5);
    weights = Allocate<uint8_t>(total);
    FillRandom<<<1024, 256>>>(reinterpret_cast<uint4*>(weights), total / 16, 77);
    bytes = total + CacheBytes() * shape.layers;
    uint8_t* place = weights;
    for (int l = 0; l < shape.layers; ++l) {
      for (int kind = 0; kind < 5; ++kind) {
        nodes.push_back({kind, place, place + BytesOf(kind) / 2});
        place += BytesOf(kind);
      }
    }
    nodes.push_back({5, place, nullptr});
    const size_t wide = size_t(kMostStreamedRows) * std::max(shape.ffn, shape.heads * shape.head_size) * 2;
    q = Allocate<uint8_t>(wide), x = Allocate<uint8_t>(wide), ctx = Allocate<uint8_t>(wide),
    act = Allocate<uint8_t>(wide);
    for (uint8_t* p : {q, x, ctx, act}) FillRandom<<<256, 256>>>(reinterpret_cast<uint4*>(p), wide / 16, 5);
    hidden = Allocate<float>(size_t(kMostStreamedRows) * shape.hidden);
    norm = Allocate<float>(shape.hidden);
    squares = Allocate<float>(kMostStreamBlocks * kMostStreamedRows);
    logits = Allocate<float>(size_t(kMostStreamedRows) * shape.vocabulary);
    FillFloats<<<64, 256>>>(hidden, size_t(kMostStreamedRows) * shape.hidden, 0.5f);
    FillFloats<<<64, 256>>>(norm, shape.hidden, 1.0f);
    FillFloats<<<64, 256>>>(squares, kMostStreamBlocks * kMostStreamedRows, 8.0f);
    cache = reinterpret_cast<uint4*>(Allocate<uint8_t>(CacheBytes() * shape.layers));
    FillRandom<<<1024, 256>>>(cache, CacheBytes() * shape.layers / 16, 9);
    rotary = Allocate<float2>(size_t(64) * shape.head_size);
    FillFloats<<<64, 256>>>(reinterpret_cast<float*>(rotary), size_t(128) * shape.head_size, 0.7f);
    pages = Allocate<uint8_t>(size_t(kMostStreamedRows) * 16 * 4 * shape.kv_heads * shape.head_size);
    positions = Allocate<int32_t>(64), sequences = Allocate<int32_t>(64), table = Allocate<int32_t>(64);
    CHECK_CUDA(cudaMemset(positions, 0, 256));
    std::vector<int32_t> ids(64);
    for (int i = 0; i < 64; ++i) ids[i] = i;
    CHECK_CUDA(cudaMemcpy(sequences, ids.data(), 256, cudaMemcpyHostToDevice));
    CHECK_CUDA(cudaMemcpy(table, ids.data(), 256, cudaMemcpyHostToDevice));
    CHECK_CUDA(cudaDeviceSynchronize());
  }

#ifdef TESSERA_LEDGER
  // Times in microseconds after the mean moment at which the node before had its last chunk.
  void PrintLedger() const {
    std::vector<unsigned long long> stamps(nodes.size() * 160 * 8);
    CHECK_CUDA(cudaMemcpy(stamps.data(), ledger, stamps.size() * 8, cudaMemcpyDeviceToHost));
    const char* const kinds[] = {"qkv", "attention", "out", "gate-up", "down", "head"};
    const char* const names[] = {"start",      "waited", "input",     "first chunk",
                                 "last chunk", "end",    "last issue"};
    for (int kind : {0, 2, 3, 4, 5}) {
      std::printf("  %-8s", kinds[kind]);
      for (int what : {0, 1, 2, 3, 6, 4, 5}) {
        double mean = 0, least = 0, most = 0;
        int count = 0;
        for (size_t i = 1; i < nodes.size(); ++i) {
          if (nodes[i].kind != kind) continue;
          size_t before = i - 1;
          while (nodes[before].kind == 1) --before;
          double origin = 0;
          for (int b = 0; b < sm_count; ++b)
            origin += double(stamps[(before * 160 + b) * 8 + 4] - stamps[before * 1280]) / sm_count;
          origin += double(stamps[before * 1280]);
          double sum = 0, low = 1e30, high = -1e30;
          for (int b = 0; b < sm_count; ++b) {
            const double t = (double(stamps[(i * 160 + b) * 8 + what]) - origin) * 1e-3;
            sum += t / sm_count, low = std::min(low, t), high = std::max(high, t);
          }
          mean += sum, least += low, most += high, ++count;
        }
        std::printf(" | %s %.1f (%.1f %.1f)", names[what], mean / count, least / count, most / count);
      }
      std::printf("\n");
    }
  }
#endif

  cudaGraphExec_t Capture(const Variant& v) {
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    LaunchContext context{stream, sm_count, false};
    StreamChain chain;
    size_t after = 0;  // the node behind the chain
    const int q_size = shape.heads * shape.head_size;
    int set = 0;  // of the buffers that chains hand on in; the next chain has the other
    const auto x1 = [&] { return sets + set * set_bytes; };
    const auto x2 = [&] { return x1() + size_t(2) * rows * shape.hidden; };
    const auto act = [&] { return x2() + size_t(2) * rows * shape.hidden; };
    const auto squares1 = [&] { return reinterpret_cast<float*>(act() + size_t(2) * rows * shape.ffn); };
    const auto squares2 = [&] { return squares1() + kMostStreamBlocks * kMostStreamedRows; };
    const auto flush = [&] {
      if (chain.count == 0) return;
      chain.in_flight = v.in_flight;
      chain.in_flight_ahead = v.in_flight_ahead;
      chain.most_ahead = v.most_ahead;
      chain.pace_ns = v.pace_ns;
      chain.next_count = 0;
      for (size_t j = after; j < nodes.size() && j < after + 3 && chain.next_count < 2; ++j) {
        if (nodes[j].kind == 1) continue;
        StreamNode& next = chain.next[chain.next_count++];
        next.kind = nodes[j].kind == 3 ? StreamKind::kGateUp : StreamKind::kResidual;
        next.weight = nodes[j].w0, next.up = nodes[j].w1;
        next.outputs = nodes[j].kind == 3 ? shape.ffn : shape.hidden;
        next.input.columns = nodes[j].kind == 2 ? q_size : nodes[j].kind == 4 ? shape.ffn : shape.hidden;
      }
      set ^= 1;
      chain.poison = x1();
      chain.poison_bytes = set_bytes;
      CHECK_CUDA(LaunchStreamChain(context, ElementType::kBF16, chain));
      context.overlap = v.overlap;
      chain.count = 0;
    };
    const int parts = StreamBlocks(sm_count);
    for (size_t i = 0; i < nodes.size(); ++i) {
      const Node& n = nodes[i];
      after = i;
      if (n.kind == 1) {
        flush();
        CHECK_CUDA(Launch(context, &ReadCache, dim3(sm_count), dim3(512), 0,
                          cache + CacheBytes() / 16 * (i / 5), static_cast<int64_t>(CacheBytes() / 16),
                          reinterpret_cast<const __nv_bfloat16*>(q), reinterpret_cast<__nv_bfloat16*>(ctx),
                          rows * q_size));
        continue;
      }
      if (chain.count == v.nodes) flush();
#ifdef TESSERA_LEDGER
      if (chain.count == 0) chain.ledger = ledger + i * 160 * 8;
#endif
      StreamNode& node = chain.nodes[chain.count++];
      node = {};
      node.input = {n.kind == 3             ? x1()
                    : n.kind == 0 && i == 0 ? x
                                            : x2(),
                    rows,
                    shape.hidden,
                    n.kind == 3             ? squares1()
                    : n.kind == 0 && i == 0 ? squares
                                            : squares2(),
                    parts,
                    1e-5f};
      node.weight = n.w0;
      switch (n.kind) {
        case 0: {
          node.kind = StreamKind::kQkv;
          node.outputs = q_size + 2 * shape.kv_heads * shape.head_size;
          StreamQkv& qkv = chain.qkv;
          const auto* base = static_cast<const uint8_t*>(n.w0);
          qkv.query = base;
          qkv.key = base + uint64_t(2) * shape.hidden * q_size;
          qkv.value = base + uint64_t(2) * shape.hidden * (q_size + shape.kv_heads * shape.head_size);
          qkv.heads = shape.heads, qkv.kv_heads = shape.kv_heads, qkv.head_size = shape.head_size;
          qkv.rotary_dimensions = shape.head_size;
          qkv.rotary = rotary;
          qkv.q = q;
          qkv.cache.data = pages;
          qkv.cache.block_tokens = 16, qkv.cache.kv_heads = shape.kv_heads,
          qkv.cache.head_size = shape.head_size;
          qkv.cache.row_bytes = 2 * shape.head_size;
          qkv.cache.value_offset_bytes = 16 * int64_t(shape.kv_heads) * 2 * shape.head_size;
          qkv.cache.block_bytes = 2 * qkv.cache.value_offset_bytes;
          qkv.step.positions = positions, qkv.step.row_sequence = sequences, qkv.step.block_table = table,
          qkv.step.table_stride = 1;
          break;
        }
        case 2:
        case 4:
          node.kind = StreamKind::kResidual;
          node.input = {n.kind == 2 ? ctx : act(), rows, n.kind == 2 ? q_size : shape.ffn, nullptr, 0, 0};
          node.outputs = shape.hidden;
          node.hidden = {hidden, norm, n.kind == 2 ? x1() : x2(), n.kind == 2 ? squares1() : squares2()};
          break;
        case 3:
          node.kind = StreamKind::kGateUp;
          node.up = n.w1;
          node.outputs = shape.ffn;
          node.out = act();
          break;
        case 5:
          node.kind = StreamKind::kHead;
          node.outputs = shape.vocabulary;
          node.out = logits;
          break;
      }
    }
    after = nodes.size();
    flush();
    cudaGraph_t graph;
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    cudaGraphExec_t exec;
    CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
    CHECK_CUDA(cudaGraphDestroy(graph));
    return exec;
  }
};

double TimeGraph(cudaGraphExec_t exec, cudaStream_t stream, int replays) {
  cudaEvent_t begin, end;
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreate(&end));
  std::vector<double> times;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 2; ++i) CHECK_CUDA(cudaGraphLaunch(exec, stream));
    CHECK_CUDA(cudaEventRecord(begin, stream));
    for (int i = 0; i < replays; ++i) CHECK_CUDA(cudaGraphLaunch(exec, stream));
    CHECK_CUDA(cudaEventRecord(end, stream));
    CHECK_CUDA(cudaEventSynchronize(end));
    float ms = 0;
    CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
    times.push_back(ms / replays);
  }
  return Median(times);
}

}  // namespace
}  // namespace tessera::gpu

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  using namespace tessera::gpu;
  const std::string wanted = argc > 1 ? argv[1] : "8b";
  const Shape* shape = nullptr;
  for (const Shape& s : kShapes)
    if (wanted == s.name) shape = &s;
  if (shape == nullptr) return 2;
  Chain chain = {};
  chain.shape = *shape;
  chain.rows = argc > 2 ? std::atoi(argv[2]) : 1;
  chain.context = argc > 3 ? std::atoi(argv[3]) : 1024;
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  chain.sm_count = properties.multiProcessorCount;
  CHECK_CUDA(cudaStreamCreateWithFlags(&chain.stream, cudaStreamNonBlocking));
  // The limit.
  double limit = 0;
  {
    const int64_t bytes = int64_t{4} << 30;
    auto* data = reinterpret_cast<uint4*>(Allocate<uint8_t>(bytes));
    auto* sink = Allocate<uint32_t>(1);
    FillRandom<<<1024, 256>>>(data, bytes / 16, 3);
    CHECK_CUDA(cudaDeviceSynchronize());
    cudaEvent_t begin, end;
    CHECK_CUDA(cudaEventCreate(&begin));
    CHECK_CUDA(cudaEventCreate(&end));
    std::vector<double> rates;
    for (int i = 0; i < 12; ++i) {
      CHECK_CUDA(cudaEventRecord(begin, chain.stream));
      ReadAll<<<chain.sm_count * 8, 256, 0, chain.stream>>>(data, bytes / 16, sink);
      CHECK_CUDA(cudaEventRecord(end, chain.stream));
      CHECK_CUDA(cudaEventSynchronize(end));
      float ms = 0;
      CHECK_CUDA(cudaEventElapsedTime(&ms, begin, end));
      if (i >= 2) rates.push_back(bytes / (ms * 1e-3));
    }
    limit = Median(rates);
    CHECK_CUDA(cudaFree(data));
  }
  CHECK_CUDA(PrepareStreamKernels());
  chain.set_bytes = size_t(2) * chain.rows * (2 * shape->hidden + shape->ffn) +
                    4 * kMostStreamBlocks * (2 * kMostStreamedRows + 1);
  chain.sets = Allocate<uint8_t>(2 * chain.set_bytes);
  chain.ledger = Allocate<unsigned long long>(200 * 160 * 8);
  chain.Make();
  std::printf("%s: %s rows %d context %d, %zu nodes, %.3f GB a step, read limit %.3f TB/s, floor %.3f ms\n",
              properties.name, shape->name, chain.rows, chain.context, chain.nodes.size(), chain.bytes / 1e9,
              limit / 1e12, chain.bytes / limit * 1e3);
  const Variant variants[] = {
      {"10/5 x 8K, 0 to L2, 230 ns, 0", true, 10, 5, 0, 230},
      {"10/5 x 8K, 8 to L2, 230 ns, 0", true, 10, 5, 8, 230},
      {"10/5 x 8K, 16 to L2, 230 ns, 0", true, 10, 5, 16, 230},
      {"10/5 x 8K, 16 to L2, 230 ns, 16", true, 10, 5, 16, 230},
      {"10/5 x 8K, 24 to L2, 230 ns, 0", true, 10, 5, 24, 230},
      {"10/5 x 8K, 24 to L2, 230 ns, 24", true, 10, 5, 24, 230},
      {"10/5 x 8K, 32 to L2, 230 ns, 0", true, 10, 5, 32, 230},
      {"10/5 x 8K, 32 to L2, 230 ns, 32", true, 10, 5, 32, 230},
      {"14/7 x 8K, 16 to L2, 160 ns, 16", true, 14, 7, 16, 160},
  };
  for (const Variant& v : variants) {
    CHECK_CUDA(cudaMemset(chain.sets, 0xFF, 2 * chain.set_bytes));
    cudaGraphExec_t exec = chain.Capture(v);
    FillFloats<<<64, 256, 0, chain.stream>>>(chain.hidden, size_t(kMostStreamedRows) * shape->hidden, 0.5f);
    FillRandom<<<256, 256, 0, chain.stream>>>(reinterpret_cast<uint4*>(chain.x),
                                              size_t(chain.rows) * shape->hidden / 8, 5);
    CHECK_CUDA(cudaMemsetAsync(chain.logits, 0xFF, size_t(chain.rows) * shape->vocabulary * 4, chain.stream));
    FillFloats<<<64, 256, 0, chain.stream>>>(chain.squares, kMostStreamBlocks * kMostStreamedRows, 8.0f);
    CHECK_CUDA(cudaGraphLaunch(exec, chain.stream));
    CHECK_CUDA(cudaStreamSynchronize(chain.stream));
    std::vector<float> logits(size_t(chain.rows) * shape->vocabulary);
    CHECK_CUDA(cudaMemcpy(logits.data(), chain.logits, logits.size() * 4, cudaMemcpyDeviceToHost));
    static std::vector<float> expected = logits;
    size_t unlike = 0;
    for (size_t i = 0; i < logits.size(); ++i) unlike += std::memcmp(&logits[i], &expected[i], 4) != 0;
    std::printf("%9.3g %9.3g %s ", logits[0], logits[logits.size() - 1], unlike == 0 ? "same" : "OTHER");
    const double ms = TimeGraph(exec, chain.stream, 12);
    std::printf("%-40s %.4f ms  share %.4f\n", v.name, ms, chain.bytes / limit * 1e3 / ms);
    std::fflush(stdout);
#ifdef TESSERA_LEDGER
    chain.PrintLedger();
#endif
    CHECK_CUDA(cudaGraphExecDestroy(exec));
  }
  return 0;
}
