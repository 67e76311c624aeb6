#include <algorithm>
#include <type_traits>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {
namespace {

constexpr int kConsumerWarps = 8;
constexpr int kProducerWarp = kConsumerWarps;
constexpr int kEpilogueWarp = kConsumerWarps + 1;
constexpr int kThreads = 32 * (kConsumerWarps + 2);
constexpr int kTileRows = 8;         // weight rows that are summed together
constexpr int kRun = 4;              // of them, consecutive ones in a matrix
constexpr int kUnitColumns = 32;     // what a lane's 16-byte loads of a unit cover
constexpr int kChunkColumns = 2048;  // of a stage of the ring: copies of 4 KB
constexpr int kPieces = 4;           // of a stage, each with a barrier
constexpr int kPieceRows = kTileRows / kPieces;
constexpr int kMostStages = 16;
constexpr int kPartialBuffers = 4;
constexpr int kSharedBytes = 227 * 1024;

struct ChainArgs {
  StreamChain chain;
  int tiles[StreamChain::kMostNodes + StreamChain::kMostNext];
  int stages;
  int stage_bytes;
  int input_bytes;
  int held_tiles;  // most tiles of a residual node that a block has
  int held_pairs;  // of rotation, a row; 0: no node is of kQkv
};

struct RingShape {
  int chunk_columns;
  // Bytes, a multiple of 128: bulk copies to other places are slower, more than the banks that 16-byte loads
  // of two neighbouring rows then share cost (a stride of 64 modulo 128 avoids those).
  int row_stride;
  int stage_bytes;
};

__host__ __device__ constexpr RingShape ShapeOfRing(int columns) {
  const int chunk = columns < kChunkColumns ? columns : kChunkColumns;
  const int stride = (chunk * 2 + 127) / 128 * 128 + 128;
  return {chunk, stride, kTileRows * stride};
}

__host__ __device__ constexpr int UnitsPerWarp(int columns) {
  return (columns + kUnitColumns * kConsumerWarps - 1) / (kUnitColumns * kConsumerWarps);
}

__host__ __device__ constexpr int InputBytes(int rows, int columns) {
  return UnitsPerWarp(columns) * kConsumerWarps * rows * kUnitColumns * 2;
}

__host__ __device__ constexpr int PartialBytes(int rows) {
  return kPartialBuffers * kConsumerWarps * rows * kTileRows * 4;
}

// What the epilogue keeps: of each row its place in the cache and its rotation, then of the block's residual
// tiles the hidden values and the weights of the two norms.
__host__ __device__ constexpr int RowsBytes(int rows, int pairs) {
  return pairs == 0 ? 0 : rows * (16 + pairs * 8);
}
__host__ __device__ constexpr int HeldBytes(int rows, int tiles, int pairs) {
  return (RowsBytes(rows, pairs) + tiles * kTileRows * (rows + 2) * 4 + 127) / 128 * 128;
}

constexpr int kBarrierBytes = 8 * ((kPieces + 1) * kMostStages + 2 * kPartialBuffers + 1);
// Of each row: the scale of a node's outputs, the factor of its next_x, the place of its logits.
constexpr int kHeadBytes = (kBarrierBytes + 3 * kMostStreamedRows * 4 + 127) / 128 * 128;

#ifdef TESSERA_LEDGER
#define STAMP(node, what)                                                                       \
  do {                                                                                          \
    unsigned long long now;                                                                     \
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));                                      \
    if (threadIdx.x % 32 == 0) args.chain.ledger[((node)*160 + blockIdx.x) * 8 + (what)] = now; \
  } while (false)
#define STAMP_ARGS(object, node, what) \
  do {                                 \
    const ChainArgs& args = object;    \
    STAMP(node, what);                 \
  } while (false)
#else
#define STAMP(node, what)
#define STAMP_ARGS(args, node, what)
#endif

// Of a block's consecutive tiles.
__device__ __forceinline__ int FirstTile(int tiles, int block) {
  return static_cast<int>(static_cast<int64_t>(tiles) * block / gridDim.x);
}

// Where a tile of QKV lies: its rows are 8 consecutive ones of a head, or 4 of each half where halves rotate.
struct QkvTile {
  bool query, key;
  bool rotates;
  bool apart;  // a pair's halves are kRun columns of the tile apart
  int head;    // in its matrix
  int first;   // element of the head, of the tile's first run
  int second;  // of its second run
};

__device__ __forceinline__ QkvTile PlaceOfTile(const StreamQkv& qkv, int tile) {
  const int tiles_per_head = qkv.head_size / kTileRows;
  const int head = tile / tiles_per_head;
  const int in_head = tile % tiles_per_head;
  QkvTile place;
  place.query = head < qkv.heads;
  place.key = !place.query && head < qkv.heads + qkv.kv_heads;
  place.head = place.query ? head : place.key ? head - qkv.heads : head - qkv.heads - qkv.kv_heads;
  place.rotates = (place.query || place.key) && in_head * kTileRows < qkv.rotary_dimensions;
  place.apart = place.rotates && qkv.halves;
  place.first = in_head * (place.apart ? kRun : kTileRows);
  place.second = place.first + (place.apart ? qkv.rotary_dimensions / 2 : kRun);
  return place;
}

