// The block formats, written plainly. Layouts are those of ggml's block_* structs.
#include "tests/doubles/quantise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tessera {
namespace {

constexpr int kBlock = 32;        // elements of a Q8_0, Q4_0, Q4_1 block
constexpr int kSuperBlock = 256;  // elements of a Q4_K, Q6_K block

uint16_t LoadU16(const uint8_t* at) {
  uint16_t bits;
  memcpy(&bits, at, sizeof(bits));
  return bits;
}
float LoadHalf(const uint8_t* at) { return HalfToFloat(LoadU16(at)); }
// Returns the value as it reads back, which is what the elements must be divided by.
float StoreHalf(uint8_t* at, float value) {
  const uint16_t bits = FloatToHalf(value);
  memcpy(at, &bits, sizeof(bits));
  return HalfToFloat(bits);
}

int Rounded(float value, float scale, int least, int most) {
  if (scale == 0) return std::clamp(0, least, most);
  return std::clamp(static_cast<int>(std::lround(value / scale)), least, most);
}

float LargestMagnitude(const float* x, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

// Q8_0: half scale; 32 int8.
void DequantizeQ8_0(const uint8_t* block, float* y) {
  const float scale = LoadHalf(block);
  for (int i = 0; i < kBlock; ++i) y[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}
void QuantizeQ8_0(const float* x, uint8_t* block) {
  const float scale = StoreHalf(block, LargestMagnitude(x, kBlock) / 127);
  for (int i = 0; i < kBlock; ++i) block[2 + i] = static_cast<uint8_t>(Rounded(x[i], scale, -127, 127));
}

// Q4_0: half scale; 16 bytes, element i in the low and i + 16 in the high nibble, biased by 8.
void DequantizeQ4_0(const uint8_t* block, float* y) {
  const float scale = LoadHalf(block);
  for (int i = 0; i < kBlock / 2; ++i) {
    y[i] = scale * static_cast<float>((block[2 + i] & 15) - 8);
    y[i + 16] = scale * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}
void QuantizeQ4_0(const float* x, uint8_t* block) {
  const float scale = StoreHalf(block, LargestMagnitude(x, kBlock) / 7);
  for (int i = 0; i < kBlock / 2; ++i) {
    const int low = Rounded(x[i], scale, -8, 7) + 8;
    const int high = Rounded(x[i + 16], scale, -8, 7) + 8;
    block[2 + i] = static_cast<uint8_t>(low | high << 4);
  }
}

// Q4_1: half scale, half minimum; nibbles as in Q4_0, unbiased.
void DequantizeQ4_1(const uint8_t* block, float* y) {
  const float scale = LoadHalf(block), least = LoadHalf(block + 2);
  for (int i = 0; i < kBlock / 2; ++i) {
    y[i] = scale * static_cast<float>(block[4 + i] & 15) + least;
    y[i + 16] = scale * static_cast<float>(block[4 + i] >> 4) + least;
  }
}
void QuantizeQ4_1(const float* x, uint8_t* block) {
  const auto [low_end, high_end] = std::minmax_element(x, x + kBlock);
  const float scale = StoreHalf(block, (*high_end - *low_end) / 15);
  const float least = StoreHalf(block + 2, *low_end);
  for (int i = 0; i < kBlock / 2; ++i) {
    const int low = Rounded(x[i] - least, scale, 0, 15);
    const int high = Rounded(x[i + 16] - least, scale, 0, 15);
    block[4 + i] = static_cast<uint8_t>(low | high << 4);
  }
}

// Q4_K: half scale, half scale of the minima; 12 bytes with eight 6-bit scales and eight 6-bit minima; 128
// bytes of nibbles, where sub-blocks 2p and 2p + 1 share 32 bytes. Sub-blocks 0 to 3 keep their numbers in
// the low six bits of bytes j and j + 4; sub-blocks 4 to 7 in the nibbles of byte j + 4 and the upper two
// bits of those.
void UnpackQ4K(const uint8_t* packed, int j, int* scale, int* least) {
  if (j < 4) {
    *scale = packed[j] & 63;
    *least = packed[j + 4] & 63;
  } else {
    *scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
    *least = (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
  }
}
void PackQ4K(uint8_t* packed, int j, int scale, int least) {
  if (j < 4) {
    packed[j] = static_cast<uint8_t>(packed[j] | scale);
    packed[j + 4] = static_cast<uint8_t>(packed[j + 4] | least);
  } else {
    packed[j + 4] = static_cast<uint8_t>((scale & 15) | (least & 15) << 4);
    packed[j - 4] = static_cast<uint8_t>(packed[j - 4] | (scale >> 4) << 6);
    packed[j] = static_cast<uint8_t>(packed[j] | (least >> 4) << 6);
  }
}
void DequantizeQ4_K(const uint8_t* block, float* y) {
  const float all_scales = LoadHalf(block), all_minima = LoadHalf(block + 2);
  for (int j = 0; j < 8; ++j) {
    int scale, least;
    UnpackQ4K(block + 4, j, &scale, &least);
    const float step = all_scales * static_cast<float>(scale);
    const float below = all_minima * static_cast<float>(least);
    const uint8_t* nibbles = block + 16 + j / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int q = j % 2 == 0 ? nibbles[i] & 15 : nibbles[i] >> 4;
      y[j * 32 + i] = step * static_cast<float>(q) - below;
    }
  }
}
void QuantizeQ4_K(const float* x, uint8_t* block) {
  float steps[8], belows[8];
  for (int j = 0; j < 8; ++j) {
    const auto [low_end, high_end] = std::minmax_element(x + j * 32, x + j * 32 + 32);
    belows[j] = std::max(0.0f, -*low_end);
    steps[j] = std::max(0.0f, *high_end + belows[j]) / 15;
  }
  memset(block, 0, 144);
  const float all_scales = StoreHalf(block, *std::max_element(steps, steps + 8) / 63);
  const float all_minima = StoreHalf(block + 2, *std::max_element(belows, belows + 8) / 63);
  for (int j = 0; j < 8; ++j) {
    const int scale = Rounded(steps[j], all_scales, 0, 63);
    const int least = Rounded(belows[j], all_minima, 0, 63);
    PackQ4K(block + 4, j, scale, least);
    const float step = all_scales * static_cast<float>(scale);
    const float below = all_minima * static_cast<float>(least);
    uint8_t* nibbles = block + 16 + j / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int q = Rounded(x[j * 32 + i] + below, step, 0, 15);
      nibbles[i] = static_cast<uint8_t>(nibbles[i] | q << (j % 2 * 4));
    }
  }
}

// Q6_K: 128 bytes with the low four bits, 64 with the upper two, 16 int8 scales, half scale. In each half of
// 128 elements, element 32 g + l (g of 0 to 3) has its low bits in byte l + 32 (g % 2), nibble g / 2, and its
// upper ones in bits 2 g of byte l. The value is biased by 32.
void DequantizeQ6_K(const uint8_t* block, float* y) {
  const float all_scales = LoadHalf(block + 208);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, group = i % 128 / 32, l = i % 32;
    const int low = block[half * 64 + l + 32 * (group % 2)] >> (group / 2 * 4) & 15;
    const int high = block[128 + half * 32 + l] >> (group * 2) & 3;
    const float step = all_scales * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]));
    y[i] = step * static_cast<float>((low | high << 4) - 32);
  }
}
void QuantizeQ6_K(const float* x, uint8_t* block) {
  memset(block, 0, 210);
  const float all_scales = StoreHalf(block + 208, LargestMagnitude(x, kSuperBlock) / 31 / 127);
  for (int j = 0; j < 16; ++j) {
    block[192 + j] = static_cast<uint8_t>(Rounded(LargestMagnitude(x + j * 16, 16) / 31, all_scales, 0, 127));
  }
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, group = i % 128 / 32, l = i % 32;
    const float step = all_scales * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]));
    const int q = Rounded(x[i], step, -32, 31) + 32;
    uint8_t& low = block[half * 64 + l + 32 * (group % 2)];
    uint8_t& high = block[128 + half * 32 + l];
    low = static_cast<uint8_t>(low | (q & 15) << (group / 2 * 4));
    high = static_cast<uint8_t>(high | (q >> 4) << (group * 2));
  }
}

