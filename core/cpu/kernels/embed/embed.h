// The rows of the embedding table that a step's tokens name.
#ifndef TESSERA_CORE_CPU_KERNELS_EMBED_EMBED_H_
#define TESSERA_CORE_CPU_KERNELS_EMBED_EMBED_H_

#include <cstdint>

#include "core/model/tensor_type.h"

namespace tessera::cpu {

// out[r] = row tokens[r] of the packed table [vocabulary, columns], dequantised exactly as its format defines
// it; out [count, columns]. Every token is in [0, vocabulary).
void Embed(TensorType type, const void* packed, int64_t vocabulary, int64_t columns, const int32_t* tokens,
           int64_t count, float* out);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_EMBED_EMBED_H_
