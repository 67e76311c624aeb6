// The last of a block's warps. Each tile's partial sums of the eight consumers are added in their order,
// scaled by 1 / rms, and become what the node is for: outputs, the hidden state, the cache. It also does what
// must happen once a chain: holds the block's hidden values from one residual node to the next, and poisons
// the next chain's buffers.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_EPILOGUE_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_EPILOGUE_CUH_

#include <cstdint>
#include <type_traits>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/element.cuh"
#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/chain_barriers.cuh"
#include "gpu/kernels/linear/chain_finish.cuh"
#include "gpu/kernels/linear/chain_ledger.cuh"
#include "gpu/kernels/linear/chain_polling.cuh"
#include "gpu/kernels/linear/chain_tiles.cuh"

#if __CUDA_ARCH__ >= 900

namespace tessera::gpu::chain {

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
  // See HeldBytes. Hidden values are [tile][row][8], weights of the norms [residual node][tile][8].
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
    Stamp(args.chain, n, kStampReached);
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
    Stamp(args.chain, n, kStampEnd);
  }
  if (lane == 0) BarrierArrive(barriers.finished);
}

}  // namespace tessera::gpu::chain

#endif  // __CUDA_ARCH__ >= 900

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_EPILOGUE_CUH_