template <typename T>
__device__ __forceinline__ const T* RowOfTile(const StreamChain& chain, const StreamNode& node, int tile,
                                              int row) {
  const void* matrix = node.weight;
  int64_t at;
  if (node.kind == StreamKind::kGateUp) {
    if (row >= kRun) matrix = node.up;
    at = min(tile * kRun + row % kRun, node.outputs - 1);
  } else if (node.kind == StreamKind::kQkv) {
    const QkvTile place = PlaceOfTile(chain.qkv, tile);
    matrix = place.query ? chain.qkv.query : place.key ? chain.qkv.key : chain.qkv.value;
    at = place.head * chain.qkv.head_size + (row < kRun ? place.first : place.second) + row % kRun;
  } else {
    at = min(tile * kTileRows + row, node.outputs - 1);
  }
  return static_cast<const T*>(matrix) + at * node.input.columns;
}

__device__ __forceinline__ float LoadL2(const float* address) {
  float value;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(address));
  return value;
}

// Any half of it still is as all that nodes hand on begins.
__device__ __forceinline__ bool IsPoisoned(uint32_t v) {
  return (v & 0xFFFFu) == 0xFFFFu || v >= 0xFFFF0000u;
}
__device__ __forceinline__ bool IsPoisoned(const uint4& v) {
  return IsPoisoned(v.x) || IsPoisoned(v.y) || IsPoisoned(v.z) || IsPoisoned(v.w);
}

// What others may be writing: a weak load that is repeated may be taken for one.
__device__ __forceinline__ float LoadRelaxed(const float* address) {
  float value;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(value) : "l"(address) : "memory");
  return value;
}
__device__ __forceinline__ uint4 LoadRelaxed(const void* address) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address)
               : "memory");
  return v;
}

// What a lane of the epilogue does with the sum of output `column` of a tile for row `row`; all lanes of the
// warp call these together, those of a row are 8 neighbours.

// What QKV needs of the step, for each row; in shared memory.
struct QkvRows {
  int64_t* places =
      nullptr;  // [rows] of the row in a layer's keys, in bytes from the cache's beginning; -1: none
  float2* turns = nullptr;  // [rows, pairs]: cosine and sine
};

__device__ __forceinline__ void FillQkvRows(const StreamQkv& qkv, int rows, const QkvRows& to) {
  const int lane = threadIdx.x % 32;
  const CacheLayout& cache = qkv.cache;
  if (lane < rows) {
    const int sequence = qkv.step.row_sequence[lane];
    const int position = qkv.step.positions[lane];
    int64_t place = -1;
    if (sequence >= 0) {
      const int block = qkv.step.block_table[static_cast<int64_t>(sequence) * qkv.step.table_stride +
                                             position / cache.block_tokens];
      place = block * cache.block_bytes + cache.layer_offset_bytes +
              static_cast<int64_t>(position % cache.block_tokens) * cache.row_bytes;
    }
    to.places[lane] = place;
  }
  const int pairs = qkv.rotary_dimensions / 2;
#pragma unroll 4
  for (int i = lane; i < rows * pairs; i += 32) {
    to.turns[i] = qkv.rotary[static_cast<int64_t>(qkv.step.positions[i / pairs]) * pairs + i % pairs];
  }
}

template <typename T>
__device__ __forceinline__ void FinishQkv(const StreamQkv& qkv, const QkvRows& of_rows, int tile, int row,
                                          int column, bool valid, float value) {
  const QkvTile place = PlaceOfTile(qkv, tile);
  const int element = (column < kRun ? place.first : place.second) + column % kRun;
  const float* bias = place.query ? qkv.query_bias : place.key ? qkv.key_bias : qkv.value_bias;
  if (bias != nullptr) value += bias[place.head * qkv.head_size + element];
  const float far = __shfl_xor_sync(0xFFFFFFFFu, value, kRun);
  const float near = __shfl_xor_sync(0xFFFFFFFFu, value, 1);
  if (!valid) return;
  if (place.rotates) {
    const int pair = place.apart ? place.first + column % kRun : element / 2;
    const bool second = place.apart ? column >= kRun : (column & 1) != 0;
    const float2 turn = of_rows.turns[row * (qkv.rotary_dimensions / 2) + pair];
    const float other = place.apart ? far : near;
    value = value * turn.x + (second ? other : -other) * turn.y;
  }
  if (place.query) {
    const int64_t at = (static_cast<int64_t>(row) * qkv.heads + place.head) * qkv.head_size + element;
    static_cast<T*>(qkv.q)[at] = Narrow<T>(value);
    return;
  }
  if (of_rows.places[row] < 0) return;
  const CacheLayout& cache = qkv.cache;
  uint8_t* const to = cache.data + of_rows.places[row] + (place.key ? 0 : cache.value_offset_bytes) +
                      static_cast<int64_t>(place.head) * cache.block_tokens * cache.row_bytes;
  if (cache.type == ElementType::kF16) {
    reinterpret_cast<__half*>(to)[element] = __float2half_rn(value);
  } else {
    reinterpret_cast<__nv_bfloat16*>(to)[element] = __float2bfloat16_rn(value);
  }
}

