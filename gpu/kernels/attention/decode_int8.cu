// Decode over a cache of int8 rows.
#include "gpu/kernels/attention/decode.cuh"

namespace tessera::gpu {
namespace {

template <int kHeadSize, int kHeadTiles, int kWarps>
DecodeVariant Variant() {
  return {DecodeItems<Int8Tile<kHeadSize, kHeadTiles>, kWarps>, kWarps};
}

}  // namespace

DecodeVariant FindDecodeInt8(int32_t head_size, int32_t head_tiles) {
  const bool two = head_tiles > 1;
  switch (head_size) {
    case 64:
      return two ? Variant<64, 2, 8>() : Variant<64, 1, 8>();
    case 128:
      return two ? Variant<128, 2, 8>() : Variant<128, 1, 8>();
    case 256:
      return Variant<256, 1, 8>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu
