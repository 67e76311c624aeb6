// One call of Linear as the kernel families take it, and their entry points. Each chooses its vector set at
// run time.
#ifndef TESSERA_CORE_CPU_KERNELS_LINEAR_LINEAR_CALL_H_
#define TESSERA_CORE_CPU_KERNELS_LINEAR_LINEAR_CALL_H_

#include "core/cpu/kernels/linear/layout.h"

namespace tessera::cpu {

// The arguments of Linear under the same names.
struct LinearCall {
  ActivationMode mode;
  TensorType type;
  const uint8_t* packed;
  int64_t rows;
  int64_t columns;
  int64_t tile_begin;
  int64_t tile_end;
  const uint8_t* prepared;
  size_t prepared_stride_bytes;
  int64_t row_count;
  const float* bias;
  bool accumulate;
  float* out;
  int64_t out_stride;
  bool vnni;  // the processor has AVX-512 VNNI; Highway's own target for it needs more than that
  const LinearLeaves* leaves;  // null: one, of all columns
};

// A leaf as kernels see it: where its bytes begin in a tile and in a prepared row.
struct LeafSpan {
  size_t tile_offset;
  size_t prepared_offset;
  int64_t columns;
};
struct LeafSpans {
  int32_t count;
  LeafSpan spans[kMostLeaves];
};
LeafSpans SpansOf(const LinearCall& call);

void LinearFloat(const LinearCall& call);
void LinearQ8(const LinearCall& call);
void LinearQ4(const LinearCall& call);
void LinearKQuants(const LinearCall& call);

bool HasVnni();
void LinearDispatch(const LinearCall& call);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_LINEAR_LINEAR_CALL_H_
