// The seam for large memory (weights, cache, scratch): a few big regions, planned beforehand, with stable
// addresses. Small objects use the C++ allocator and throw std::bad_alloc.
#ifndef TESSERA_CORE_ENV_MEMORY_H_
#define TESSERA_CORE_ENV_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera {

enum class MemoryClass : int32_t { kWeights = 0, kCache = 1, kScratch = 2 };

class MemorySource {
 public:
  virtual ~MemorySource() = default;
  // Zeroed pages aligned to 64 bytes at least, or null. Never throws.
  virtual void* Allocate(MemoryClass memory_class, size_t size_bytes) noexcept = 0;
  virtual void Free(MemoryClass memory_class, void* data, size_t size_bytes) noexcept = 0;
  // What it means that Allocate has just given null: kOutOfMemory, naming `purpose` and the bytes, or worse.
  virtual absl::Status Refusal(absl::string_view purpose, size_t size_bytes) const;
};

// Anonymous private mappings, transparent huge pages advised where they are large. Static, needs no
// destruction.
MemorySource* SystemMemory();

// The same, but every page is there when Allocate returns: whoever uses the memory first does not wait for
// the system to find and clear it, which takes milliseconds for a huge page where a hypervisor has to find it
// too.
MemorySource* PresentSystemMemory();

// Owns one region of a source; moves, does not copy.
class MemoryRegion {
 public:
  MemoryRegion() = default;
  MemoryRegion(MemoryRegion&& other) noexcept { *this = std::move(other); }
  MemoryRegion& operator=(MemoryRegion&& other) noexcept;
  MemoryRegion(const MemoryRegion&) = delete;
  MemoryRegion& operator=(const MemoryRegion&) = delete;
  ~MemoryRegion();

  // The source's Refusal where it has no memory. size_bytes 0 gives an empty region.
  static absl::StatusOr<MemoryRegion> Create(MemorySource* source, MemoryClass memory_class,
                                             size_t size_bytes, absl::string_view purpose);

  uint8_t* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  void Release() noexcept;

  MemorySource* source_ = nullptr;
  MemoryClass memory_class_ = MemoryClass::kScratch;
  uint8_t* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_MEMORY_H_
