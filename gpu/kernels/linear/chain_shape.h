// What host and device agree on about a chain: the roles of a block's warps, the sizes of tiles, stages and
// pieces, and what lies in the block's shared memory, in this order: barriers, then a few numbers of each row
// (the head), partial sums, what the epilogue keeps, the input, and the weights' ring, which takes the rest.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_SHAPE_H_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_SHAPE_H_

#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu::chain {

inline constexpr int kConsumerWarps = 8;
inline constexpr int kProducerWarp = kConsumerWarps;
inline constexpr int kEpilogueWarp = kConsumerWarps + 1;
inline constexpr int kThreads = 32 * (kConsumerWarps + 2);
inline constexpr int kTileRows = 8;         // weight rows of a tile: outputs that are summed together
inline constexpr int kRun = 4;              // rows of a tile that are sure to be neighbours in a matrix
inline constexpr int kUnitColumns = 32;     // what a lane's 16-byte loads of a unit cover
inline constexpr int kChunkColumns = 2048;  // of a stage of the ring: copies of 4 KB
inline constexpr int kPieces = 4;           // of a stage, each with a barrier
inline constexpr int kPieceRows = kTileRows / kPieces;
inline constexpr int kMostStages = 16;
inline constexpr int kPartialBuffers = 4;
inline constexpr int kSharedBytes = 227 * 1024;

struct ChainArgs {
  StreamChain chain;
  int tiles[StreamChain::kMostNodes +
            StreamChain::kMostNext];  // of each node, then of each of the next chain
  int stages;
  int stage_bytes;
  int input_bytes;
  int held_tiles;  // most tiles of a residual node that a block has
  int held_pairs;  // of rotation, a row; 0: no node is of kQkv
};

// A stage holds a chunk of columns of a tile's rows.
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

inline constexpr int kBarrierBytes = 8 * ((kPieces + 1) * kMostStages + 2 * kPartialBuffers + 1);
// Of each row: the scale of a node's outputs, the factor of its next_x, the place of its logits.
inline constexpr int kHeadBytes = (kBarrierBytes + 3 * kMostStreamedRows * 4 + 127) / 128 * 128;

}  // namespace tessera::gpu::chain

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_SHAPE_H_
