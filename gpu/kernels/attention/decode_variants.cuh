// Which instances of decode's kernels there are, as the .cu files of the cache's forms share it.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_VARIANTS_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_VARIANTS_CUH_

#include "gpu/kernels/attention/decode.cuh"
#include "gpu/kernels/attention/decode_cluster.cuh"

namespace tessera::gpu {

template <typename Tile, int kWarps>
DecodeVariant MakeDecodeVariant() {
  return {DecodeItems<Tile, kWarps>, DecodeClusters<Tile, kWarps>, kWarps};
}

// T: of the cache, BF16 or F16.
template <typename T>
DecodeVariant FindHalfDecode(int32_t head_size, int32_t head_tiles) {
  const bool two = head_tiles > 1;
  switch (head_size) {
    case 64:
      return two ? MakeDecodeVariant<HalfTile<T, 64, 2>, 8>() : MakeDecodeVariant<HalfTile<T, 64, 1>, 8>();
    case 80:
      return two ? MakeDecodeVariant<HalfTile<T, 80, 2>, 8>() : MakeDecodeVariant<HalfTile<T, 80, 1>, 8>();
    case 96:
      return two ? MakeDecodeVariant<HalfTile<T, 96, 2>, 8>() : MakeDecodeVariant<HalfTile<T, 96, 1>, 8>();
    case 128:
      return two ? MakeDecodeVariant<HalfTile<T, 128, 2>, 8>() : MakeDecodeVariant<HalfTile<T, 128, 1>, 8>();
    case 256:  // slots are large, and the sums of 16 heads would fill the registers
      return MakeDecodeVariant<HalfTile<T, 256, 1>, 4>();
    default:
      return {};
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_VARIANTS_CUH_
