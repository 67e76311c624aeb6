// The doubles' dequantisation against what the gguf package reads, and the way there against the way back.
#include "tests/doubles/quantise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace tessera {
namespace {

std::vector<uint8_t> FromHex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Quantise, DequantisedBlocksEqualTheGgufPackagesBitForBit) {
  std::ifstream golden(TESSERA_GOLDENS "/dequantised_blocks.txt");
  ASSERT_TRUE(golden.is_open());
  int types = 0;
  for (std::string line; std::getline(golden, line); ++types) {
    std::istringstream fields(line);
    uint32_t number = 0;
    std::string blocks, values;
    fields >> number >> blocks >> values;
    ASSERT_NE(FindTensorType(number), nullptr) << number;
    const auto type = static_cast<TensorType>(number);
    const std::vector<uint8_t> bytes = FromHex(blocks), expected_bytes = FromHex(values);
    std::vector<float> expected(expected_bytes.size() / sizeof(float));
    memcpy(expected.data(), expected_bytes.data(), expected_bytes.size());
    ASSERT_EQ(RowBytes(type, expected.size()), bytes.size());
    std::vector<float> found(expected.size(), NAN);
    Dequantize(type, bytes.data(), static_cast<int64_t>(expected.size()), found.data());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(found[i], expected[i]) << InfoOf(type).name << " element " << i;
    }
  }
  EXPECT_EQ(types, 8);
}

TEST(Quantise, WayThereAndBackStaysNear) {
  struct Case {
    TensorType type;
    double most;  // error relative to the values' spread
  };
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(1024);
  for (float& value : values) value = normal(random);
  for (const Case& each :
       {Case{TensorType::kF32, 0}, Case{TensorType::kF16, 1e-3}, Case{TensorType::kBF16, 4e-3},
        Case{TensorType::kQ8_0, 0.01}, Case{TensorType::kQ6_K, 0.03}, Case{TensorType::kQ4_0, 0.15},
        Case{TensorType::kQ4_1, 0.12}, Case{TensorType::kQ4_K, 0.12}}) {
    const std::vector<uint8_t> bytes = Quantize(each.type, values.data(), 1024);
    std::vector<float> back(1024, NAN);
    Dequantize(each.type, bytes.data(), 1024, back.data());
    double error = 0, spread = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      error += std::pow(static_cast<double>(back[i]) - values[i], 2);
      spread += std::pow(static_cast<double>(values[i]), 2);
    }
    EXPECT_LE(std::sqrt(error / spread), each.most) << InfoOf(each.type).name;
  }
}

TEST(Quantise, EveryHalfSurvivesTheWayThroughAFloat) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToHalf(value), bits);
  }
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3c00);      // a tie goes to the even one
  EXPECT_EQ(FloatToHalf(1.0f + 3 * 0x1p-11f), 0x3c02);  // likewise
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0x0000);             // half the least subnormal
  EXPECT_EQ(FloatToHalf(0x1.8p-25f), 0x0001);
}

}  // namespace
}  // namespace tessera
