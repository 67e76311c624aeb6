// A library of the host's that uses the C++ runtime before ours is loaded, and so has its thread-local
// storage made dynamically on the thread that calls.
#include <new>

extern "C" __attribute__((visibility("default"))) int ThrowAndCatch() {
  try {
    throw std::bad_alloc();
  } catch (const std::bad_alloc&) {
    return 1;
  }
}
