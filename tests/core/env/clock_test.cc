// The machine's clock and the one that tests move.
#include "core/env/clock.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "tests/doubles/virtual_clock.h"

namespace tessera {
namespace {

TEST(Clock, MonotonicClockNeverGoesBack) {
  Clock* const clock = MonotonicClock();
  int64_t last = clock->NowNs();
  for (int i = 0; i < 10'000; ++i) {
    const int64_t now = clock->NowNs();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, MonotonicClockIsTheSameObjectEachTime) { EXPECT_EQ(MonotonicClock(), MonotonicClock()); }

TEST(Clock, VirtualClockStandsStillUntilItIsMoved) {
  VirtualClock clock(100);
  EXPECT_EQ(clock.NowNs(), 100);
  EXPECT_EQ(clock.NowNs(), 100);
  clock.Advance(25);
  EXPECT_EQ(clock.NowNs(), 125);
  clock.Set(7);
  EXPECT_EQ(clock.NowNs(), 7);
}

TEST(Clock, VirtualClockMayMoveAtEachReading) {
  VirtualClock clock(0);
  clock.StepOnRead(10);
  EXPECT_EQ(clock.NowNs(), 0);
  EXPECT_EQ(clock.NowNs(), 10);
  EXPECT_EQ(clock.NowNs(), 20);
}

}  // namespace
}  // namespace tessera
