// What follows a tile's products: the cluster's sums meet, and each of its blocks does every fourth row's
// remaining work: scale, bias, rotation, cache, residual, activation.
#ifndef TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_FINISH_CUH_
#define TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_FINISH_CUH_

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/common/hopper.cuh"
#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/wide_linear/wide_args.h"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

namespace tessera::gpu {

// The rows that a warp finishes; all lanes know the same. Row 4 * slot + rank is in slot warp or warp + 8.
struct WideRows {
  int row[kSlotsPerWarp];  // kHead: of the logits
  bool valid[kSlotsPerWarp];
  float scale[kSlotsPerWarp];  // 1 / rms
  int position[kSlotsPerWarp];
  uint8_t* keys[kSlotsPerWarp];  // kQkv: the row's place in the cache, of the first head; null: none
};

// The place of the row's logits; -1: it is not sampled. The whole warp together.
__device__ __forceinline__ void FindSample(const StreamNode& node, int row, int* place) {
  *place = -1;
  const int count = *node.sample_count;
  for (int first = 0; first < count; first += 32) {
    const int i = first + static_cast<int>(threadIdx.x % 32);
    const uint32_t found = __ballot_sync(0xFFFFFFFFu, i < count && node.sample_rows[i] == row);
    if (found != 0) *place = first + __ffs(static_cast<int>(found)) - 1;
  }
}

__device__ __forceinline__ void FindRows(const WideArgs& args, int rank, int warp, WideRows* rows) {
  const StreamInput& input = args.node.input;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kSlotsPerWarp; ++k) {
    const int row = kClusterBlocks * (warp + kWideConsumerWarps * k) + rank;
    rows->row[k] = row;
    rows->valid[k] = row < input.rows;
    rows->scale[k] = 1.0f;
    rows->position[k] = 0;
    rows->keys[k] = nullptr;
    if (!rows->valid[k]) continue;
    if (args.node.kind == StreamKind::kHead && args.node.sample_rows != nullptr) {
      FindSample(args.node, row, &rows->row[k]);
      rows->valid[k] = rows->row[k] >= 0;
    }
    if (input.square_sums != nullptr) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kMostStreamBlocks / 32; ++i) {
        const int part = lane + 32 * i;
        if (part < input.square_parts) sum += __ldcg(input.square_sums + row * kMostStreamBlocks + part);
      }
#pragma unroll
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, step);
      rows->scale[k] = rsqrtf(sum / static_cast<float>(input.columns) + input.epsilon);
    }
    if (args.node.kind == StreamKind::kQkv) {
      const StepArrays& step = args.qkv.step;
      const CacheLayout& cache = args.qkv.cache;
      const int position = __ldcg(step.positions + row);
      const int sequence = __ldcg(step.row_sequence + row);
      rows->position[k] = position;
      if (sequence >= 0) {
        const int block = __ldcg(step.block_table + static_cast<int64_t>(sequence) * step.table_stride +
                                 position / cache.block_tokens);
        rows->keys[k] = cache.data + block * cache.block_bytes + cache.layer_offset_bytes +
                        static_cast<int64_t>(position % cache.block_tokens) * cache.row_bytes;
      }
    }
  }
}

// The sums of a cluster's blocks for the rows that this one finishes: [block][slot][2 * half]. Of a
// warpgroup's half of a row, the four lanes that had it in wgmma's fragments have written a quarter each.
template <int half>
class Inbox {
 public:
  __device__ __forceinline__ Inbox(const float* data, int slots) : data_(data), slots_(slots) {}

  // Of two neighbouring columns, the first of which is even.
  __device__ __forceinline__ float2 Pair(int slot, int column) const {
    const float* at = data_ + slot * 2 * half + Place(column);
    float2 sum = *reinterpret_cast<const float2*>(at);
#pragma unroll
    for (int block = 1; block < kClusterBlocks; ++block) {
      const float2 more = *reinterpret_cast<const float2*>(at + block * slots_ * 2 * half);
      sum.x += more.x;
      sum.y += more.y;
    }
    return sum;
  }
  __device__ __forceinline__ float Single(int slot, int column) const {
    const float* at = data_ + slot * 2 * half + Place(column);
    float sum = *at;
#pragma unroll
    for (int block = 1; block < kClusterBlocks; ++block) sum += at[block * slots_ * 2 * half];
    return sum;
  }

