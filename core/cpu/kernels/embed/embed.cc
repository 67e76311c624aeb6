#include "core/cpu/kernels/embed/embed.h"

#include "core/cpu/kernels/linear/linear.h"

namespace tessera::cpu {

// No vector code of its own: the packed layout is the matrix kernels' secret, and a step gathers few rows.
void Embed(TensorType type, const void* packed, int64_t vocabulary, int64_t columns, const int32_t* tokens,
           int64_t count, float* out) {
  for (int64_t row = 0; row < count; ++row) {
    UnpackRow(type, packed, vocabulary, columns, tokens[row], out + row * columns);
  }
}

}  // namespace tessera::cpu
