// The library computes in the default mode, and the host finds its own again.
#include "core/base/float_control.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <limits>

namespace tessera {
namespace {

TEST(ScopedFloatControl, SetsTheDefaultModeAndRestoresTheHosts) {
  std::fesetround(FE_UPWARD);
  int inside = -1;
  {
    const ScopedFloatControl control;
    inside = std::fegetround();
  }
  const int after = std::fegetround();
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(inside, FE_TONEAREST);
  EXPECT_EQ(after, FE_UPWARD);
}

TEST(ScopedFloatControl, LeavesNoExceptionFlagsBehind) {
  std::feclearexcept(FE_ALL_EXCEPT);
  {
    const ScopedFloatControl control;
    const volatile double zero = 0;
    const volatile double infinite = 1 / zero;
    EXPECT_EQ(infinite, std::numeric_limits<double>::infinity());
  }
  EXPECT_EQ(std::fetestexcept(FE_DIVBYZERO), 0);
}

#if defined(__x86_64__)
TEST(ScopedFloatControl, TurnsFlushToZeroOffInside) {
  const unsigned before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040);  // flush to zero, denormals are zero
  float inside = 0;
  {
    const ScopedFloatControl control;
    const volatile float smallest = std::numeric_limits<float>::min();
    inside = smallest / 4;
  }
  const unsigned after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before);
  EXPECT_GT(inside, 0.0f);
  EXPECT_EQ(after & 0x8040, 0x8040u);
}
#endif

}  // namespace
}  // namespace tessera
