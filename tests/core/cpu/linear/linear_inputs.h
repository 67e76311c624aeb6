// Random weights in the file's formats and random activations, for tests of the matrix kernels.
#ifndef TESSERA_TESTS_CORE_CPU_LINEAR_LINEAR_INPUTS_H_
#define TESSERA_TESTS_CORE_CPU_LINEAR_LINEAR_INPUTS_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/cpu/kernels/linear/linear.h"

namespace tessera::cpu {

inline constexpr TensorType kAllTypes[] = {TensorType::kF32,  TensorType::kF16,  TensorType::kBF16,
                                           TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1,
                                           TensorType::kQ4_K, TensorType::kQ6_K};

// Round to nearest is not needed: any half will do.
inline uint16_t HalfBits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int exponent = static_cast<int>(bits >> 23 & 255) - 112;
  const uint32_t sign = bits >> 16 & 0x8000;
  if (exponent <= 0) return static_cast<uint16_t>(sign);
  if (exponent >= 31) return static_cast<uint16_t>(sign | 0x7c00);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(exponent) << 10 | (bits >> 13 & 1023));
}

class LinearInputs {
 public:
  explicit LinearInputs(uint32_t seed) : random_(seed) {}

  int64_t Integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  float Normal() { return normal_(random_); }

  std::vector<float> Floats(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = Normal();
    return values;
  }

  // Random bytes for the integers; scales of either sign and about 0.01.
  std::vector<uint8_t> Weights(TensorType type, int64_t rows, int64_t columns) {
    const size_t row_bytes = RowBytes(type, static_cast<uint64_t>(columns));
    std::vector<uint8_t> bytes(static_cast<size_t>(rows) * row_bytes);
    const TensorTypeInfo& info = InfoOf(type);
    for (size_t at = 0; at < bytes.size(); at += info.block_bytes) Block(type, bytes.data() + at);
    return bytes;
  }

 private:
  void Block(TensorType type, uint8_t* block) {
    const TensorTypeInfo& info = InfoOf(type);
    for (uint32_t i = 0; i < info.block_bytes; ++i) block[i] = static_cast<uint8_t>(random_());
    switch (type) {
      case TensorType::kF32: {
        const float value = Normal();
        std::memcpy(block, &value, 4);
        return;
      }
      case TensorType::kF16:
        return Half(block, Normal());
      case TensorType::kBF16: {
        const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(Normal()) >> 16);
        std::memcpy(block, &bits, 2);
        return;
      }
      case TensorType::kQ4_0:
      case TensorType::kQ8_0:
        return Half(block, 0.01f * Normal());
      case TensorType::kQ4_1:
      case TensorType::kQ4_K:
        Half(block, 0.01f * Normal());
        return Half(block + 2, 0.01f * Normal());
      case TensorType::kQ6_K:
        return Half(block + 208, 0.01f * Normal());
    }
  }
  static void Half(uint8_t* at, float value) {
    const uint16_t bits = HalfBits(value);
    std::memcpy(at, &bits, 2);
  }

  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

inline std::vector<uint8_t> Packed(TensorType type, int64_t rows, int64_t columns,
                                   const std::vector<uint8_t>& source) {
  std::vector<uint8_t> packed(PackedLinearBytes(type, rows, columns), 0xa5);
  PackLinear(type, rows, columns, 0, rows, source.data(), packed.data());
  return packed;
}

inline std::vector<uint8_t> Prepared(ActivationMode mode, int64_t columns, int64_t row_count,
                                     const float* x) {
  const size_t stride = PreparedRowBytes(mode, columns);
  std::vector<uint8_t> prepared(stride * static_cast<size_t>(row_count), 0xa5);
  for (int64_t r = 0; r < row_count; ++r) {
    PrepareRow(mode, x + r * columns, columns, prepared.data() + stride * static_cast<size_t>(r));
  }
  return prepared;
}

inline std::string Describe(ActivationMode mode, TensorType type, int64_t rows, int64_t columns,
                            int64_t row_count) {
  return std::string(InfoOf(type).name) + (mode == ActivationMode::kInt8 ? " int8" : " f32") + ", " +
         std::to_string(rows) + " rows, " + std::to_string(columns) + " columns, batch " +
         std::to_string(row_count);
}

}  // namespace tessera::cpu

#endif  // TESSERA_TESTS_CORE_CPU_LINEAR_LINEAR_INPUTS_H_
