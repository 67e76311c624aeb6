// The table of tensor types. Numbers, names and block sizes are ggml's.
#include "core/model/tensor_type.h"

#include <iterator>

namespace tessera {
namespace {

struct Entry {
  TensorType type;
  TensorTypeInfo info;
};

constexpr Entry kTypes[] = {
    {TensorType::kF32, {"F32", 1, 4}},       {TensorType::kF16, {"F16", 1, 2}},
    {TensorType::kQ4_0, {"Q4_0", 32, 18}},   {TensorType::kQ4_1, {"Q4_1", 32, 20}},
    {TensorType::kQ8_0, {"Q8_0", 32, 34}},   {TensorType::kQ4_K, {"Q4_K", 256, 144}},
    {TensorType::kQ6_K, {"Q6_K", 256, 210}}, {TensorType::kBF16, {"BF16", 1, 2}},
};

// By number; empty where ggml has withdrawn the type.
constexpr const char* kGgmlNames[] = {
    "F32",   "F16",    "Q4_0",  "Q4_1", "",     "",        "Q5_0",   "Q5_1",    "Q8_0",  "Q8_1",   "Q2_K",
    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S",
    "IQ2_S", "IQ4_XS", "I8",    "I16",  "I32",  "I64",     "F64",    "IQ1_M",   "BF16",  "",       "",
    "",      "TQ1_0",  "TQ2_0", "",     "",     "",        "MXFP4",  "NVFP4"};

}  // namespace

const TensorTypeInfo* FindTensorType(uint32_t gguf_number) {
  for (const Entry& entry : kTypes) {
    if (static_cast<uint32_t>(entry.type) == gguf_number) return &entry.info;
  }
  return nullptr;
}

const TensorTypeInfo& InfoOf(TensorType type) {
  const TensorTypeInfo* info = FindTensorType(static_cast<uint32_t>(type));
  return info != nullptr ? *info : kTypes[0].info;  // every enumerator is in the table
}

const char* GgmlTypeName(uint32_t gguf_number) {
  return gguf_number < std::size(kGgmlNames) ? kGgmlNames[gguf_number] : "";
}

}  // namespace tessera
