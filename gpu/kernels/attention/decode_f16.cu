// Decode over a cache of F16.
#include "gpu/kernels/attention/decode_variants.cuh"

namespace tessera::gpu {

DecodeVariant FindDecodeF16(int32_t head_size, int32_t head_tiles) {
  return FindHalfDecode<__half>(head_size, head_tiles);
}

}  // namespace tessera::gpu