template <typename T>
__device__ __forceinline__ void FinishGateUp(const StreamNode& node, int tile, int row, int column,
                                             bool valid, float gate) {
  const float up = __shfl_xor_sync(0xFFFFFFFFu, gate, kRun);
  const int output = tile * kRun + column;
  if (!valid || column >= kRun || output >= node.outputs) return;
  const float silu = gate / (1.0f + __expf(-gate));
  static_cast<T*>(node.out)[static_cast<int64_t>(row) * node.outputs + output] = Narrow<T>(silu * up);
}

#if __CUDA_ARCH__ >= 900

struct Barriers {
  uint32_t full;           // [stages][kPieces]: a piece of a stage has arrived
  uint32_t empty;          // [stages]: everybody has read it
  uint32_t partial_full;   // [kPartialBuffers]
  uint32_t partial_empty;  // [kPartialBuffers]
  uint32_t finished;       // the last node is
};

// Scales of the rows of a node: 1 / rms of the hidden state that its input was made from, over the factor
// that it was multiplied by; and the factor for the next one. `polled`: the sums of squares begin poisoned.
template <typename T>
__device__ __forceinline__ void FillScales(const StreamInput& input, bool polled, float* scales,
                                           float* factors) {
  const int lane = threadIdx.x % 32;
  __syncwarp();
  if (input.square_sums == nullptr) {
    if (lane < input.rows) scales[lane] = 1.0f;
  } else {
    for (int row = 0; row < input.rows; ++row) {
      float parts[kMostStreamBlocks / 32];
#pragma unroll
      for (int i = 0; i < kMostStreamBlocks / 32; ++i) {
        const int part = lane + 32 * i;
        parts[i] = part < input.square_parts ? LoadRelaxed(input.square_sums + row * kMostStreamBlocks + part)
                                             : 0.0f;
      }
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kMostStreamBlocks / 32; ++i) {
        while (polled && __float_as_uint(parts[i]) == 0xFFFFFFFFu) {
          parts[i] = LoadRelaxed(input.square_sums + row * kMostStreamBlocks + lane + 32 * i);
        }
        sum += parts[i];
      }
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, step);
      if (lane == 0) {
        const float scale = rsqrtf(sum / static_cast<float>(input.columns) + input.epsilon);
        scales[row] = scale / factors[row];
        if constexpr (std::is_same_v<T, __half>) {
          // The next hidden state is of about the same size.
          factors[row] = __uint_as_float(__float_as_uint(scale) & 0x7F800000u);
        }
      }
    }
  }
  __syncwarp();
}

// Where each row's logits go; -1: nowhere.
__device__ __forceinline__ void FindPlaces(const StreamNode& node, int32_t* places) {
  const int row = threadIdx.x % 32;
  if (row < node.input.rows) {
    int place = node.sample_rows == nullptr ? row : -1;
    const int samples = node.sample_rows == nullptr ? 0 : *node.sample_count;
    for (int i = 0; i < samples && i < kMostStreamedRows; ++i) {
      if (node.sample_rows[i] == row) place = i;
    }
    places[row] = place;
  }
  __syncwarp();
}

