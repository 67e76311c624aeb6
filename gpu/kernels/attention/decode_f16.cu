// Decode over a cache of F16.
#include "gpu/kernels/attention/decode.cuh"
#include "gpu/kernels/attention/decode_cluster.cuh"

namespace tessera::gpu {
namespace {

template <int kHeadSize, int kHeadTiles, int kWarps>
DecodeVariant Variant() {
  using Tile = HalfTile<__half, kHeadSize, kHeadTiles>;
  return {DecodeItems<Tile, kWarps>, DecodeClusters<Tile, kWarps>, kWarps};
}

}  // namespace

DecodeVariant FindDecodeF16(int32_t head_size, int32_t head_tiles) {
  const bool two = head_tiles > 1;
  switch (head_size) {
    case 64:
      return two ? Variant<64, 2, 8>() : Variant<64, 1, 8>();
    case 80:
      return two ? Variant<80, 2, 8>() : Variant<80, 1, 8>();
    case 96:
      return two ? Variant<96, 2, 8>() : Variant<96, 1, 8>();
    case 128:
      return two ? Variant<128, 2, 8>() : Variant<128, 1, 8>();
    case 256:  // slots are large, and the sums of 16 heads would fill the registers
      return Variant<256, 1, 4>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu
