// Large memory from the system: anonymous private mappings. Knows nothing of budgets or tiers.
#include "core/env/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <optional>

#include "core/base/checked.h"
#include "core/base/status.h"

namespace tessera {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kHugeFromBytes = size_t{4} << 20;  // below, the tail outside huge pages would be most of it

// What a region of size_bytes maps; nullopt where that does not fit the address space.
std::optional<size_t> MappedBytes(size_t size_bytes) {
  const std::optional<uint64_t> mapped =
      CheckedAlignUp(size_bytes, static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  if (!mapped || *mapped == 0 || !CheckedAdd(*mapped, kHugePageBytes)) return std::nullopt;
  return static_cast<size_t>(*mapped);
}

constexpr size_t kLeastPageBytes = 4096;

uint8_t* Map(size_t size_bytes) {
  void* data = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<uint8_t*>(data);
}

// A mapping that starts on a huge page's boundary, so that the first bytes are in a huge page too: older
// kernels align no anonymous mapping. The slack at both ends is given back.
uint8_t* MapHuge(size_t size_bytes) {
  uint8_t* const wide = Map(size_bytes + kHugePageBytes);
  if (wide == nullptr) return nullptr;
  const size_t before =
      AlignUp(reinterpret_cast<uintptr_t>(wide), kHugePageBytes) - reinterpret_cast<uintptr_t>(wide);
  const size_t after = kHugePageBytes - before;
  if (before != 0) munmap(wide, before);
  if (after != 0) munmap(wide + before + size_bytes, after);
  // Advice only: a kernel without huge pages refuses it and the region works all the same.
  madvise(wide + before, size_bytes, MADV_HUGEPAGE);
  return wide + before;
}

class SystemMemorySource final : public MemorySource {
 public:
  void* Allocate(MemoryClass /*memory_class*/, size_t size_bytes) noexcept override {
    const std::optional<size_t> mapped = MappedBytes(size_bytes);
    if (!mapped) return nullptr;
    return *mapped >= kHugeFromBytes ? MapHuge(*mapped) : Map(*mapped);
  }

  void Free(MemoryClass /*memory_class*/, void* data, size_t size_bytes) noexcept override {
    const std::optional<size_t> mapped = MappedBytes(size_bytes);
    if (data != nullptr && mapped) munmap(data, *mapped);
  }
};

class PresentMemorySource final : public MemorySource {
 public:
  void* Allocate(MemoryClass memory_class, size_t size_bytes) noexcept override {
    void* const data = SystemMemory()->Allocate(memory_class, size_bytes);
    if (data == nullptr) return nullptr;
    auto* const bytes = static_cast<volatile uint8_t*>(data);
    for (size_t at = 0; at < size_bytes; at += kLeastPageBytes) bytes[at] = 0;
    return data;
  }
  void Free(MemoryClass memory_class, void* data, size_t size_bytes) noexcept override {
    SystemMemory()->Free(memory_class, data, size_bytes);
  }
};

}  // namespace

MemorySource* PresentSystemMemory() {
  alignas(PresentMemorySource) static unsigned char storage[sizeof(PresentMemorySource)];
  static MemorySource* const source = new (storage) PresentMemorySource;
  return source;
}

MemorySource* SystemMemory() {
  // Placed in raw storage so that no destructor runs while engines still live at exit.
  alignas(SystemMemorySource) static unsigned char storage[sizeof(SystemMemorySource)];
  static MemorySource* const source = new (storage) SystemMemorySource;
  return source;
}

absl::Status MemorySource::Refusal(absl::string_view purpose, size_t size_bytes) const {
  return OutOfMemory(purpose, size_bytes);
}

MemoryRegion& MemoryRegion::operator=(MemoryRegion&& other) noexcept {
  std::swap(source_, other.source_);
  std::swap(memory_class_, other.memory_class_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  if (this != &other) other.Release();
  return *this;
}

MemoryRegion::~MemoryRegion() { Release(); }

void MemoryRegion::Release() noexcept {
  if (data_ != nullptr) source_->Free(memory_class_, data_, size_bytes_);
  source_ = nullptr;
  data_ = nullptr;
  size_bytes_ = 0;
}

absl::StatusOr<MemoryRegion> MemoryRegion::Create(MemorySource* source, MemoryClass memory_class,
                                                  size_t size_bytes, absl::string_view purpose) {
  MemoryRegion region;
  if (size_bytes == 0) return region;
  void* const data = source->Allocate(memory_class, size_bytes);
  if (data == nullptr) return source->Refusal(purpose, size_bytes);
  region.source_ = source;
  region.memory_class_ = memory_class;
  region.data_ = static_cast<uint8_t*>(data);
  region.size_bytes_ = size_bytes;
  return region;
}

}  // namespace tessera
