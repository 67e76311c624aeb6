// What becomes of a sum of QKV, or of gate and up, once it is scaled: bias, rotation, cache; activation. A
// lane has output `column` of a tile for row `row`. All lanes of a warp call these functions together, the
// eight columns of a row being neighbours. Knows no barriers and no order of tiles.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_FINISH_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_FINISH_CUH_

#include <cstdint>

#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/linear/chain_tiles.cuh"

namespace tessera::gpu::chain {

// What QKV needs of the step, for each row; in shared memory.
struct QkvRows {
  int64_t* places = nullptr;  // [rows]: where in the cache the row's key lies, in bytes; -1: nowhere
  float2* turns = nullptr;    // [rows, pairs]: cosine and sine
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

}  // namespace tessera::gpu::chain

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_FINISH_CUH_