 private:
  __device__ __forceinline__ static int Place(int column) {
    const int in_half = column % half;
    return column - in_half + in_half % 8 / 2 * (half / 4) + in_half / 8 * 2 + in_half % 2;
  }

  const float* const data_;
  const int slots_;
};

// Sends a warpgroup's sums to the blocks that finish their rows.
template <int half>
__device__ __forceinline__ void SendSums(const float (&sums)[half / 2], int padded_rows, int rank,
                                         uint32_t inbox, uint32_t inbox_full) {
  const int group = threadIdx.x / 128;
  const int lane = threadIdx.x % 32;
  const int slots = padded_rows / kClusterBlocks;
#pragma unroll
  for (int eight = 0; eight < 2; ++eight) {
    const int row = threadIdx.x % 128 / 32 * 16 + eight * 8 + lane / 4;
    if (row >= padded_rows) continue;
    const int owner = row % kClusterBlocks;
    const int slot = row / kClusterBlocks;
    const uint32_t to = PeerAddress(
        inbox + 4 * ((rank * slots + slot) * 2 * half + group * half + lane % 4 * (half / 4)), owner);
    const uint32_t barrier = PeerAddress(inbox_full, owner);
#pragma unroll
    for (int j = 0; j < half / 8; j += 2) {
      const int at = 4 * j + 2 * eight;
      PeerStore(to + 8 * j, sums[at], sums[at + 1], sums[at + 4], sums[at + 5], barrier);
    }
  }
}

template <typename T>
struct alignas(4) Two {
  T values[2];
};

// The functions below are called by whole warps, before the sums are there: what else they need they load
// first. `arrived` waits for the sums.

template <typename T, int half, typename Arrived>
__device__ __forceinline__ void FinishResidual(const WideArgs& args, const WideRows& rows,
                                               const Inbox<half>& inbox, int tile, Arrived&& arrived) {
  constexpr int kPairs = (half + 31) / 32;  // of columns, that a lane has
  const StreamNode& node = args.node;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  float2 hidden[kSlotsPerWarp][kPairs];
  float2 norm[kPairs];
  float2 bias[kPairs];
  int output[kPairs];  // -1: none
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = lane + 32 * i;
    output[i] = tile * 2 * half + 2 * pair;
    if (pair >= half || output[i] >= node.outputs) output[i] = -1;
    bias[i] = make_float2(0, 0);
    if (output[i] < 0) continue;
    norm[i] = *reinterpret_cast<const float2*>(node.hidden.next_norm + output[i]);
    if (node.bias != nullptr) bias[i] = *reinterpret_cast<const float2*>(node.bias + output[i]);
#pragma unroll
    for (int k = 0; k < kSlotsPerWarp; ++k) {
      if (!rows.valid[k]) continue;
      hidden[k][i] = __ldcg(reinterpret_cast<const float2*>(
          node.hidden.hidden + static_cast<int64_t>(rows.row[k]) * node.outputs + output[i]));
    }
  }
  arrived();
#pragma unroll
  for (int k = 0; k < kSlotsPerWarp; ++k) {
    if (!rows.valid[k]) continue;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (output[i] < 0) continue;
      const float2 sum = inbox.Pair(warp + kWideConsumerWarps * k, 2 * (lane + 32 * i));
      const float2 value = make_float2(hidden[k][i].x + (sum.x * rows.scale[k] + bias[i].x),
                                       hidden[k][i].y + (sum.y * rows.scale[k] + bias[i].y));
      const int64_t at = static_cast<int64_t>(rows.row[k]) * node.outputs + output[i];
      *reinterpret_cast<Two<T>*>(static_cast<T*>(node.hidden.next_x) +
                                 at) = {{Narrow<T>(value.x * norm[i].x), Narrow<T>(value.y * norm[i].y)}};
      *reinterpret_cast<float2*>(node.hidden.hidden + at) = value;
      squares += value.x * value.x + value.y * value.y;
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(0xFFFFFFFFu, squares, step);
    if (lane == 0) node.hidden.square_sums[rows.row[k] * kMostStreamBlocks + tile] = squares;
  }
}

