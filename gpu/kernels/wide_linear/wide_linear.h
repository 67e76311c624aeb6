// The matrix products of a layer for 9 to 64 rows (any number from 1 on is right), each a kernel with all
// that stands between it and the next product; the nodes are those of linear.h, and so is what they hand on.
//
// A cluster of four thread blocks shares a tile of weight rows: each block multiplies a quarter of the
// columns, so that it needs a quarter of the input only, and the four sums meet in shared memory, in the
// blocks' order. The input is the wgmma's 64-row operand, whatever the number of rows is, and weights are
// the one whose height is a multiple of 8: so tiles are cut to share a matrix out evenly, and a row's result
// has the same bits whatever is beside it and however many rows there are.
//
// Weights move before the kernel before has ended; the input after.
#ifndef TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_LINEAR_H_
#define TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_LINEAR_H_

#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {

inline constexpr int kMostWideRows = 64;

// Of one device.
struct WideSetup {
  int clusters = 0;  // that it runs at once
  // What may be tuned; results do not depend on it.
  int shared_bytes = 0;             // of a block; at most what PrepareWideKernels sets
  int in_flight_bytes = 64 * 1024;  // of weights on their way to a block, about
  bool release_early = true;        // the next kernel may start at once, else when the one before has ended
  int ahead_bytes = 0;              // of weights asked for into the L2 cache beyond the loads, at most
  int pace_ns = 240;                // between two times 8 KB of them
};

// Once a device, outside of any capture. cudaErrorNotSupported where the device has no such kernels.
cudaError_t PrepareWideKernels(WideSetup* setup);

// A node: kQkv has its arrays in `qkv`, others have none. Vectors of F32 are aligned to 8 bytes. The sums of
// squares that a residual node writes are WideSquareParts of a row.
struct WideNode {
  StreamNode node;
  StreamQkv qkv;
};

// Whether these kernels can: BF16 and F16, 1 to 64 rows, aligned weights, whole heads rotated where pairs are
// halves. Else the library's product and separate kernels serve.
bool WideFits(const WideSetup& setup, ElementType type, const WideNode& node);

int WideSquareParts(const WideSetup& setup, int outputs);

// `next`: the node whose weights are asked for at the end, of which the weights' places and shapes matter
// only; may be null. `prefetched`: the kernel before had this one as its next.
cudaError_t LaunchWideLinear(const LaunchContext& context, const WideSetup& setup, ElementType type,
                             const WideNode& node, const WideNode* next, bool prefetched);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_LINEAR_H_