void DequantizeBlock(TensorType type, const uint8_t* block, float* y) {
  switch (type) {
    case TensorType::kF32:
      memcpy(y, block, sizeof(float));
      return;
    case TensorType::kF16:
      *y = LoadHalf(block);
      return;
    case TensorType::kBF16:
      *y = Bfloat16ToFloat(LoadU16(block));
      return;
    case TensorType::kQ8_0:
      DequantizeQ8_0(block, y);
      return;
    case TensorType::kQ4_0:
      DequantizeQ4_0(block, y);
      return;
    case TensorType::kQ4_1:
      DequantizeQ4_1(block, y);
      return;
    case TensorType::kQ4_K:
      DequantizeQ4_K(block, y);
      return;
    case TensorType::kQ6_K:
      DequantizeQ6_K(block, y);
      return;
  }
}

void QuantizeBlock(TensorType type, const float* x, uint8_t* block) {
  switch (type) {
    case TensorType::kF32:
      memcpy(block, x, sizeof(float));
      return;
    case TensorType::kF16:
      StoreHalf(block, *x);
      return;
    case TensorType::kBF16: {
      const uint16_t bits = FloatToBfloat16(*x);
      memcpy(block, &bits, sizeof(bits));
      return;
    }
    case TensorType::kQ8_0:
      QuantizeQ8_0(x, block);
      return;
    case TensorType::kQ4_0:
      QuantizeQ4_0(x, block);
      return;
    case TensorType::kQ4_1:
      QuantizeQ4_1(x, block);
      return;
    case TensorType::kQ4_K:
      QuantizeQ4_K(x, block);
      return;
    case TensorType::kQ6_K:
      QuantizeQ6_K(x, block);
      return;
  }
}

