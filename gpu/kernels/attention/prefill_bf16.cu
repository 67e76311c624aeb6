// Prompts over a cache of BF16.
#include "gpu/kernels/attention/prefill.cuh"

namespace tessera::gpu {

PrefillVariant FindPrefillBF16(int32_t head_size, bool small) {
  return FindHalfPrefill<__nv_bfloat16>(head_size, small);
}

}  // namespace tessera::gpu
