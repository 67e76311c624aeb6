// The oracle of Embed: rows of the table as the file stores it.
#ifndef TESSERA_CORE_CPU_KERNELS_EMBED_EMBED_REFERENCE_H_
#define TESSERA_CORE_CPU_KERNELS_EMBED_EMBED_REFERENCE_H_

#include <cstdint>

#include "core/cpu/kernels/linear/linear.h"
#include "core/model/tensor_type.h"

namespace tessera::cpu {

// source: [vocabulary, columns] in the file's own layout.
inline void EmbedReference(TensorType type, const void* source, int64_t columns, const int32_t* tokens,
                           int64_t count, float* out) {
  const auto row_bytes = static_cast<int64_t>(RowBytes(type, static_cast<uint64_t>(columns)));
  for (int64_t row = 0; row < count; ++row) {
    DequantizeReference(type, static_cast<const uint8_t*>(source) + tokens[row] * row_bytes, columns,
                        out + row * columns);
  }
}

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_EMBED_EMBED_REFERENCE_H_