__device__ __forceinline__ float Activated(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

template <typename T, int half, typename Arrived>
__device__ __forceinline__ void FinishGateUp(const WideArgs& args, const WideRows& rows,
                                             const Inbox<half>& inbox, int tile, Arrived&& arrived) {
  const StreamNode& node = args.node;
  const int warp = threadIdx.x / 32;
  arrived();
#pragma unroll
  for (int k = 0; k < kSlotsPerWarp; ++k) {
    if (!rows.valid[k]) continue;
    const int slot = warp + kWideConsumerWarps * k;
    for (int pair = threadIdx.x % 32; pair < half / 2; pair += 32) {
      const int output = tile * half + 2 * pair;
      if (output >= node.outputs) continue;
      const float2 gate = inbox.Pair(slot, 2 * pair);
      const float2 up = inbox.Pair(slot, half + 2 * pair);
      const float scale = rows.scale[k];
      *reinterpret_cast<Two<T>*>(static_cast<T*>(node.out) +
                                 static_cast<int64_t>(rows.row[k]) * node.outputs +
                                 output) = {{Narrow<T>(Activated(gate.x * scale, up.x * scale)),
                                             Narrow<T>(Activated(gate.y * scale, up.y * scale))}};
    }
  }
}

template <int half, typename Arrived>
__device__ __forceinline__ void FinishHead(const WideArgs& args, const WideRows& rows,
                                           const Inbox<half>& inbox, int tile, Arrived&& arrived) {
  const StreamNode& node = args.node;
  const int warp = threadIdx.x / 32;
  const bool even = node.outputs % 2 == 0;
  arrived();
#pragma unroll
  for (int k = 0; k < kSlotsPerWarp; ++k) {
    if (!rows.valid[k]) continue;
    const int slot = warp + kWideConsumerWarps * k;
    for (int pair = threadIdx.x % 32; pair < half; pair += 32) {
      const int output = tile * 2 * half + 2 * pair;
      if (output >= node.outputs) continue;
      const float2 sum = inbox.Pair(slot, 2 * pair);
      float* const to =
          static_cast<float*>(node.out) + static_cast<int64_t>(rows.row[k]) * node.outputs + output;
      if (even) {
        *reinterpret_cast<float2*>(to) = make_float2(sum.x * rows.scale[k], sum.y * rows.scale[k]);
      } else {
        to[0] = sum.x * rows.scale[k];
        if (output + 1 < node.outputs) to[1] = sum.y * rows.scale[k];
      }
    }
  }
}

// Where a box of QKV lies.
struct QkvBox {
  int matrix;  // 0: query, 1: key, 2: value; behind the last row, of value too
  int box;     // of the matrix
};
__device__ __forceinline__ QkvBox FindBox(const WideSource& source, int box) {
  if (box < source.query_boxes) return {0, box};
  box -= source.query_boxes;
  return box < source.key_boxes ? QkvBox{1, box} : QkvBox{2, box - source.key_boxes};
}

// A pair of QKV's columns: what one rotation turns.
struct QkvPair {
  int columns[2];   // of the tile
  int elements[2];  // of the head
  int matrix;
  int head;  // -1: none
  bool rotates;
  int turn;  // in a position's row of the rotary table
};

template <int half>
__device__ __forceinline__ QkvPair PlaceOfPair(const WideArgs& args, int tile, int pair) {
  const WideSource& source = args.source;
  const StreamQkv& qkv = args.qkv;
  const int box_in_tile = pair / source.run;
  const int in_box = pair % source.run;
  const QkvBox at = FindBox(source, tile * (half / source.run) + box_in_tile);
  QkvPair place;
  place.matrix = at.matrix;
  place.head = at.box / source.head_boxes;
  const int box_in_head = at.box % source.head_boxes;
  const int first_column = box_in_tile * 2 * source.run;
  if (source.halves) {
    place.columns[0] = first_column + in_box;
    place.columns[1] = first_column + source.run + in_box;
    place.elements[0] = box_in_head * source.run + in_box;
    place.elements[1] = place.elements[0] + qkv.head_size / 2;
    place.turn = place.elements[0];
  } else {
    place.columns[0] = first_column + 2 * in_box;
    place.columns[1] = place.columns[0] + 1;
    place.elements[0] = box_in_head * 2 * source.run + 2 * in_box;
    place.elements[1] = place.elements[0] + 1;
    place.turn = place.elements[0] / 2;
  }
  place.rotates = place.matrix < 2 && place.elements[0] < qkv.rotary_dimensions;
  if (place.head >= (place.matrix == 0 ? qkv.heads : qkv.kv_heads)) place.head = -1;
  return place;
}

template <typename T, int half, typename Arrived>
__device__ __forceinline__ void FinishQkv(const WideArgs& args, const WideRows& rows,
                                          const Inbox<half>& inbox, int tile, Arrived&& arrived) {
  constexpr int kPairs = (half + 31) / 32;
  const StreamQkv& qkv = args.qkv;
  const int warp = threadIdx.x / 32;
  QkvPair places[kPairs];
  float2 bias[kPairs];
  float2 turns[kSlotsPerWarp][kPairs];
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = threadIdx.x % 32 + 32 * i;
    places[i] = PlaceOfPair<half>(args, tile, pair);
    if (pair >= half) places[i].head = -1;
    const QkvPair& place = places[i];
    bias[i] = make_float2(0, 0);
    if (place.head < 0) continue;
    const float* const biases = place.matrix == 0   ? qkv.query_bias
                                : place.matrix == 1 ? qkv.key_bias
                                                    : qkv.value_bias;
    if (biases != nullptr) {
      bias[i] = make_float2(biases[place.head * qkv.head_size + place.elements[0]],
                            biases[place.head * qkv.head_size + place.elements[1]]);
    }
#pragma unroll
    for (int k = 0; k < kSlotsPerWarp; ++k) {
      turns[k][i] = make_float2(1, 0);
      if (place.rotates && rows.valid[k]) {
        turns[k][i] =
            qkv.rotary[static_cast<int64_t>(rows.position[k]) * (qkv.rotary_dimensions / 2) + place.turn];
      }
    }
  }
  arrived();
#pragma unroll
  for (int k = 0; k < kSlotsPerWarp; ++k) {
    if (!rows.valid[k]) continue;
    const int slot = warp + kWideConsumerWarps * k;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const QkvPair& place = places[i];
      if (place.head < 0) continue;
      const float a = inbox.Single(slot, place.columns[0]) * rows.scale[k] + bias[i].x;
      const float b = inbox.Single(slot, place.columns[1]) * rows.scale[k] + bias[i].y;
      const float2 turn = turns[k][i];
      const float first = a * turn.x - b * turn.y;
      const float second = b * turn.x + a * turn.y;
      if (place.matrix == 0) {
        T* const to = static_cast<T*>(qkv.q) +
                      (static_cast<int64_t>(rows.row[k]) * qkv.heads + place.head) * qkv.head_size;
        to[place.elements[0]] = Narrow<T>(first);
        to[place.elements[1]] = Narrow<T>(second);
      } else if (rows.keys[k] != nullptr) {
        uint8_t* const to = rows.keys[k] + (place.matrix == 1 ? 0 : qkv.cache.value_offset_bytes) +
                            static_cast<int64_t>(place.head) * qkv.cache.block_tokens * qkv.cache.row_bytes;
        if (qkv.cache.type == ElementType::kF16) {
          reinterpret_cast<__half*>(to)[place.elements[0]] = __float2half_rn(first);
          reinterpret_cast<__half*>(to)[place.elements[1]] = __float2half_rn(second);
        } else {
          reinterpret_cast<__nv_bfloat16*>(to)[place.elements[0]] = __float2bfloat16_rn(first);
          reinterpret_cast<__nv_bfloat16*>(to)[place.elements[1]] = __float2bfloat16_rn(second);
        }
      }
    }
  }
}

}  // namespace tessera::gpu

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

#endif  // TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_FINISH_CUH_
