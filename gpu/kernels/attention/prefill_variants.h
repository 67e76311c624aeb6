// Prompts: which instances of their kernels there are.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_PREFILL_VARIANTS_H_
#define TESSERA_GPU_KERNELS_ATTENTION_PREFILL_VARIANTS_H_

#include <cstddef>
#include <cstdint>

#include "gpu/kernels/attention/attention.h"

namespace tessera::gpu {

using PrefillKernel = void (*)(AttentionCall);
struct PrefillVariant {
  PrefillKernel kernel = nullptr;  // nullptr: there is none for this shape
  int32_t tile_rows = 0;           // queries of a CTA
  int32_t threads = 0;
  size_t shared_bytes = 0;
};
// small: for devices with less shared memory, where another instance serves them. Defined where the
// instances are.
PrefillVariant FindPrefillBF16(int32_t head_size, bool small);
PrefillVariant FindPrefillF16(int32_t head_size, bool small);
PrefillVariant FindPrefillInt8(int32_t head_size, bool small);
// The products of sm_90a (prefill_hopper.cuh): 16-bit caches, heads of 64 and 128. The kernel does nothing in
// device code for others.
PrefillVariant FindPrefillHopper(ElementType cache_type, int32_t head_size);

// Any shape and type: a block for kPlainThreads / 32 heads of a row.
inline constexpr int kPlainThreads = 128;
__global__ void PlainAttention(AttentionCall call, bool decode);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_PREFILL_VARIANTS_H_
