// The machine's monotonic clock.
#include "core/env/clock.h"

#include <ctime>
#include <new>

namespace tessera {
namespace {

class SystemClock final : public Clock {
 public:
  int64_t NowNs() const noexcept override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
};

}  // namespace

Clock* MonotonicClock() {
  // Placed in raw storage so that no destructor runs while the host's threads still read the time at exit.
  alignas(SystemClock) static unsigned char storage[sizeof(SystemClock)];
  static Clock* const clock = new (storage) SystemClock;
  return clock;
}

}  // namespace tessera
