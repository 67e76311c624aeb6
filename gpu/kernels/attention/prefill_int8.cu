// Prompts over a cache of int8 rows, which become BF16 on their way into shared memory.
#include "gpu/kernels/attention/prefill.cuh"

namespace tessera::gpu {

PrefillVariant FindPrefillInt8(int32_t head_size, bool small) {
  switch (head_size) {
    case 64:
      return MakePrefillVariant<__nv_bfloat16, 64, 2, 64, true>();
    case 128:
      return small ? MakePrefillVariant<__nv_bfloat16, 128, 1, 64, true>()
                   : MakePrefillVariant<__nv_bfloat16, 128, 2, 32, true>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu
