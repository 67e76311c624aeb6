// Prompts over a cache of BF16.
#include "gpu/kernels/attention/prefill.cuh"

namespace tessera::gpu {

PrefillVariant FindPrefillBF16(int32_t head_size, bool small) {
  switch (head_size) {
    case 64:
      return MakePrefillVariant<__nv_bfloat16, 64, 2, 64, false>();
    case 80:
      return MakePrefillVariant<__nv_bfloat16, 80, 2, 64, false>();
    case 96:
      return MakePrefillVariant<__nv_bfloat16, 96, 2, 64, false>();
    case 128:
      return small ? MakePrefillVariant<__nv_bfloat16, 128, 1, 64, false>()
                   : MakePrefillVariant<__nv_bfloat16, 128, 2, 64, false>();
    case 256:
      return MakePrefillVariant<__nv_bfloat16, 256, 1, 32, false>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu
