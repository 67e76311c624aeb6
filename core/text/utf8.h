// UTF-8: checking whole strings, and cutting a stream of token bytes at whole code points.
#ifndef TESSERA_CORE_TEXT_UTF8_H_
#define TESSERA_CORE_TEXT_UTF8_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace tessera {

// Offset of the first byte that starts no valid sequence (overlong forms, surrogates and values above
// U+10FFFF are invalid; so is a sequence cut off by the end), or text.size() when all of it is valid.
size_t FirstInvalidUtf8(absl::string_view text);

// Turns bytes that arrive in any pieces into valid UTF-8: whole code points go out, an unfinished one (at
// most 3 bytes) waits, and each maximal bad subpart becomes one U+FFFD, as the Unicode standard recommends.
class Utf8Stream {
 public:
  // Most bytes that Push or Finish can write for `size` new ones: a waiting prefix and each byte may become
  // U+FFFD.
  static constexpr size_t MostBytes(size_t size) { return 3 * (size + 3); }

  // Writes to out[0, MostBytes(bytes.size())); returns how many. Never allocates.
  size_t Push(absl::string_view bytes, char* out) noexcept;
  // The end of the text: what waits becomes U+FFFD.
  size_t Finish(char* out) noexcept;
  size_t waiting_bytes() const { return waiting_size_; }

 private:
  unsigned char waiting_[4] = {};
  size_t waiting_size_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_UTF8_H_
