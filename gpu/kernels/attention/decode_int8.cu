// Decode over a cache of int8 rows.
#include "gpu/kernels/attention/decode.cuh"
#include "gpu/kernels/attention/decode_cluster.cuh"

namespace tessera::gpu {
namespace {

template <int kHeadSize, int kHeadTiles, int kWarps>
DecodeVariant Variant() {
  using Tile = Int8Tile<kHeadSize, kHeadTiles>;
  return {DecodeItems<Tile, kWarps>, DecodeClusters<Tile, kWarps>, kWarps};
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