// The last warp: sums what the consumers have of each tile, in their order, and does what follows.
template <typename T>
__device__ __forceinline__ void RunEpilogue(const ChainArgs& args, const Barriers& barriers,
                                            const float* partials, float* scales, float* held) {
  const int lane = threadIdx.x % 32;
  const int column = lane % kTileRows;
  const int rows = args.chain.nodes[0].input.rows;
  constexpr int kPasses = kMostStreamedRows / 4;
  // [tile][row][8] hidden values; then the weights of the norms behind the residual nodes, [2][tile][8]
  QkvRows qkv_rows;
  qkv_rows.places = reinterpret_cast<int64_t*>(held);
  qkv_rows.turns = reinterpret_cast<float2*>(qkv_rows.places + 2 * rows);
  float* const held_hidden = held + RowsBytes(rows, args.held_pairs) / 4;
  float* const held_norms = held_hidden + args.held_tiles * rows * kTileRows;
  const StreamNode* residual = nullptr;
  int residuals = 0;
  for (int n = 0; n < args.chain.count; ++n) {
    const StreamNode& node = args.chain.nodes[n];
    if (node.kind != StreamKind::kResidual) continue;
    residual = &node;
    const int first = FirstTile(args.tiles[n], blockIdx.x) * kTileRows;
    const int count = min(FirstTile(args.tiles[n], blockIdx.x + 1) * kTileRows, node.outputs) - first;
    for (int i = lane; i < count; i += 32) {
      held_norms[residuals * args.held_tiles * kTileRows + i] = node.hidden.next_norm[first + i];
    }
    ++residuals;
  }
  AwaitPredecessor();
  float* const factors = scales + kMostStreamedRows;
  auto* const places = reinterpret_cast<int32_t*>(scales + 2 * kMostStreamedRows);
  if (lane < rows) {
    const bool given = args.chain.row_factors != nullptr && args.chain.nodes[0].kind == StreamKind::kResidual;
    factors[lane] = given ? LoadL2(args.chain.row_factors + lane) : 1.0f;
  }
  if (residual != nullptr) {
    // The residual nodes have the same tiles: whoever wrote a hidden value adds to it.
    const int tiles = (residual->outputs + kTileRows - 1) / kTileRows;
    const int first = FirstTile(tiles, blockIdx.x) * kTileRows;
    const int count = FirstTile(tiles, blockIdx.x + 1) * kTileRows - first;
    for (int i = lane; i < count * rows; i += 32) {
      const int output = first + i / (kTileRows * rows) * kTileRows + i % kTileRows;
      const int row = i / kTileRows % rows;
      if (output < residual->outputs) {
        held_hidden[i] =
            LoadL2(residual->hidden.hidden + static_cast<int64_t>(row) * residual->outputs + output);
      }
    }
  }
  if (args.chain.poison != nullptr) {
    const uint4 poison = make_uint4(0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu);
    for (int64_t i = blockIdx.x * 32 + lane; i < args.chain.poison_bytes / 16; i += gridDim.x * 32) {
      static_cast<uint4*>(args.chain.poison)[i] = poison;
    }
  }
  __syncwarp();
  int index = 0;  // of the block's tiles, over all nodes
  residuals = 0;
  for (int n = 0; n < args.chain.count; ++n) {
    const StreamNode& node = args.chain.nodes[n];
    const int first_tile = FirstTile(args.tiles[n], blockIdx.x);
    const int end_tile = FirstTile(args.tiles[n], blockIdx.x + 1);
    STAMP(n, 1);
    FillScales<T>(node.input, n > 0, scales, factors);
    // Not before the first node's products are there: three reads one after the other.
    if (args.held_pairs > 0 && n == min(1, args.chain.count - 1)) FillQkvRows(args.chain.qkv, rows, qkv_rows);
    if (node.kind == StreamKind::kHead) FindPlaces(node, places);
    if (node.kind == StreamKind::kQkv && args.chain.row_factors != nullptr && blockIdx.x == 0 &&
        lane < rows) {
      args.chain.row_factors[lane] = factors[lane];
    }
    float squares[kPasses] = {};
    for (int tile = first_tile; tile < end_tile; ++tile, ++index) {
      const int buffer = index % kPartialBuffers;
      const int output = tile * kTileRows + column;
      BarrierWait(barriers.partial_full + 8 * buffer, (index / kPartialBuffers) & 1);
      const float* sums = partials + buffer * kConsumerWarps * rows * kTileRows;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (pass * 4 >= rows) break;
        const int row = pass * 4 + lane / kTileRows;
        const bool valid = row < rows;
        float value = 0;
        if (valid) {
#pragma unroll
          for (int warp = 0; warp < kConsumerWarps; ++warp)
            value += sums[(warp * rows + row) * kTileRows + column];
          value *= scales[row];
        }
        if (node.kind == StreamKind::kResidual) {
          if (valid && output < node.outputs) {
            const int in_block = tile - first_tile;
            float& hidden = held_hidden[(in_block * rows + row) * kTileRows + column];
            if (node.bias != nullptr) value += node.bias[output];
            hidden += value;
            const float norm = held_norms[(residuals * args.held_tiles + in_block) * kTileRows + column];
            const int64_t at = static_cast<int64_t>(row) * node.outputs + output;
            static_cast<T*>(node.hidden.next_x)[at] = Narrow<T>(hidden * norm * factors[row]);
            node.hidden.hidden[at] = hidden;
            squares[pass] += hidden * hidden;
          }
        } else if (node.kind == StreamKind::kGateUp) {
          FinishGateUp<T>(node, tile, row, column, valid, value);
        } else if (node.kind == StreamKind::kHead) {
          if (valid && output < node.outputs && places[row] >= 0) {
            static_cast<float*>(node.out)[static_cast<int64_t>(places[row]) * node.outputs + output] = value;
          }
        } else {
          FinishQkv<T>(args.chain.qkv, qkv_rows, tile, row, column, valid, value);
        }
      }
      __syncwarp();
      if (lane == 0) BarrierArrive(barriers.partial_empty + 8 * buffer);
    }
    if (node.kind == StreamKind::kResidual) {
      ++residuals;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (pass * 4 >= rows) break;
        float sum = squares[pass];
        for (int step = kTileRows / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, step);
        const int row = pass * 4 + lane / kTileRows;
        if (row < rows && column == 0) node.hidden.square_sums[row * kMostStreamBlocks + blockIdx.x] = sum;
      }
    }
    STAMP(n, 5);
  }
  if (lane == 0) BarrierArrive(barriers.finished);
}

