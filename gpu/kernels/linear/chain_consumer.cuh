// The warps that multiply: each loads its share of a node's input once, then meets it with that share of
// every tile of weights in the ring, and leaves its partial sums to the epilogue.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_CONSUMER_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_CONSUMER_CUH_

#include <cstdint>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/chain_barriers.cuh"
#include "gpu/kernels/linear/chain_ledger.cuh"
#include "gpu/kernels/linear/chain_polling.cuh"
#include "gpu/kernels/linear/chain_tiles.cuh"

#if __CUDA_ARCH__ >= 900

namespace tessera::gpu::chain {

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
    if (warp == 0) Stamp(args.chain, n, kStampInput);
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
        if (warp == 0 && tile == first_tile && chunk == 0) Stamp(args.chain, n, kStampFirstChunk);
        if (warp == 0 && tile == end_tile - 1 && chunk + shape.chunk_columns >= columns) {
          Stamp(args.chain, n, kStampLastChunk);
        }
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

}  // namespace tessera::gpu::chain

#endif  // __CUDA_ARCH__ >= 900

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_CONSUMER_CUH_
