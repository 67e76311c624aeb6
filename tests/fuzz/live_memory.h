// What a fuzzer's subject holds, as the sanitizer's allocator counts it while `counting`.
#ifndef TESSERA_TESTS_FUZZ_LIVE_MEMORY_H_
#define TESSERA_TESTS_FUZZ_LIVE_MEMORY_H_

#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tessera {

inline std::atomic<bool> counting{false};
inline std::atomic<int64_t> live_bytes{0}, peak_bytes{0};

inline void OnMalloc(const volatile void*, size_t size) {
  if (!counting.load(std::memory_order_relaxed)) return;
  const int64_t live = live_bytes.fetch_add(static_cast<int64_t>(size)) + static_cast<int64_t>(size);
  if (live > peak_bytes.load()) peak_bytes.store(live);
}
inline void OnFree(const volatile void* pointer) {
  if (!counting.load(std::memory_order_relaxed) || pointer == nullptr) return;
  live_bytes.fetch_sub(
      static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(pointer))));
}

}  // namespace tessera

#endif  // TESSERA_TESTS_FUZZ_LIVE_MEMORY_H_