// A place in the stream of a block's weights: a piece of a chunk of a tile of a node. What changes seldom is
// kept, so that going on is cheap.
template <typename T>
struct StreamCursor {
  int node = 0;
  int tile = 0;
  int end_tile = 0;
  int columns = 0;
  int first = 0;  // column of the chunk
  int piece = 0;
  const T* row = nullptr;  // of the lane, in the tile

  __device__ __forceinline__ static const StreamNode& NodeAt(const ChainArgs& args, int node) {
    return node < args.chain.count ? args.chain.nodes[node] : args.chain.next[node - args.chain.count];
  }
  __device__ __forceinline__ void TakeRow(const ChainArgs& args) {
    row = RowOfTile<T>(args.chain, NodeAt(args, node), tile, threadIdx.x % kTileRows);
  }
  // To the beginning of the first node, from `at` on and before `end`, of which the block has tiles.
  __device__ __forceinline__ void Enter(const ChainArgs& args, int at, int end) {
    for (node = at; node < end; ++node) {
      tile = FirstTile(args.tiles[node], blockIdx.x);
      end_tile = FirstTile(args.tiles[node], blockIdx.x + 1);
      if (tile < end_tile) break;
    }
    first = 0;
    piece = 0;
    if (node == end) return;
    columns = NodeAt(args, node).input.columns;
    TakeRow(args);
  }
  // To the next chunk.
  __device__ __forceinline__ void NextChunk(const ChainArgs& args, int end) {
    piece = 0;
    first += kChunkColumns;
    if (first < columns) return;
    first = 0;
    if (++tile < end_tile) {
      TakeRow(args);
    } else {
      Enter(args, node + 1, end);
    }
  }
  __device__ __forceinline__ int bytes() const { return min(kChunkColumns, columns - first) * 2; }
};

// A place in the ring: a stage, and how often it was used before, modulo 2.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next(int stages) {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// One warp: the ring's loads, of all nodes.
template <typename T>
class Producer {
 public:
  __device__ __forceinline__ Producer(const ChainArgs& args, const Barriers& barriers, uint32_t ring)
      : args_(args),
        barriers_(barriers),
        ring_(ring),
        lane_(threadIdx.x % 32),
        stages_(args.stages),
        policy_(EvictFirstPolicy()) {}

  __device__ __forceinline__ void Run() {
    const int end = args_.chain.count;
    issue_.Enter(args_, 0, end);
    ahead_ = issue_;
    while (issue_.node < end) {
      STAMP_ARGS(args_, issue_.node, 6);
      FreeStage();
      IssueChunk();
    }
    // What the next chain will read, while the block computes on.
    while (ahead_pieces_ < args_.chain.most_ahead && ahead_.node < end + args_.chain.next_count &&
           !Ended(barriers_.finished, 0)) {
      LookAhead();
    }
    AwaitPredecessor();
  }

 private:
  __device__ __forceinline__ static bool Ended(uint32_t barrier, uint32_t parity) {
    return __any_sync(0xFFFFFFFFu, BarrierTest(barrier, parity));
  }

  // Follows the consumers, until there is room for a stage.
  __device__ __forceinline__ void FreeStage() {
    while (held_ > 0 && Ended(barriers_.empty + 8 * read_.stage, read_.parity)) {
      --held_;
      read_.Next(stages_);
    }
    while (held_ == stages_) {
      LookAhead();
      if (!Ended(barriers_.empty + 8 * read_.stage, read_.parity)) continue;
      --held_;
      read_.Next(stages_);
    }
  }

