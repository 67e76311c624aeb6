// The oracle: the formats written down from their definition (GGUF), one element at a time, in double
// precision. Shares no code with packing or kernels.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/cpu/kernels/linear/linear.h"

namespace tessera::cpu {
namespace {

float Half(const uint8_t* at) {
  const int bits = at[0] | at[1] << 8;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value = 0;
  if (exponent == 31) {
    value = fraction != 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else {
    value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                          : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

float Element(TensorType type, const uint8_t* row, int64_t k) {
  switch (type) {
    case TensorType::kF32: {
      float value;
      std::memcpy(&value, row + 4 * k, 4);
      return value;
    }
    case TensorType::kF16:
      return Half(row + 2 * k);
    case TensorType::kBF16: {
      const uint32_t bits = static_cast<uint32_t>(row[2 * k]) << 16 | static_cast<uint32_t>(row[2 * k + 1])
                                                                          << 24;
      float value;
      std::memcpy(&value, &bits, 4);
      return value;
    }
    case TensorType::kQ4_0: {
      const uint8_t* block = row + k / 32 * 18;
      const int i = static_cast<int>(k % 32);
      const int q = i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4;
      return Half(block) * static_cast<float>(q - 8);
    }
    case TensorType::kQ4_1: {
      const uint8_t* block = row + k / 32 * 20;
      const int i = static_cast<int>(k % 32);
      const int q = i < 16 ? block[4 + i] & 15 : block[4 + i - 16] >> 4;
      return Half(block) * static_cast<float>(q) + Half(block + 2);
    }
    case TensorType::kQ8_0: {
      const uint8_t* block = row + k / 32 * 34;
      return Half(block) * static_cast<float>(static_cast<int8_t>(block[2 + k % 32]));
    }
    case TensorType::kQ4_K: {
      const uint8_t* block = row + k / 256 * 144;
      const int i = static_cast<int>(k % 256), s = i / 32;
      const uint8_t* fields = block + 4;
      const int scale = s < 4 ? fields[s] & 63 : (fields[s + 4] & 15) + 16 * (fields[s - 4] >> 6);
      const int minimum = s < 4 ? fields[s + 4] & 63 : (fields[s + 4] >> 4) + 16 * (fields[s] >> 6);
      const uint8_t byte = block[16 + i / 64 * 32 + i % 32];
      const int q = i % 64 < 32 ? byte & 15 : byte >> 4;
      return Half(block) * static_cast<float>(scale) * static_cast<float>(q) -
             Half(block + 2) * static_cast<float>(minimum);
    }
    case TensorType::kQ6_K: {
      const uint8_t* block = row + k / 256 * 210;
      const int i = static_cast<int>(k % 256), run = i / 128, j = i % 128;
      const uint8_t low_byte = block[run * 64 + j % 64];
      const int low = j < 64 ? low_byte & 15 : low_byte >> 4;
      const int high = block[128 + run * 32 + j % 32] >> (j / 32 * 2) & 3;
      const int scale = (block[192 + i / 16] ^ 128) - 128;
      return Half(block + 208) * static_cast<float>(scale) * static_cast<float>(low + 16 * high - 32);
    }
  }
  return 0;
}

// Rounds groups of 32 to 255 levels, as kInt8 does.
void Round(std::vector<float>& x) {
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    const size_t end = begin + 32 < x.size() ? begin + 32 : x.size();
    float amax = 0;
    for (size_t k = begin; k < end; ++k) amax = std::fmax(amax, std::fabs(x[k]));
    const float scale = amax / 127.0f;
    for (size_t k = begin; k < end; ++k) {
      x[k] = amax < 0x1p-100f ? 0.0f : scale * std::nearbyint(x[k] * (127.0f / amax));
    }
  }
}

}  // namespace

void DequantizeReference(TensorType type, const void* source, int64_t columns, float* out) {
  for (int64_t k = 0; k < columns; ++k) out[k] = Element(type, static_cast<const uint8_t*>(source), k);
}

void LinearReference(ActivationMode mode, TensorType type, const void* source, int64_t rows, int64_t columns,
                     const float* x, int64_t row_count, const float* bias, double* out, double* magnitude) {
  const size_t row_bytes = RowBytes(type, static_cast<uint64_t>(columns));
  std::vector<float> weights(static_cast<size_t>(columns)), activations(static_cast<size_t>(columns));
  for (int64_t n = 0; n < rows; ++n) {
    DequantizeReference(type, static_cast<const uint8_t*>(source) + static_cast<size_t>(n) * row_bytes,
                        columns, weights.data());
    for (int64_t r = 0; r < row_count; ++r) {
      activations.assign(x + r * columns, x + (r + 1) * columns);
      if (mode == ActivationMode::kInt8) Round(activations);
      double sum = bias != nullptr ? bias[n] : 0.0, absolute = 0;
      for (size_t k = 0; k < weights.size(); ++k) {
        const double product = static_cast<double>(weights[k]) * activations[k];
        sum += product;
        absolute += std::fabs(product);
      }
      out[r * rows + n] = sum;
      if (magnitude != nullptr) magnitude[r * rows + n] = absolute;
    }
  }
}

}  // namespace tessera::cpu
