// Which rows of a step a thread block of the prompts' kernels takes.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_PREFILL_TILE_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_PREFILL_TILE_CUH_

#include <cstdint>

#include "gpu/kernels/attention/decode_walk.cuh"

namespace tessera::gpu {

// Rows [first_row, first_row + rows) of the step, which have positions [position, position + rows).
struct QueryTile {
  int32_t sequence;
  int32_t first_row;
  int32_t rows;
  int32_t position;
};

// Tile `number` from the end: what is behind sees more keys and should begin first. By a whole warp.
__device__ __forceinline__ bool FindQueryTile(const AttentionCall& call, int32_t tile_rows, int32_t number,
                                              QueryTile* tile) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x & 31);
  const int32_t sequences = min(call.step.counts[StepArrays::kSequences], call.max_sequences);
  int32_t skip = number;
  for (int32_t end = RoundUp(sequences, 32); end > 0; end -= 32) {
    const int32_t sequence = end - 1 - lane;
    int32_t rows = sequence < sequences ? call.step.row_count[sequence] : 0;
    if (rows == 1 && !call.single_rows_as_prompts) rows = 0;
    const int32_t tiles = CeilDivide(rows, tile_rows);
    int32_t sum = tiles;
    for (int distance = 1; distance < 32; distance *= 2) {
      const int32_t other = __shfl_up_sync(kAllLanes, sum, distance);
      if (lane >= distance) sum += other;
    }
    const int32_t all = __shfl_sync(kAllLanes, sum, 31);
    if (skip >= all) {
      skip -= all;
      continue;
    }
    const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, sum > skip))) - 1;
    const int32_t from_end = skip - __shfl_sync(kAllLanes, sum - tiles, owner);
    const int32_t index = __shfl_sync(kAllLanes, tiles, owner) - 1 - from_end;
    tile->sequence = end - 1 - owner;
    tile->first_row = call.step.first_row[tile->sequence] + index * tile_rows;
    tile->rows = min(tile_rows, __shfl_sync(kAllLanes, rows, owner) - index * tile_rows);
    tile->position = call.step.first_position[tile->sequence] + index * tile_rows;
    return true;
  }
  return false;
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_PREFILL_TILE_CUH_
