#include "core/env/local_time.h"

#include <ctime>

namespace tessera {
namespace {

LocalTime FromTm(const tm& parts) {
  LocalTime time;
  time.year = parts.tm_year + 1900;
  time.month = parts.tm_mon + 1;
  time.day = parts.tm_mday;
  time.hour = parts.tm_hour;
  time.minute = parts.tm_min;
  time.second = parts.tm_sec;
  time.week_day = parts.tm_wday;
  time.year_day = parts.tm_yday;
  return time;
}

}  // namespace

LocalTime LocalTimeOf(int64_t seconds) {
  const time_t at = seconds;
  tm parts = {};
  return gmtime_r(&at, &parts) == nullptr ? LocalTime() : FromTm(parts);
}

LocalTime LocalTimeNow() {
  const time_t now = time(nullptr);
  tm parts = {};
  return localtime_r(&now, &parts) == nullptr ? LocalTimeOf(now) : FromTm(parts);
}

}  // namespace tessera
