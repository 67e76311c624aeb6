// Decode over a cache of int8 rows.
#include "gpu/kernels/attention/decode_variants.cuh"

namespace tessera::gpu {

DecodeVariant FindDecodeInt8(int32_t head_size, int32_t head_tiles) {
  const bool two = head_tiles > 1;
  switch (head_size) {
    case 64:
      return two ? MakeDecodeVariant<Int8Tile<64, 2>, 8>() : MakeDecodeVariant<Int8Tile<64, 1>, 8>();
    case 128:
      return two ? MakeDecodeVariant<Int8Tile<128, 2>, 8>() : MakeDecodeVariant<Int8Tile<128, 1>, 8>();
    case 256:
      return MakeDecodeVariant<Int8Tile<256, 1>, 8>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu
