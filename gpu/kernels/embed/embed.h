// Tokens become the hidden state: rows of the embedding table, widened.
#ifndef TESSERA_GPU_KERNELS_EMBED_EMBED_H_
#define TESSERA_GPU_KERNELS_EMBED_EMBED_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"

namespace tessera::gpu {

struct EmbedArgs {
  const void* table = nullptr;  // [vocabulary, columns]
  int32_t vocabulary = 0;
  int32_t columns = 0;
  const int32_t* tokens = nullptr;  // [capacity], within the vocabulary
  const int32_t* rows = nullptr;    // how many there are; those from there on become zero
  int32_t capacity = 0;             // rows that the launch covers
  float* hidden = nullptr;          // [capacity, columns]
  // For chains (kernels/linear/linear.h), which take their first norm apart: hidden * next_norm, in the
  // table's type, and sums of squares. All null: not wanted.
  const float* next_norm = nullptr;  // [columns]
  void* next_x = nullptr;            // [capacity, columns]
  float* square_sums = nullptr;      // [capacity, square_stride], EmbedParts a row
  int32_t square_stride = 0;
};

// Thread blocks that a row is dealt to.
int EmbedParts(int32_t capacity, int32_t columns);

// `type` of the table.
cudaError_t LaunchEmbed(const LaunchContext& context, ElementType type, const EmbedArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_EMBED_EMBED_H_
