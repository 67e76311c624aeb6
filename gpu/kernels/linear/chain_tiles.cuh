// Which weight rows are whose: a node's outputs are tiles of 8 rows, of which each block has consecutive
// ones.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_TILES_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_TILES_CUH_

#include <cstdint>

#include "gpu/kernels/linear/chain_shape.h"

namespace tessera::gpu::chain {

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

}  // namespace tessera::gpu::chain

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_TILES_CUH_
