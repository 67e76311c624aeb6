// Prompts over caches of BF16 and F16 on sm_90a.
#include "gpu/kernels/attention/prefill_hopper.cuh"

namespace tessera::gpu {

PrefillVariant FindPrefillHopper(ElementType cache_type, int32_t head_size) {
  if (cache_type == ElementType::kBF16 && head_size == 64) return MakeHopperVariant<__nv_bfloat16, 64>();
  if (cache_type == ElementType::kBF16 && head_size == 128) return MakeHopperVariant<__nv_bfloat16, 128>();
  if (cache_type == ElementType::kF16 && head_size == 64) return MakeHopperVariant<__half, 64>();
  if (cache_type == ElementType::kF16 && head_size == 128) return MakeHopperVariant<__half, 128>();
  return {};
}

}  // namespace tessera::gpu
