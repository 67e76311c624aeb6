#include "core/cpu/kernels/rotary/rotary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/cpu/kernels/rotary/rotary_reference.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/random_values.h"

namespace tessera {
namespace {

RotarySpec SpecOf(RotaryPairing pairing, int32_t dimensions, float magnitude) {
  RotarySpec spec;
  spec.pairing = pairing;
  spec.dimensions = dimensions;
  spec.magnitude = magnitude;
  for (int32_t i = 0; i < dimensions / 2; ++i) {
    spec.inverse_frequencies.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * i / static_cast<double>(dimensions))));
  }
  return spec;
}

TEST(Rotary, TheTablesAnglesAreThoseOfTheDirectFormulaAtEveryPosition) {
  const RotarySpec spec = SpecOf(RotaryPairing::kHalves, 64, 1.25f);
  const int32_t positions = 40000;
  std::vector<double> memory(cpu::RotaryTable::Bytes(spec, positions) / sizeof(double));
  const cpu::RotaryTable table(spec, positions, memory.data());
  for (int32_t position = 0; position < positions; position += position < 600 ? 1 : 97) {
    std::vector<float> cos = Poisoned(32);
    std::vector<float> sin = Poisoned(32);
    table.Angles(position, cos.data(), sin.data());
    for (size_t i = 0; i < 32; ++i) {
      const double angle = static_cast<double>(position) * spec.inverse_frequencies[i];
      ASSERT_NEAR(cos[i], 1.25 * std::cos(angle), 1e-7) << position << " " << i;
      ASSERT_NEAR(sin[i], 1.25 * std::sin(angle), 1e-7) << position << " " << i;
    }
  }
}

TEST(Rotary, MatchesDoublePrecisionForBothPairingsAndPartialHeads) {
  for (const RotaryPairing pairing : {RotaryPairing::kInterleaved, RotaryPairing::kHalves}) {
    for (const int32_t head_size : {2, 6, 64, 80, 256}) {
      for (const int32_t dimensions : {2, head_size / 4 * 2, head_size}) {
        if (dimensions == 0) continue;
        const RotarySpec spec = SpecOf(pairing, dimensions, 1.0f);
        std::vector<double> memory(cpu::RotaryTable::Bytes(spec, 1000) / sizeof(double));
        const cpu::RotaryTable table(spec, 1000, memory.data());
        std::vector<float> cos = Poisoned(dimensions / 2);
        std::vector<float> sin = Poisoned(dimensions / 2);
        table.Angles(777, cos.data(), sin.data());
        const std::vector<float> x = RandomFloats(3 * head_size, 3);
        std::vector<double> expected(x.begin(), x.end());
        cpu::RotateReference(spec, 777, 3, head_size, expected.data());
        ForEachTarget([&] {
          std::vector<float> rotated = x;
          cpu::Rotate(pairing, rotated.data(), 3, head_size, dimensions / 2, cos.data(), sin.data());
          for (size_t i = 0; i < x.size(); ++i) {
            EXPECT_NEAR(rotated[i], expected[i], 1e-6) << "head size " << head_size << ", element " << i;
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace tessera