  __device__ __forceinline__ void IssueChunk() {
    const uint32_t row_stride = ShapeOfRing(issue_.columns).row_stride;
    const int bytes = issue_.bytes();
    const int most_on_way = held_ >= kWellAhead ? args_.chain.in_flight_ahead : args_.chain.in_flight;
    const uint32_t to = ring_ + write_.stage * args_.stage_bytes + lane_ * row_stride;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      while (on_way_ >= most_on_way) {
        BarrierWait(barriers_.full + 8 * (arriving_.stage * kPieces + arriving_piece_), arriving_.parity);
        --on_way_;
        if (++arriving_piece_ == kPieces) {
          arriving_piece_ = 0;
          arriving_.Next(stages_);
        }
      }
      ++on_way_;
      const uint32_t barrier = barriers_.full + 8 * (write_.stage * kPieces + piece);
      if (lane_ == piece * kPieceRows) BarrierArriveExpect(barrier, bytes * kPieceRows);
      __syncwarp();
      if (lane_ / kPieceRows == piece) BulkCopy(to, issue_.row + issue_.first, bytes, barrier, policy_);
    }
    write_.Next(stages_);
    ++held_;
    issue_.NextChunk(args_, args_.chain.count);
    ahead_pieces_ -= kPieces;
    if (ahead_pieces_ >= 0) return;
    ahead_pieces_ = 0;
    if (issue_.node < args_.chain.count) {
      ahead_ = issue_;
    } else {
      ahead_.Enter(args_, args_.chain.count, args_.chain.count + args_.chain.next_count);
    }
  }

  // Asks for one more piece, if it is time.
  __device__ __forceinline__ void LookAhead() {
    const int end = args_.chain.count + args_.chain.next_count;
    if (ahead_pieces_ >= args_.chain.most_ahead || ahead_.node >= end) return;
    const uint64_t now = __shfl_sync(0xFFFFFFFFu, GlobalTimer(), 0);
    if (now - last_ns_ < static_cast<uint64_t>(args_.chain.pace_ns)) return;
    last_ns_ = now;
    if (lane_ / kPieceRows == ahead_.piece) BulkPrefetch(ahead_.row + ahead_.first, ahead_.bytes());
    ++ahead_pieces_;
    if (++ahead_.piece == kPieces) ahead_.NextChunk(args_, end);
  }

  static constexpr int kWellAhead = 3;  // stages that are not read yet
  const ChainArgs& args_;
  const Barriers& barriers_;
  const uint32_t ring_;
  const int lane_;
  const int stages_;
  const uint64_t policy_;
  StreamCursor<T> issue_;
  StreamCursor<T> ahead_;  // of the L2 cache
  int ahead_pieces_ = 0;   // between the two
  uint64_t last_ns_ = 0;
  RingPlace write_;     // the next stage to be filled
  RingPlace read_;      // the oldest that is not read by all
  int held_ = 0;        // stages between the two
  RingPlace arriving_;  // of the oldest piece on its way
  int arriving_piece_ = 0;
  int on_way_ = 0;
};

