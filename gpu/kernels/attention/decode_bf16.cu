// Decode over a cache of BF16.
#include "gpu/kernels/attention/decode_variants.cuh"

namespace tessera::gpu {

DecodeVariant FindDecodeBF16(int32_t head_size, int32_t head_tiles) {
  return FindHalfDecode<__nv_bfloat16>(head_size, head_tiles);
}

}  // namespace tessera::gpu
