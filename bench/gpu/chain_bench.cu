// The experiment that decides how chains bring weights: all nodes of a decode step at real shapes with random
// weights, one graph, in several variants of pace; each as a share of the read limit measured in the same
// run. In attention's place a node reads as many bytes as the caches of the rows have.
//   chain_bench [8b|1b [ROWS [CONTEXT]]]
// A line for each variant: two logits and whether all have the bits of the first variant's, then its time.
//
// Built as chain_ledger, the kernels keep a ledger (gpu/kernels/linear/chain_ledger.cuh): each block notes
// the time at which it came how far in each node. Then behind each variant stands for each kind of node: mean
// (of the first block, of the last one) in microseconds since the node before had its last weights.
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/gpu/cuda_bench.h"
#include "bench/gpu/model_shapes.h"
#include "bench/gpu/read_limit.h"
#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/linear/chain_ledger.cuh"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {
namespace {

using tessera_bench::Allocate;
using tessera_bench::FillFloats;
using tessera_bench::FillHalves;
using tessera_bench::Magnitude;
using tessera_bench::ModelShape;
using tessera_bench::ToDevice;

constexpr tessera_bench::Rounds kRounds = {0, 5, 2, 12};
constexpr int kBlockTokens = 16;
constexpr int kElementBytes = 2;

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
  int most_ahead;
  int pace_ns;
};
constexpr Variant kVariants[] = {
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

// Of a step's nodes, in a layer's order.
enum Kind { kQkv, kAttention, kOut, kGateUp, kDown, kHead };

class Step {
 public:
  Step(const ModelShape& shape, int rows, int context, int sm_count)
      : shape_(shape), rows_(rows), context_(context), sm_count_(sm_count) {
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    MakeNodes();
    MakeVectors();
    MakeCache();
    CHECK_CUDA(cudaDeviceSynchronize());
  }

  size_t node_count() const { return nodes_.size(); }
  uint64_t bytes() const { return bytes_; }  // that a step must read

  cudaGraphExec_t Capture(const Variant& variant) {
    CHECK_CUDA(cudaMemsetAsync(sets_, 0xFF, 2 * set_bytes_, stream_));
    return tessera_bench::CaptureGraph(stream_, [&] { Enqueue(variant); });
  }

  // From the same beginning.
  std::vector<float> Logits(cudaGraphExec_t graph) {
    const size_t logits = static_cast<size_t>(rows_) * shape_.vocabulary;
    FillFloats(hidden_, size_t{kMostStreamedRows} * shape_.hidden, 0.5f, stream_);
    FillHalves(x_, static_cast<size_t>(rows_) * shape_.hidden * kElementBytes, Magnitude::kWeights, 5,
               stream_);
    FillFloats(squares_, size_t{kMostStreamBlocks} * kMostStreamedRows, 8.0f, stream_);
    CHECK_CUDA(cudaMemsetAsync(logits_, 0xFF, logits * sizeof(float), stream_));
    CHECK_CUDA(cudaGraphLaunch(graph, stream_));
    CHECK_CUDA(cudaStreamSynchronize(stream_));
    std::vector<float> read(logits);
    CHECK_CUDA(cudaMemcpy(read.data(), logits_, logits * sizeof(float), cudaMemcpyDeviceToHost));
    return read;
  }

  double TimeMs(cudaGraphExec_t graph) { return tessera_bench::MedianReplayMs(graph, stream_, kRounds); }

#ifdef TESSERA_LEDGER
  void PrintLedger() const {
    constexpr const char* kKindNames[] = {"qkv", "attention", "out", "gate-up", "down", "head"};
    constexpr struct {
      chain::LedgerStamp stamp;
      const char* name;
    } kColumns[] = {{chain::kStampReached, "waited"},         {chain::kStampInput, "input"},
                    {chain::kStampFirstChunk, "first chunk"}, {chain::kStampIssue, "last issue"},
                    {chain::kStampLastChunk, "last chunk"},   {chain::kStampEnd, "end"}};
    std::vector<unsigned long long> stamps(LedgerSize());
    CHECK_CUDA(cudaMemcpy(stamps.data(), ledger_, stamps.size() * sizeof(stamps[0]), cudaMemcpyDeviceToHost));
    for (const Kind kind : {kQkv, kOut, kGateUp, kDown, kHead}) {
      std::printf("  %-8s", kKindNames[kind]);
      for (const auto& column : kColumns) {
        double mean = 0;
        double first = 0;
        double last = 0;
        int count = 0;
        for (size_t i = 1; i < nodes_.size(); ++i) {
          if (nodes_[i].kind != kind) continue;
          const Spread spread = SpreadOf(stamps, i, column.stamp);
          mean += spread.mean;
          first += spread.first;
          last += spread.last;
          ++count;
        }
        std::printf(" | %s %.1f (%.1f %.1f)", column.name, mean / count, first / count, last / count);
      }
      std::printf("\n");
    }
  }
#endif

 private:
  struct Node {
    Kind kind;
    const uint8_t* weight;
  };

  // What the nodes of a chain hand on to one another. Chains use two sets by turns, each poisoning the other.
  struct Set {
    uint8_t *x1, *x2, *active;
    float *squares1, *squares2;
  };

  uint64_t BytesOf(Kind kind) const {
    const uint64_t hidden = shape_.hidden;
    switch (kind) {
      case kQkv:
        return kElementBytes * hidden * shape_.qkv_columns();
      case kOut:
        return kElementBytes * hidden * shape_.query_columns();
      case kGateUp:
        return 2 * kElementBytes * hidden * shape_.ffn;
      case kDown:
        return kElementBytes * hidden * shape_.ffn;
      case kHead:
        return kElementBytes * hidden * shape_.vocabulary;
      case kAttention:
        break;
    }
    return 0;
  }
  // Of a layer: keys and values of all rows.
  uint64_t CacheBytes() const { return uint64_t{4} * rows_ * context_ * shape_.key_columns(); }

  void MakeNodes() {
    constexpr Kind kLayer[] = {kQkv, kAttention, kOut, kGateUp, kDown};
    uint64_t total = BytesOf(kHead);
    for (const Kind kind : kLayer) total += BytesOf(kind) * shape_.layers;
    uint8_t* weights = Allocate<uint8_t>(total);
    FillHalves(weights, total, Magnitude::kWeights, 77);
    bytes_ = total + CacheBytes() * shape_.layers;
    for (int layer = 0; layer < shape_.layers; ++layer) {
      for (const Kind kind : kLayer) {
        nodes_.push_back({kind, weights});
        weights += BytesOf(kind);
      }
    }
    nodes_.push_back({kHead, weights});
#ifdef TESSERA_LEDGER
    ledger_ = Allocate<unsigned long long>(LedgerSize());
#endif
  }

  uint8_t* RandomVectors(size_t columns) const {
    const size_t bytes = kMostStreamedRows * columns * kElementBytes;
    uint8_t* const data = Allocate<uint8_t>(bytes);
    FillHalves(data, bytes, Magnitude::kWeights, 5);
    return data;
  }

  void MakeVectors() {
    q_ = RandomVectors(shape_.query_columns());
    x_ = RandomVectors(shape_.hidden);
    attended_ = RandomVectors(shape_.query_columns());
    hidden_ = Allocate<float>(size_t{kMostStreamedRows} * shape_.hidden);
    norm_ = Allocate<float>(shape_.hidden);
    FillFloats(norm_, shape_.hidden, 1.0f);
    squares_ = Allocate<float>(size_t{kMostStreamBlocks} * kMostStreamedRows);
    logits_ = Allocate<float>(size_t{kMostStreamedRows} * shape_.vocabulary);
    set_bytes_ = static_cast<size_t>(rows_) * kElementBytes * (2 * shape_.hidden + shape_.ffn) +
                 sizeof(float) * kMostStreamBlocks * (2 * kMostStreamedRows + 1);
    sets_ = Allocate<uint8_t>(2 * set_bytes_);
  }

  void MakeCache() {
    const uint64_t bytes = CacheBytes() * shape_.layers;
    cache_ = Allocate<uint8_t>(bytes);
    FillHalves(cache_, bytes, Magnitude::kWeights, 9);
    rotary_ = Allocate<float2>(size_t{64} * shape_.head_size);
    FillFloats(reinterpret_cast<float*>(rotary_), size_t{128} * shape_.head_size, 0.7f);
    pages_ = Allocate<uint8_t>(size_t{kMostStreamedRows} * kBlockTokens * 4 * shape_.key_columns());
    std::vector<int32_t> ids(kMostStreamedRows);
    for (int i = 0; i < kMostStreamedRows; ++i) ids[i] = i;
    positions_ = ToDevice(std::vector<int32_t>(kMostStreamedRows, 0));
    ids_ = ToDevice(ids);
  }

  Set SetOf(int index) const {
    const size_t hidden_bytes = static_cast<size_t>(rows_) * shape_.hidden * kElementBytes;
    const size_t active_bytes = static_cast<size_t>(rows_) * shape_.ffn * kElementBytes;
    Set set;
    set.x1 = sets_ + index * set_bytes_;
    set.x2 = set.x1 + hidden_bytes;
    set.active = set.x2 + hidden_bytes;
    set.squares1 = reinterpret_cast<float*>(set.active + active_bytes);
    set.squares2 = set.squares1 + kMostStreamBlocks * kMostStreamedRows;
    return set;
  }

  StreamQkv QkvOf(const uint8_t* weight) const {
    const uint64_t row_bytes = uint64_t{kElementBytes} * shape_.hidden;
    StreamQkv qkv;
    qkv.query = weight;
    qkv.key = weight + row_bytes * shape_.query_columns();
    qkv.value = weight + row_bytes * (shape_.query_columns() + shape_.key_columns());
    qkv.heads = shape_.heads;
    qkv.kv_heads = shape_.kv_heads;
    qkv.head_size = shape_.head_size;
    qkv.rotary_dimensions = shape_.head_size;
    qkv.rotary = rotary_;
    qkv.q = q_;
    qkv.cache.data = pages_;
    qkv.cache.block_tokens = kBlockTokens;
    qkv.cache.kv_heads = shape_.kv_heads;
    qkv.cache.head_size = shape_.head_size;
    qkv.cache.row_bytes = kElementBytes * shape_.head_size;
    qkv.cache.value_offset_bytes = int64_t{kElementBytes} * kBlockTokens * shape_.key_columns();
    qkv.cache.block_bytes = 2 * qkv.cache.value_offset_bytes;
    qkv.step.positions = positions_;
    qkv.step.row_sequence = ids_;
    qkv.step.block_table = ids_;
    qkv.step.table_stride = 1;
    return qkv;
  }

  // Adds node `index` of the step to the chain, which hands on in `set`.
  void Add(size_t index, const Set& set, StreamChain* chain) const {
    const auto [kind, weight] = nodes_[index];
    const int parts = StreamBlocks(sm_count_);
    StreamNode& node = chain->nodes[chain->count++];
    node = {};
    node.weight = weight;
    switch (kind) {
      case kQkv:
        node.kind = StreamKind::kQkv;
        node.input = {index == 0 ? x_ : set.x2,
                      rows_,
                      shape_.hidden,
                      index == 0 ? squares_ : set.squares2,
                      parts,
                      1e-5f};
        node.outputs = shape_.qkv_columns();
        chain->qkv = QkvOf(weight);
        break;
      case kOut:
        node.kind = StreamKind::kResidual;
        node.input = {attended_, rows_, shape_.query_columns(), nullptr, 0, 0};
        node.outputs = shape_.hidden;
        node.hidden = {hidden_, norm_, set.x1, set.squares1};
        break;
      case kGateUp:
        node.kind = StreamKind::kGateUp;
        node.input = {set.x1, rows_, shape_.hidden, set.squares1, parts, 1e-5f};
        node.up = UpOf(weight);
        node.outputs = shape_.ffn;
        node.out = set.active;
        break;
      case kDown:
        node.kind = StreamKind::kResidual;
        node.input = {set.active, rows_, shape_.ffn, nullptr, 0, 0};
        node.outputs = shape_.hidden;
        node.hidden = {hidden_, norm_, set.x2, set.squares2};
        break;
      case kHead:
        node.kind = StreamKind::kHead;
        node.input = {set.x2, rows_, shape_.hidden, set.squares2, parts, 1e-5f};
        node.outputs = shape_.vocabulary;
        node.out = logits_;
        break;
      case kAttention:
        break;
    }
  }
  const uint8_t* UpOf(const uint8_t* gate_up) const { return gate_up + BytesOf(kGateUp) / 2; }

  // The first nodes behind `index`, of which the weights matter only.
  void AddNext(size_t index, StreamChain* chain) const {
    chain->next_count = 0;
    for (size_t i = index; i < std::min(nodes_.size(), index + 3); ++i) {
      const auto [kind, weight] = nodes_[i];
      if (kind == kAttention || chain->next_count == StreamChain::kMostNext) continue;
      StreamNode& next = chain->next[chain->next_count++];
      next = {};
      next.kind = kind == kGateUp ? StreamKind::kGateUp : StreamKind::kResidual;
      next.weight = weight;
      next.up = kind == kGateUp ? UpOf(weight) : nullptr;
      next.outputs = kind == kGateUp ? shape_.ffn : shape_.hidden;
      next.input.columns = kind == kOut ? shape_.query_columns() : kind == kDown ? shape_.ffn : shape_.hidden;
    }
  }

  void Enqueue(const Variant& variant) {
    LaunchContext launch{stream_, sm_count_, false};
    int set = 0;
    for (size_t i = 0; i < nodes_.size();) {
      if (nodes_[i].kind == kAttention) {
        const size_t layer = i / 5;
        CHECK_CUDA(Launch(launch, &ReadCache, dim3(sm_count_), dim3(512), 0,
                          reinterpret_cast<const uint4*>(cache_ + CacheBytes() * layer),
                          static_cast<int64_t>(CacheBytes() / sizeof(uint4)),
                          reinterpret_cast<const __nv_bfloat16*>(q_),
                          reinterpret_cast<__nv_bfloat16*>(attended_), rows_ * shape_.query_columns()));
        ++i;
        continue;
      }
      StreamChain chain;
#ifdef TESSERA_LEDGER
      chain.ledger = ledger_ + i * kMostStreamBlocks * chain::kLedgerStamps;
#endif
      while (i < nodes_.size() && nodes_[i].kind != kAttention && chain.count < StreamChain::kMostNodes) {
        Add(i++, SetOf(set), &chain);
      }
      AddNext(i, &chain);
      set ^= 1;
      chain.poison = SetOf(set).x1;
      chain.poison_bytes = static_cast<int64_t>(set_bytes_);
      chain.in_flight = variant.in_flight;
      chain.in_flight_ahead = variant.in_flight_ahead;
      chain.most_ahead = variant.most_ahead;
      chain.pace_ns = variant.pace_ns;
      CHECK_CUDA(LaunchStreamChain(launch, ElementType::kBF16, chain));
      launch.overlap = variant.overlap;
    }
  }

#ifdef TESSERA_LEDGER
  // Microseconds, of all blocks.
  struct Spread {
    double mean = 0;
    double first = 1e30;
    double last = -1e30;
  };

  size_t LedgerSize() const { return nodes_.size() * kMostStreamBlocks * chain::kLedgerStamps; }

  // Since the mean moment at which the blocks had the last weights of the node before, attention left out.
  Spread SpreadOf(const std::vector<unsigned long long>& stamps, size_t node, chain::LedgerStamp what) const {
    const auto at = [&](size_t of_node, int block, chain::LedgerStamp stamp) {
      return stamps[(of_node * kMostStreamBlocks + block) * chain::kLedgerStamps + stamp];
    };
    size_t before = node - 1;
    while (nodes_[before].kind == kAttention) --before;
    const unsigned long long base = at(before, 0, chain::kStampLastChunk);  // doubles would lose nanoseconds
    const auto since = [&](unsigned long long stamp) {
      return static_cast<double>(static_cast<long long>(stamp - base)) * 1e-3;
    };
    double origin = 0;
    for (int block = 0; block < sm_count_; ++block) {
      origin += since(at(before, block, chain::kStampLastChunk)) / sm_count_;
    }
    Spread spread;
    for (int block = 0; block < sm_count_; ++block) {
      const double time = since(at(node, block, what)) - origin;
      spread.mean += time / sm_count_;
      spread.first = std::min(spread.first, time);
      spread.last = std::max(spread.last, time);
    }
    return spread;
  }

  unsigned long long* ledger_ = nullptr;
#endif

  const ModelShape shape_;
  const int rows_;
  const int context_;  // tokens of each row's cache
  const int sm_count_;
  cudaStream_t stream_ = nullptr;
  std::vector<Node> nodes_;
  uint64_t bytes_ = 0;
  uint8_t* x_ = nullptr;         // [rows, hidden]: the first node's input
  uint8_t* q_ = nullptr;         // [rows, query columns]
  uint8_t* attended_ = nullptr;  // likewise, from attention
  uint8_t* sets_ = nullptr;
  size_t set_bytes_ = 0;
  float* hidden_ = nullptr;
  float* norm_ = nullptr;
  float* squares_ = nullptr;  // of x_
  float* logits_ = nullptr;
  uint8_t* cache_ = nullptr;  // that attention's node reads
  uint8_t* pages_ = nullptr;  // that QKV writes to: a block for each row
  float2* rotary_ = nullptr;
  int32_t* positions_ = nullptr;
  int32_t* ids_ = nullptr;  // 0, 1, 2, ...
};

void Measure(const ModelShape& shape, int rows, int context) {
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  const double limit = tessera_bench::DeviceReadGBps() * 1e9;
  CHECK_CUDA(PrepareStreamKernels());
  Step step(shape, rows, context, properties.multiProcessorCount);
  const double floor_ms = static_cast<double>(step.bytes()) / limit * 1e3;
  std::printf("%s: %s rows %d context %d, %zu nodes, %.3f GB a step, read limit %.3f TB/s, floor %.3f ms\n",
              properties.name, shape.name, rows, context, step.node_count(),
              static_cast<double>(step.bytes()) / 1e9, limit / 1e12, floor_ms);
  std::vector<float> expected;
  for (const Variant& variant : kVariants) {
    cudaGraphExec_t const graph = step.Capture(variant);
    const std::vector<float> logits = step.Logits(graph);
    if (expected.empty()) expected = logits;
    const bool same = std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)) == 0;
    std::printf("%9.3g %9.3g %s ", logits.front(), logits.back(), same ? "same" : "OTHER");
    const double ms = step.TimeMs(graph);
    std::printf("%-40s %.4f ms  share %.4f\n", variant.name, ms, floor_ms / ms);
#ifdef TESSERA_LEDGER
    step.PrintLedger();
#endif
    CHECK_CUDA(cudaGraphExecDestroy(graph));
  }
}

}  // namespace
}  // namespace tessera::gpu

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const tessera_bench::ModelShape* const shape = tessera_bench::FindModelShape(argc > 1 ? argv[1] : "8b");
  const int rows = argc > 2 ? std::atoi(argv[2]) : 1;
  const int context = argc > 3 ? std::atoi(argv[3]) : 1024;
  if (shape == nullptr || rows < 1 || rows > tessera::gpu::kMostStreamedRows || context < 1) {
    std::fprintf(stderr, "usage: chain_bench [8b|1b [ROWS [CONTEXT]]]\n");
    return 2;
  }
  tessera::gpu::Measure(*shape, rows, context);
  return 0;
}
