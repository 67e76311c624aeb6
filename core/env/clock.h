// The seam for time. The engine reads no other clock, so a virtual one makes its tests deterministic.
#ifndef TESSERA_CORE_ENV_CLOCK_H_
#define TESSERA_CORE_ENV_CLOCK_H_

#include <cstdint>

namespace tessera {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowNs() const noexcept = 0;  // monotonic; only differences mean anything
};

// CLOCK_MONOTONIC. The object is static and needs no destruction.
Clock* MonotonicClock();

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_CLOCK_H_
