#include "core/cpu/kernels/exp/exp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/cpu/kernels/exp/exp_reference.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/random_values.h"

namespace tessera {
namespace {

TEST(Exp, IsWithinTwoUlpOverItsRange) {
  std::vector<float> x;
  for (int i = 0; i <= 400000; ++i) x.push_back(-87.3f + static_cast<float>(i) * (87.3f + 88.3f) / 400000.0f);
  for (int i = -1000; i <= 1000; ++i) x.push_back(static_cast<float>(i) * 1e-7f);
  ForEachTarget([&] {
    std::vector<float> out = Poisoned(static_cast<int64_t>(x.size()));
    cpu::Exp(x.data(), static_cast<int64_t>(x.size()), out.data());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = cpu::ExpReference(x[i]);
      const auto near = static_cast<float>(expected);
      const double ulp = static_cast<double>(std::nextafter(near, INFINITY)) - near;
      worst = std::max(worst, std::abs(out[i] - expected) / ulp);
    }
    RecordProperty("worst_ulp", std::to_string(worst));
    EXPECT_LE(worst, 2.0);
  });
}

TEST(Exp, KeepsWhatSoftmaxReliesOn) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0.0f, -0.0f, -infinity, -88.0f, -1000.0f, infinity, 1000.0f, NAN};
  ForEachTarget([&] {
    std::vector<float> out = Poisoned(8);
    cpu::Exp(x.data(), 8, out.data());
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(out[1], 1.0f);
    EXPECT_EQ(out[2], 0.0f);
    EXPECT_EQ(out[3], 0.0f);
    EXPECT_EQ(out[4], 0.0f);
    EXPECT_GT(out[5], 2e38f);
    EXPECT_GT(out[6], 2e38f);
    EXPECT_TRUE(std::isnan(out[7]));
  });
}

TEST(Exp, GivesAnElementTheSameBitsWhereverItStands) {
  const std::vector<float> x = RandomFloats(67, 1, 10.0f);
  ForEachTarget([&] {
    std::vector<float> whole = Poisoned(67);
    cpu::Exp(x.data(), 67, whole.data());
    for (size_t i = 0; i < x.size(); ++i) {
      float alone = NAN;
      cpu::Exp(&x[i], 1, &alone);
      EXPECT_EQ(alone, whole[i]) << i;
    }
  });
}

}  // namespace
}  // namespace tessera
