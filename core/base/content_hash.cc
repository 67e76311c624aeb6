#include "core/base/content_hash.h"

#include <new>

// Compiled into this file alone: no symbol of xxHash leaves it, and none is needed at run time.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tessera {
namespace {

XXH3_state_t* StateOf(unsigned char* bytes) { return std::launder(reinterpret_cast<XXH3_state_t*>(bytes)); }
const XXH3_state_t* StateOf(const unsigned char* bytes) {
  return std::launder(reinterpret_cast<const XXH3_state_t*>(bytes));
}

}  // namespace

ContentHasher::ContentHasher() noexcept {
  static_assert(sizeof(XXH3_state_t) <= kStateBytes && alignof(XXH3_state_t) <= 64);
  XXH3_128bits_reset(new (state_) XXH3_state_t);
}

void ContentHasher::Add(const void* data, size_t size_bytes) noexcept {
  if (size_bytes != 0) XXH3_128bits_update(StateOf(state_), data, size_bytes);
}

void ContentHasher::AddNumber(uint64_t number) noexcept {
  unsigned char bytes[8];
  for (unsigned char& byte : bytes) {
    byte = static_cast<unsigned char>(number);
    number >>= 8;
  }
  Add(bytes, sizeof(bytes));
}

void ContentHasher::AddText(absl::string_view text) noexcept {
  AddNumber(text.size());
  Add(text.data(), text.size());
}

ContentHash ContentHasher::Finish() const noexcept {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(StateOf(state_)));
  ContentHash hash;
  static_assert(sizeof(canonical.digest) == sizeof(hash.bytes));
  std::memcpy(hash.bytes.data(), canonical.digest, sizeof(canonical.digest));
  return hash;
}

}  // namespace tessera