uint32_t FloatBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

}  // namespace

uint16_t FloatToHalf(float value) {
  const uint32_t bits = FloatBits(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  if (std::isnan(value)) return sign | 0x7e00;
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // rounds to infinity
  if (magnitude == 0) return sign;
  int exponent;
  std::frexp(magnitude, &exponent);                  // magnitude in [2^(exponent - 1), 2^exponent)
  const int step = std::max(exponent - 11, -24);     // the half's last place is 2^step
  const float steps = std::ldexp(magnitude, -step);  // exact: a power of two
  const auto units = static_cast<uint32_t>(std::nearbyint(steps));
  // Of a normal number units has its leading bit at 2^10, which the addition carries into the exponent.
  return static_cast<uint16_t>(sign | ((static_cast<uint32_t>(step + 24) << 10) + units));
}

float HalfToFloat(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
}

uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = FloatBits(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float Bfloat16ToFloat(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof(value));
  return value;
}

void Dequantize(TensorType type, const uint8_t* bytes, int64_t count, float* values) {
  const TensorTypeInfo& info = InfoOf(type);
  for (int64_t i = 0; i < count; i += info.block_elements) {
    DequantizeBlock(type, bytes + i / info.block_elements * info.block_bytes, values + i);
  }
}

std::vector<uint8_t> Quantize(TensorType type, const float* values, int64_t count) {
  const TensorTypeInfo& info = InfoOf(type);
  std::vector<uint8_t> bytes(RowBytes(type, static_cast<uint64_t>(count)));
  for (int64_t i = 0; i < count; i += info.block_elements) {
    QuantizeBlock(type, values + i, bytes.data() + i / info.block_elements * info.block_bytes);
  }
  return bytes;
}

}  // namespace tessera
