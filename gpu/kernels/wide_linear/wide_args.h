// What the host tells a kernel of wide_linear.h, and the instances that there are of it.
#ifndef TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_ARGS_H_
#define TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_ARGS_H_

#include <cuda.h>

#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {

inline constexpr int kClusterBlocks = 4;
inline constexpr int kWideConsumerWarps = 8;  // two warpgroups
inline constexpr int kWideThreads = 32 * (kWideConsumerWarps + 2);
inline constexpr int kWideChunk = 64;  // columns of a stage
inline constexpr int kWideChunkRowBytes = 128;
inline constexpr int kMostWideStages = 16;
inline constexpr int kMostWideSlots = kMostWideRows / kClusterBlocks;  // rows that a block finishes
inline constexpr int kSlotsPerWarp = kMostWideSlots / kWideConsumerWarps;
// Heads of the shared memory: barriers. What follows is aligned to 1024, as the swizzle wants it.
inline constexpr int kWideHeadBytes = 1024;

// A node's weights as the ring sees them. A tile is 2 * half rows, of which a warpgroup multiplies `half`;
// it is brought by `copies` boxes of one chunk's columns.
struct WideSource {
  CUtensorMap maps[3];  // kQkv: query, key, value; kGateUp: gate, up; others: one
  StreamKind kind;
  int half;
  int tiles;
  int clusters;
  int chunks;
  int copies;
  int copy_bytes;
  // kQkv: a box is 2 * run rows of a head. Where pairs are halves those are `run` rows of each half, else
  // consecutive ones.
  int run;
  bool halves;
  int query_boxes, key_boxes;  // of the matrices (value has as many as key)
  int head_boxes;
};

struct WideArgs {
  WideSource source;
  WideSource next;  // no tiles: there is none
  CUtensorMap x;
  StreamNode node;
  StreamQkv qkv;
  int padded_rows;  // a multiple of 8
  int stages;
  int in_flight;  // stages
  int ahead;      // chunks
  int first_ahead;
  int pace_ns;  // of a chunk
  bool release_early;
};

// Kernels for halves of 16, 32, ... 128 rows.
inline constexpr int kWideInstances = 8;
using WideKernel = void (*)(WideArgs);
WideKernel WideKernelOfBf16(int instance);
WideKernel WideKernelOfF16(int instance);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_ARGS_H_
