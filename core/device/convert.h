// Weights as a file stores them to the element types that devices hold: BF16 and F32.
#ifndef TESSERA_CORE_DEVICE_CONVERT_H_
#define TESSERA_CORE_DEVICE_CONVERT_H_

#include <cstdint>

#include "core/model/tensor_type.h"

namespace tessera {

// Bytes of an element of F32, F16 or BF16.
inline constexpr size_t ElementBytes(TensorType type) { return type == TensorType::kF32 ? 4 : 2; }

// out [count] of type `to`, F32 or BF16 (rounded to nearest even), or `from` itself, which is a copy.
// count: whole blocks of `from`.
void ConvertElements(TensorType from, const void* source, int64_t count, TensorType to, void* out);

}  // namespace tessera

#endif  // TESSERA_CORE_DEVICE_CONVERT_H_
