// The processor's floating-point mode. Hosts set flush-to-zero or unmask traps for their own work; what the
// library computes must not depend on that, and the host must find its own mode again.
#ifndef TESSERA_CORE_BASE_FLOAT_CONTROL_H_
#define TESSERA_CORE_BASE_FLOAT_CONTROL_H_

#include <cfenv>

namespace tessera {

class ScopedFloatControl {
 public:
  ScopedFloatControl() noexcept {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~ScopedFloatControl() { std::fesetenv(&saved_); }
  ScopedFloatControl(const ScopedFloatControl&) = delete;
  ScopedFloatControl& operator=(const ScopedFloatControl&) = delete;

 private:
  std::fenv_t saved_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_BASE_FLOAT_CONTROL_H_