// A warp's share of the input, [unit][row][64 bytes]: every eighth unit of 32 columns. `polled`: what is read
// begins poisoned, and is read again until it is there.
__device__ __forceinline__ void LoadInput(const StreamInput& input, bool polled, int warp, uint8_t* mine) {
  const int lane = threadIdx.x % 32;
  const int rows = input.rows;
  const auto* x = static_cast<const uint8_t*>(input.x);
  const int pieces = UnitsPerWarp(input.columns) * rows * 4;
  constexpr int kBatch = 7;  // loads that are on their way before the first is stored
  if (polled) {
    // Most blocks end at about the same time: a first look at 64 bytes, so that those who wait do not take
    // the bandwidth of those who still compute.
    const int column = warp * kUnitColumns + lane * 8;
    const bool looks = lane < 4 && column < input.columns;
    while (__any_sync(0xFFFFFFFFu, looks && IsPoisoned(LoadRelaxed(x + column * 2)))) {
    }
  }
  for (int first = lane; first < pieces; first += 32 * kBatch) {
    uint4 values[kBatch];
    const uint8_t* places[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const int i = first + 32 * k;
      const int row = (i / 4) % rows;
      const int column = (warp + kConsumerWarps * (i / (4 * rows))) * kUnitColumns + i % 4 * 8;
      places[k] = i < pieces && column < input.columns
                      ? x + (static_cast<int64_t>(row) * input.columns + column) * 2
                      : nullptr;
      values[k] = places[k] != nullptr ? LoadRelaxed(places[k]) : uint4{};
    }
    // What is missing is asked for together, as often as it takes.
    for (bool missing = polled; missing;) {
      missing = false;
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (!IsPoisoned(values[k])) continue;
        missing = true;
        values[k] = LoadRelaxed(places[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (places[k] != nullptr) *reinterpret_cast<uint4*>(mine + (first + 32 * k) * 16) = values[k];
    }
    // Columns beyond the last unit's end multiply zeros.
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (places[k] == nullptr && first + 32 * k < pieces) {
        *reinterpret_cast<uint4*>(mine + (first + 32 * k) * 16) = uint4{};
      }
    }
  }
  __syncwarp();
}

// Eight warps: each multiplies every eighth unit of 32 columns, of the input and of every tile's rows.
template <typename T>
__device__ __forceinline__ void RunConsumer(const ChainArgs& args, const Barriers& barriers, uint32_t ring,
                                            uint8_t* input_shared, float* partials) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  int stage = 0;
  uint32_t parity = 0;
  int index = 0;  // of the block's tiles, over all nodes
  uint8_t* const mine = input_shared + warp * (args.input_bytes / kConsumerWarps);
  for (int n = 0; n < args.chain.count; ++n) {
    const StreamInput& input = args.chain.nodes[n].input;
    const int rows = input.rows;
    const int columns = input.columns;
    const RingShape shape = ShapeOfRing(columns);
    if (n == 0) AwaitPredecessor();
    const int first_tile = FirstTile(args.tiles[n], blockIdx.x);
    const int end_tile = FirstTile(args.tiles[n], blockIdx.x + 1);
    if (first_tile == end_tile) continue;
    LoadInput(input, n > 0, warp, mine);
    if (warp == 0) STAMP(n, 2);
    const uint32_t mine_at = SharedAddress(mine) + (lane / 4) * 64 + (lane % 4) * 16;
    const uint32_t weights_at = ring + (lane / 4) * shape.row_stride + (lane % 4) * 16;
    const bool low = lane / 4 < rows;
    const bool high = lane / 4 + 8 < rows;
    const int unit_bytes = rows * 64;
    for (int tile = first_tile; tile < end_tile; ++tile, ++index) {
      float sums[4] = {};
      float more[4] = {};  // a second chain of products, so that neither waits for the other
      uint32_t unit_at = mine_at;
      for (int chunk = 0; chunk < columns; chunk += shape.chunk_columns) {
        const int chunk_columns = min(shape.chunk_columns, columns - chunk);
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) {
          BarrierWait(barriers.full + 8 * (stage * kPieces + piece), parity);
        }
#ifdef TESSERA_LEDGER
        if (warp == 0 && tile == first_tile && chunk == 0) STAMP(n, 3);
        if (warp == 0 && tile == end_tile - 1 && chunk + shape.chunk_columns >= columns) STAMP(n, 4);
#endif
        const uint32_t weights = weights_at + stage * args.stage_bytes;
#pragma unroll 4
        for (int column = warp * kUnitColumns; column < chunk_columns;
             column += kConsumerWarps * kUnitColumns) {
          uint4 w = {};
          uint4 a = {};
          uint4 b = {};
          if (column + (lane % 4) * 8 < chunk_columns) w = LoadShared16(weights + column * 2);
          if (low) a = LoadShared16(unit_at);
          if (high) b = LoadShared16(unit_at + 8 * 64);
          unit_at += unit_bytes;
          const uint32_t first[4] = {a.x, b.x, a.y, b.y};
          Mma<T>(sums, first, w.x, w.y);
          const uint32_t second[4] = {a.z, b.z, a.w, b.w};
          Mma<T>(more, second, w.z, w.w);
        }
        __syncwarp();
        if (lane == 0) BarrierArrive(barriers.empty + 8 * stage);
        if (++stage == args.stages) {
          stage = 0;
          parity ^= 1;
        }
      }
      const int buffer = index % kPartialBuffers;
      if (index >= kPartialBuffers) {
        BarrierWait(barriers.partial_empty + 8 * buffer, (index / kPartialBuffers - 1) & 1);
      }
      float* out = partials + (buffer * kConsumerWarps + warp) * rows * kTileRows + (lane % 4) * 2;
      if (low) {
        *reinterpret_cast<float2*>(out + (lane / 4) * kTileRows) =
            make_float2(sums[0] + more[0], sums[1] + more[1]);
      }
      if (high) {
        *reinterpret_cast<float2*>(out + (lane / 4 + 8) * kTileRows) =
            make_float2(sums[2] + more[2], sums[3] + more[3]);
      }
      __syncwarp();
      if (lane == 0) BarrierArrive(barriers.partial_full + 8 * buffer);
    }
  }
}

#endif

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) StreamKernel(const __grid_constant__ ChainArgs args) {
  extern __shared__ __align__(128) uint8_t shared[];
#if __CUDA_ARCH__ >= 900
  auto* const scales = reinterpret_cast<float*>(shared + kBarrierBytes);
  auto* const partials = reinterpret_cast<float*>(shared + kHeadBytes);
  Barriers barriers;
  barriers.full = SharedAddress(shared);
  barriers.empty = barriers.full + 8 * kPieces * kMostStages;
  barriers.partial_full = barriers.empty + 8 * kMostStages;
  barriers.partial_empty = barriers.partial_full + 8 * kPartialBuffers;
  barriers.finished = barriers.partial_empty + 8 * kPartialBuffers;
  const int rows = args.chain.nodes[0].input.rows;
  auto* const held = reinterpret_cast<float*>(shared + kHeadBytes + PartialBytes(rows));
  uint8_t* const input =
      shared + kHeadBytes + PartialBytes(rows) + HeldBytes(rows, args.held_tiles, args.held_pairs);
  uint8_t* const ring = input + args.input_bytes;
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < args.stages; ++i) {
      for (int piece = 0; piece < kPieces; ++piece) BarrierInit(barriers.full + 8 * (i * kPieces + piece), 1);
      BarrierInit(barriers.empty + 8 * i, kConsumerWarps);
    }
    for (int i = 0; i < kPartialBuffers; ++i) {
      BarrierInit(barriers.partial_full + 8 * i, kConsumerWarps);
      BarrierInit(barriers.partial_empty + 8 * i, 1);
    }
    BarrierInit(barriers.finished, 1);
    BarrierInitFence();
    ReleaseSuccessor();
  }
  __syncthreads();
  if (warp == kProducerWarp) {
    Producer<T>(args, barriers, SharedAddress(ring)).Run();
  } else if (warp == kEpilogueWarp) {
    RunEpilogue<T>(args, barriers, partials, scales, held);
  } else {
    RunConsumer<T>(args, barriers, SharedAddress(ring), input, partials);
  }
