// The element types that tensors are stored in, as GGUF numbers them, and the shapes of their blocks.
#ifndef TESSERA_CORE_MODEL_TENSOR_TYPE_H_
#define TESSERA_CORE_MODEL_TENSOR_TYPE_H_

#include <cstdint>
#include <optional>

namespace tessera {

// The values are GGUF's own type numbers.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ6_K = 14,
  kBF16 = 30,
};

struct TensorTypeInfo {
  const char* name;
  uint32_t block_elements;  // consecutive elements of a row that share one block
  uint32_t block_bytes;
};

// Null where this build does not know the type.
const TensorTypeInfo* FindTensorType(uint32_t gguf_number);
const TensorTypeInfo& InfoOf(TensorType type);

// What ggml calls a type, also one this build cannot use; "" for numbers it does not know. For messages.
const char* GgmlTypeName(uint32_t gguf_number);

// Bytes of one row of `columns` elements; columns is a multiple of block_elements.
inline uint64_t RowBytes(TensorType type, uint64_t columns) {
  const TensorTypeInfo& info = InfoOf(type);
  return columns / info.block_elements * info.block_bytes;
}

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_TENSOR_TYPE_H_
