// The date and time of day that people at this machine read off a clock.
#ifndef TESSERA_CORE_ENV_LOCAL_TIME_H_
#define TESSERA_CORE_ENV_LOCAL_TIME_H_

#include <cstdint>

namespace tessera {

struct LocalTime {
  int year = 1970;
  int month = 1;  // 1 to 12
  int day = 1;    // 1 to 31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int week_day = 4;  // 0 is Sunday
  int year_day = 0;  // 0 is the first of January
};

// The last second of the year 9999.
inline constexpr int64_t kLatestSecond = 253402300799;

// Seconds since 1970-01-01 00:00 on the same clock, 0 to kLatestSecond.
LocalTime LocalTimeOf(int64_t seconds);
// Now, in the process's time zone.
LocalTime LocalTimeNow();

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_LOCAL_TIME_H_
