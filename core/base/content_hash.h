// Hashes of content: by them a saved state knows its model again, and a damaged one is found out. Against
// accidents, not against forgers. Knows nothing of what the bytes mean.
#ifndef TESSERA_CORE_BASE_CONTENT_HASH_H_
#define TESSERA_CORE_BASE_CONTENT_HASH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace tessera {

// 128 bits in the canonical order of XXH3: the same on every machine.
struct ContentHash {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const ContentHash& other) const { return bytes == other.bytes; }
  bool operator!=(const ContentHash& other) const { return bytes != other.bytes; }
};

// What was hashed, however it was cut. Allocates nothing.
class ContentHasher {
 public:
  ContentHasher() noexcept;
  void Add(const void* data, size_t size_bytes) noexcept;
  // Numbers as eight little-endian bytes, text with its length: no two lists of these run into one another.
  void AddNumber(uint64_t number) noexcept;
  void AddText(absl::string_view text) noexcept;
  ContentHash Finish() const noexcept;

 private:
  static constexpr size_t kStateBytes = 576;
  alignas(64) unsigned char state_[kStateBytes];
};

inline ContentHash HashOf(const void* data, size_t size_bytes) noexcept {
  ContentHasher hasher;
  hasher.Add(data, size_bytes);
  return hasher.Finish();
}

}  // namespace tessera

#endif  // TESSERA_CORE_BASE_CONTENT_HASH_H_
