// A clock that stands still until a test moves it.
#ifndef TESSERA_TESTS_DOUBLES_VIRTUAL_CLOCK_H_
#define TESSERA_TESTS_DOUBLES_VIRTUAL_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "core/env/clock.h"

namespace tessera {

class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(int64_t start_ns = 1'000'000'000) : now_ns_(start_ns) {}

  int64_t NowNs() const noexcept override {
    // Each reading may take time, so that loops which wait for a time to come end.
    return now_ns_.fetch_add(step_ns_.load());
  }

  void Advance(int64_t by_ns) { now_ns_.fetch_add(by_ns); }
  void Set(int64_t now_ns) { now_ns_.store(now_ns); }
  // What every reading adds; 0, the default: nothing.
  void StepOnRead(int64_t step_ns) { step_ns_.store(step_ns); }

 private:
  mutable std::atomic<int64_t> now_ns_;
  std::atomic<int64_t> step_ns_{0};
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_VIRTUAL_CLOCK_H_
