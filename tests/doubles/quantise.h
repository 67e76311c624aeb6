// Every tensor type, to bytes and back, one element after the other: what fast kernels are compared with. The
// way back is exact (float32 steps in the format's own order); the way there is only as good as tests need.
#ifndef TESSERA_TESTS_DOUBLES_QUANTISE_H_
#define TESSERA_TESTS_DOUBLES_QUANTISE_H_

#include <cstdint>
#include <vector>

#include "core/model/tensor_type.h"

namespace tessera {

uint16_t FloatToHalf(float value);  // to nearest, ties to even
float HalfToFloat(uint16_t bits);
uint16_t FloatToBfloat16(float value);  // to nearest, ties to even
float Bfloat16ToFloat(uint16_t bits);

// `count` is a multiple of the type's block_elements; `bytes` holds count / block_elements blocks.
void Dequantize(TensorType type, const uint8_t* bytes, int64_t count, float* values);
std::vector<uint8_t> Quantize(TensorType type, const float* values, int64_t count);

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_QUANTISE_H_
