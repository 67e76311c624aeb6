#include "core/cpu/kernels/silu_multiply/silu_multiply.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/cpu/kernels/silu_multiply/silu_multiply_reference.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/random_values.h"

namespace tessera {
namespace {

TEST(SiluMultiply, MatchesDoublePrecision) {
  for (const int64_t count : {1, 5, 16, 33, 1536}) {
    for (const float spread : {1.0f, 40.0f}) {
      const std::vector<float> gate = RandomFloats(count, 7, spread);
      const std::vector<float> up = RandomFloats(count, 8);
      ForEachTarget([&] {
        std::vector<float> out = Poisoned(count);
        cpu::SiluMultiply(gate.data(), up.data(), count, out.data());
        for (size_t i = 0; i < out.size(); ++i) {
          const double expected = cpu::SiluMultiplyReference(gate[i], up[i]);
          EXPECT_NEAR(out[i], expected, std::abs(expected) * 5 * 0x1p-23 + 1e-36 * std::abs(up[i]))
              << gate[i];
        }
      });
    }
  }
}

TEST(SiluMultiply, DoesNotDependOnWhereARangeWasCut) {
  const std::vector<float> gate = RandomFloats(61, 9, 5.0f);
  const std::vector<float> up = RandomFloats(61, 10);
  ForEachTarget([&] {
    std::vector<float> whole = Poisoned(61);
    cpu::SiluMultiply(gate.data(), up.data(), 61, whole.data());
    for (const int64_t cut : {1, 7, 16, 33, 60}) {
      std::vector<float> parts = Poisoned(61);
      cpu::SiluMultiply(gate.data(), up.data(), cut, parts.data());
      cpu::SiluMultiply(gate.data() + cut, up.data() + cut, 61 - cut, parts.data() + cut);
      EXPECT_EQ(parts, whole) << "cut at " << cut;
    }
  });
}

}  // namespace
}  // namespace tessera
