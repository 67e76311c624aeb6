#include "core/cpu/kernels/rms_norm/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/cpu/kernels/rms_norm/rms_norm_reference.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/random_values.h"

namespace tessera {
namespace {

TEST(RmsNorm, MatchesDoublePrecisionForEverySize) {
  for (const int64_t size : {1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 65, 576, 1000, 4096}) {
    const std::vector<float> x = RandomFloats(size, static_cast<uint32_t>(size), 3.0f);
    const std::vector<float> weight = RandomFloats(size, 99);
    std::vector<double> expected(static_cast<size_t>(size));
    cpu::RmsNormReference(x.data(), weight.data(), 1e-5f, size, expected.data());
    ForEachTarget([&] {
      std::vector<float> out = Poisoned(size);
      cpu::RmsNorm(x.data(), weight.data(), 1e-5f, size, out.data());
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_NEAR(out[i], expected[i], std::abs(expected[i]) * 1e-6) << "element " << i << " of " << size;
      }
    });
  }
}

TEST(RmsNorm, WorksInPlace) {
  const std::vector<float> x = RandomFloats(37, 5);
  const std::vector<float> weight = RandomFloats(37, 6);
  std::vector<float> apart = Poisoned(37);
  cpu::RmsNorm(x.data(), weight.data(), 1e-6f, 37, apart.data());
  std::vector<float> in_place = x;
  cpu::RmsNorm(in_place.data(), weight.data(), 1e-6f, 37, in_place.data());
  EXPECT_EQ(in_place, apart);
}

}  // namespace
}  // namespace tessera
