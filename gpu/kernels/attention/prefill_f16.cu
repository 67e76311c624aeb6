// Prompts over a cache of F16.
#include "gpu/kernels/attention/prefill.cuh"

namespace tessera::gpu {

PrefillVariant FindPrefillF16(int32_t head_size, bool small) {
  return FindHalfPrefill<__half>(head_size, small);
}

}  // namespace tessera::gpu
