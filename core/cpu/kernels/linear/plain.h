// Packed weights read by plain C++: one output, one group at a time. Serves exact unpacking, and whole
// products on processors that have none of the vector sets.
#ifndef TESSERA_CORE_CPU_KERNELS_LINEAR_PLAIN_H_
#define TESSERA_CORE_CPU_KERNELS_LINEAR_PLAIN_H_

#include "core/cpu/kernels/linear/layout.h"
#include "core/cpu/kernels/linear/linear_call.h"

namespace tessera::cpu {

// One group of 32 columns of a quantised tile.
struct PlainGroup {
  TensorType type;
  const uint8_t* header;
  const uint8_t* group;

  // out [32]: the weights of output n, exactly.
  void Unpack(int64_t n, float* out) const;
  // sum + the product of output n and x, by the arithmetic of the Int8 kernels without fused operations.
  float Add(int64_t n, const ActivationGroup& x, float sum) const;
};

// The group of `column` in a tile.
PlainGroup GroupAt(TensorType type, const QuantLayout& layout, const uint8_t* tile, int64_t column);

float UnpackElement(TensorType type, const uint8_t* tile, int64_t n, int64_t column);  // F32, F16, BF16
void LinearPlain(const LinearCall& call);
void PreparePlain(const float* x, int64_t columns, ActivationGroup* groups);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_LINEAR_PLAIN_H_