#endif
}

int TilesOf(const StreamNode& node) {
  const int rows = node.kind == StreamKind::kGateUp ? kRun : kTileRows;
  return (node.outputs + rows - 1) / rows;
}

template <typename T>
cudaError_t LaunchTyped(const LaunchContext& context, const StreamChain& chain) {
  ChainArgs args = {};
  args.chain = chain;
  const int blocks = StreamBlocks(context.sm_count);
  int columns = 0;
  for (int n = 0; n < chain.count; ++n) {
    args.tiles[n] = TilesOf(chain.nodes[n]);
    columns = std::max(columns, chain.nodes[n].input.columns);
    if (chain.nodes[n].kind == StreamKind::kQkv)
      args.held_pairs = std::max(chain.qkv.rotary_dimensions / 2, 1);
    if (chain.nodes[n].kind == StreamKind::kResidual) {
      args.held_tiles = std::max(args.held_tiles, (args.tiles[n] + blocks - 1) / blocks);
    }
  }
  for (int n = 0; n < chain.next_count; ++n) args.tiles[chain.count + n] = TilesOf(chain.next[n]);
  const int rows = chain.nodes[0].input.rows;
  args.stage_bytes = ShapeOfRing(columns).stage_bytes;
  args.input_bytes = InputBytes(rows, columns);
  const int fixed =
      kHeadBytes + PartialBytes(rows) + HeldBytes(rows, args.held_tiles, args.held_pairs) + args.input_bytes;
  args.stages = std::min((kSharedBytes - fixed) / args.stage_bytes, kMostStages);
  args.chain.in_flight = std::min(chain.in_flight, args.stages * kPieces);
  args.chain.in_flight_ahead = std::min(chain.in_flight_ahead, args.chain.in_flight);
  const size_t bytes = static_cast<size_t>(fixed) + static_cast<size_t>(args.stages) * args.stage_bytes;
  return Launch(context, &StreamKernel<T>, dim3(blocks), dim3(kThreads), bytes, args);
}

}  // namespace

int StreamBlocks(int sm_count) { return std::min(sm_count, kMostStreamBlocks); }

bool StreamFits(ElementType type, int rows, int most_columns) {
  if (type != ElementType::kBF16 && type != ElementType::kF16) return false;
  if (rows < 1 || rows > kMostStreamedRows || most_columns < 8) return false;
  const int fixed = kHeadBytes + PartialBytes(rows) + InputBytes(rows, most_columns);
  return kSharedBytes - fixed >= 2 * ShapeOfRing(most_columns).stage_bytes;
}

StreamPace StreamPaceOf(double memory_bytes_per_second, int sm_count) {
  // Measured with bench/gpu/chain_bench: twice what the bandwidth needs is on its way to a block.
  constexpr double kPieceBytes = 8192;
  constexpr double kLatencySeconds = 3.2e-6;
  const double block_bytes_per_second = std::max(memory_bytes_per_second, 1e11) / std::max(sm_count, 1);
  StreamPace pace;
  pace.in_flight =
      std::clamp(static_cast<int>(block_bytes_per_second * kLatencySeconds / kPieceBytes + 0.5), 3, 16);
  pace.in_flight_ahead = std::max(pace.in_flight / 2, 2);
  pace.most_ahead = 20;
  pace.ns = static_cast<int>(0.7e9 * kPieceBytes / block_bytes_per_second);
  return pace;
}

cudaError_t PrepareStreamKernels() {
  const cudaError_t error = AllowSharedMemory(&StreamKernel<__half>, kSharedBytes);
  return error != cudaSuccess ? error : AllowSharedMemory(&StreamKernel<__nv_bfloat16>, kSharedBytes);
}

cudaError_t LaunchStreamChain(const LaunchContext& context, ElementType type, const StreamChain& chain) {
  if (chain.count < 1 || chain.count > StreamChain::kMostNodes) return cudaErrorInvalidValue;
  for (int n = 0; n < chain.count; ++n) {
    const StreamInput& input = chain.nodes[n].input;
    if (input.columns % 8 != 0 || !StreamFits(type, input.rows, input.columns)) return cudaErrorInvalidValue;
  }
  return type == ElementType::kF16 ? LaunchTyped<__half>(context, chain)
                                   : LaunchTyped<__nv_bfloat16>(context, chain);
}

}  // namespace tessera::gpu
