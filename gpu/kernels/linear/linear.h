// The matrix products of a layer for few rows, each one node with all that stands between it and the next
// one: norm + QKV + rotary + cache append; output projection + residual; norm + gate/up + activation; down
// projection + residual; the head (Deep-Fusion and SBI-GeMM: DeepSpeed Inference, sections III-B and III-C).
//
// How the norm is fused without anybody reading the hidden state twice: who writes the hidden state also
// writes it multiplied by the next norm's weight, as the next node's input, and the sums of squares of what
// it wrote; the next node multiplies its outputs by 1 / rms. So
//   y = W (h * g) / rms(h).
//
// How the memory stays busy: several nodes are one kernel, a chain. Each thread block streams its own
// consecutive rows of all the chain's weights, one node's after the other's, through a ring in shared memory
// that nothing but its size holds back: it runs on while the blocks wait for one another between two nodes,
// and before they wait for the kernel before. Loads on their way are few (in_flight): more would only queue
// in the memory system, where what everybody waits for (the next node's input) would stand behind them.
//
// Where the ring is full the copy engine would idle, and with it the memory: then the next weights, those of
// the next chain included, are asked for into the L2 cache, at the pace at which the memory can bring them.
//
// How a node of a chain learns that its input is there: from the input itself. What nodes hand on lies in
// buffers that begin poisoned, every byte 0xFF, a value that no arithmetic gives; readers read again what
// they still find poisoned. So no fence and no flag stands between a block's last store and another's first
// product.
#ifndef TESSERA_GPU_KERNELS_LINEAR_LINEAR_H_
#define TESSERA_GPU_KERNELS_LINEAR_LINEAR_H_

#include <cstddef>
#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

inline constexpr int kMostStreamedRows = 16;
inline constexpr int kMostStreamBlocks = 160;  // thread blocks of a node, at most

// The rows that a node multiplies.
struct StreamInput {
  const void* x = nullptr;  // [rows, columns] of T
  int rows = 0;
  int columns = 0;  // a multiple of 8
  // The sums of squares by which outputs are normalised; null: they are not.
  const float* square_sums = nullptr;  // [rows, kMostStreamBlocks], of which square_parts a row
  int square_parts = 0;
  float epsilon = 0;
};

// The hidden state, and what is written along for the next node's norm.
struct StreamHidden {
  float* hidden = nullptr;           // [rows, outputs]
  const float* next_norm = nullptr;  // [outputs]
  void* next_x = nullptr;            // [rows, outputs] of T: hidden * next_norm
  float* square_sums = nullptr;      // [rows, kMostStreamBlocks]
};

struct StreamQkv {
  const void *query = nullptr, *key = nullptr, *value = nullptr;  // [heads * head_size, columns] of T
  const float *query_bias = nullptr, *key_bias = nullptr, *value_bias = nullptr;  // may be null
  int heads = 0;
  int kv_heads = 0;
  int head_size = 0;               // a multiple of 8
  int rotary_dimensions = 0;       // a multiple of 8
  bool halves = false;             // pairs are (i, i + rotary_dimensions / 2), else (2i, 2i + 1)
  const float2* rotary = nullptr;  // [positions, rotary_dimensions / 2]: cosine and sine
  void* q = nullptr;               // [rows, heads * head_size] of T
  CacheLayout cache;               // of BF16 or F16
  StepArrays step;
};

enum class StreamKind : int32_t {
  kQkv,       // norm + QKV + rotary + cache append, as the chain's `qkv` says
  kResidual,  // hidden += x * weight^T + bias
  kGateUp,    // out [rows, outputs] of T = silu(gate * x) * (up * x)
  kHead,      // out [rows, outputs] of F32 = x * weight^T
};

struct StreamNode {
  StreamKind kind = StreamKind::kQkv;
  StreamInput input;
  const void* weight = nullptr;  // [outputs, columns] of T; kGateUp: gate's
  const void* up = nullptr;      // kGateUp
  const float* bias = nullptr;   // kResidual; may be null
  int outputs = 0;               // kQkv: all of them
  void* out = nullptr;           // kGateUp, kHead
  StreamHidden hidden;           // kResidual
  // kHead: [samples] rows that are sampled, ascending, and how many: row r of the input goes to the place of
  // its sample, if it has one. Null: to row r.
  const int32_t* sample_rows = nullptr;
  const int32_t* sample_count = nullptr;
};

// Nodes that follow one another, each computing from what the one before wrote: input.x and
// input.square_sums of all but the first begin poisoned and are written in this chain. The first one's are
// there when the kernel before has ended.
struct StreamChain {
  static constexpr int kMostNodes = 4;
  StreamNode nodes[kMostNodes];
  int count = 0;
  StreamQkv qkv;
  // What the next chain in the stream hands on between its nodes: poisoned by this one. 16-byte aligned; may
  // be null.
  void* poison = nullptr;
  int64_t poison_bytes = 0;
  // Nodes of the chain after this one, of which the weights matter only; none of kQkv.
  static constexpr int kMostNext = 2;
  StreamNode next[kMostNext];
  int next_count = 0;
  int most_ahead = 12;  // pieces that are asked for into the L2 cache before the ring has room, at most
  int pace_ns = 330;    // between two of them
  // [rows], F16 only, whose range the products of hidden states and norm weights may leave: a power of two by
  // which the first node, where it is a residual one, multiplies its next_x, and the next one divides.
  // Written by QKV for the next chain; null: 1.
  float* row_factors = nullptr;
  // Pieces of 8 KB that are on their way to a block at once, at most: while the ring runs low, and while it
  // is well ahead of the products, which then wait for their input and want the memory system's queues short.
  int in_flight = 6;
  int in_flight_ahead = 4;
#ifdef TESSERA_LEDGER
  unsigned long long* ledger = nullptr;  // [nodes][kMostStreamBlocks][8]; see chain_ledger.cuh
#endif
};

// Thread blocks of a chain: what a residual node's square_sums have, and so the next node's square_parts.
int StreamBlocks(int sm_count);
// Whether the node's shape fits these kernels; else the library's product and separate kernels serve.
bool StreamFits(ElementType type, int rows, int most_columns);

// How fast a block of a chain may ask for weights on a device of that bandwidth.
struct StreamPace {
  int in_flight = 0;
  int in_flight_ahead = 0;
  int most_ahead = 0;
  int ns = 0;
};
StreamPace StreamPaceOf(double memory_bytes_per_second, int sm_count);

cudaError_t PrepareStreamKernels();  // once a device, outside of any capture

cudaError_t LaunchStreamChain(const LaunchContext& context, ElementType type, const StreamChain& chain);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_LINEAR_LINEAR_H_
