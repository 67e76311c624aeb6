#include "tests/doubles/counted_allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<int64_t> allocations{0};

void* Allocate(size_t size_bytes) {
  allocations.fetch_add(1);
  void* const data = std::malloc(size_bytes == 0 ? 1 : size_bytes);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
}  // namespace

void* operator new(size_t size_bytes) { return Allocate(size_bytes); }
void* operator new[](size_t size_bytes) { return Allocate(size_bytes); }
void* operator new(size_t size_bytes, const std::nothrow_t&) noexcept { return std::malloc(size_bytes); }
void operator delete(void* data) noexcept { std::free(data); }
void operator delete[](void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }
void operator delete[](void* data, size_t) noexcept { std::free(data); }
void operator delete(void* data, const std::nothrow_t&) noexcept { std::free(data); }

namespace tessera {

int64_t CountedAllocations() { return allocations.load(); }

}  // namespace tessera
