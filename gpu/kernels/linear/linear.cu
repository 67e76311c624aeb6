// The kernel of linear.h's chains and its launchers. A block's warps have three roles, each in a header: one
// brings weights into a ring in shared memory (chain_producer.cuh), eight multiply them by the input
// (chain_consumer.cuh), one adds up what those have and does what follows (chain_epilogue.cuh).
#include <algorithm>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/chain_barriers.cuh"
#include "gpu/kernels/linear/chain_consumer.cuh"
#include "gpu/kernels/linear/chain_epilogue.cuh"
#include "gpu/kernels/linear/chain_producer.cuh"
#include "gpu/kernels/linear/chain_shape.h"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {
namespace chain {
namespace {

// Registers as for two blocks an SM, though the ring leaves shared memory for one: what comes behind a chain
// may find room beside it.
template <typename T>
__global__ void __launch_bounds__(kThreads, 2) StreamKernel(const __grid_constant__ ChainArgs args) {
  extern __shared__ __align__(128) uint8_t shared[];
#if __CUDA_ARCH__ >= 900
  auto* const scales = reinterpret_cast<float*>(shared + kBarrierBytes);
  auto* const partials = reinterpret_cast<float*>(shared + kHeadBytes);
  const Barriers barriers = BarriersAt(SharedAddress(shared));
  const int rows = args.chain.nodes[0].input.rows;
  auto* const held = reinterpret_cast<float*>(shared + kHeadBytes + PartialBytes(rows));
  uint8_t* const input =
      shared + kHeadBytes + PartialBytes(rows) + HeldBytes(rows, args.held_tiles, args.held_pairs);
  uint8_t* const ring = input + args.input_bytes;
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    InitBarriers(barriers, args);
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
}  // namespace chain

int StreamBlocks(int sm_count) { return std::min(sm_count, kMostStreamBlocks); }

bool StreamFits(ElementType type, int rows, int most_columns) {
  if (type != ElementType::kBF16 && type != ElementType::kF16) return false;
  if (rows < 1 || rows > kMostStreamedRows || most_columns < 8) return false;
  const int fixed = chain::kHeadBytes + chain::PartialBytes(rows) + chain::InputBytes(rows, most_columns);
  return chain::kSharedBytes - fixed >= 2 * chain::ShapeOfRing(most_columns).stage_bytes;
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
  const cudaError_t error = AllowSharedMemory(&chain::StreamKernel<__half>, chain::kSharedBytes);
  return error != cudaSuccess ? error
                              : AllowSharedMemory(&chain::StreamKernel<__nv_bfloat16>, chain::kSharedBytes);
}

cudaError_t LaunchStreamChain(const LaunchContext& context, ElementType type, const StreamChain& chain) {
  if (chain.count < 1 || chain.count > StreamChain::kMostNodes) return cudaErrorInvalidValue;
  for (int n = 0; n < chain.count; ++n) {
    const StreamInput& input = chain.nodes[n].input;
    if (input.columns % 8 != 0 || !StreamFits(type, input.rows, input.columns)) return cudaErrorInvalidValue;
  }
  return type == ElementType::kF16 ? chain::LaunchTyped<__half>(context, chain)
                                   : chain::LaunchTyped<__nv_bfloat16>(context, chain);
}

}  // namespace tessera::gpu
