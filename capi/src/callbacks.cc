#include "capi/src/callbacks.h"

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace tessera::capi {
namespace {

// Threads inside callbacks at this moment; a thread-local flag would cost hosts static TLS. More than fit are
// only counted: then every thread counts as inside, which defers a close and harms nothing.
constexpr size_t kMostInside = 64;
std::atomic<uint64_t> inside[kMostInside];  // thread ids; 0: empty
std::atomic<uint32_t> uncounted{0};

uint64_t Self() noexcept { return static_cast<uint64_t>(pthread_self()); }

}  // namespace

CallbackScope::CallbackScope() noexcept {
  for (size_t i = 0; i < kMostInside; ++i) {
    uint64_t empty = 0;
    if (inside[i].compare_exchange_strong(empty, Self(), std::memory_order_relaxed)) {
      slot_ = static_cast<int32_t>(i);
      return;
    }
  }
  uncounted.fetch_add(1, std::memory_order_relaxed);
}

CallbackScope::~CallbackScope() {
  if (slot_ >= 0) {
    inside[slot_].store(0, std::memory_order_relaxed);
  } else {
    uncounted.fetch_sub(1, std::memory_order_relaxed);
  }
}

bool InsideCallback() noexcept {
  if (uncounted.load(std::memory_order_relaxed) != 0) return true;
  const uint64_t self = Self();
  for (const std::atomic<uint64_t>& thread : inside) {
    if (thread.load(std::memory_order_relaxed) == self) return true;
  }
  return false;
}

}  // namespace tessera::capi
