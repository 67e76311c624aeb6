// Checks UTF-8 byte by byte, with a fast way over ASCII. Knows nothing of characters' meaning.
#include "core/text/utf8.h"

#include <cstring>

#include "core/text/utf8_sequence.h"

namespace tessera {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080;

size_t SkipAscii(const unsigned char* bytes, size_t size, size_t at) {
  while (size - at >= 8) {
    uint64_t eight;
    std::memcpy(&eight, bytes + at, 8);
    if ((eight & kHighBits) != 0) break;
    at += 8;
  }
  while (at < size && bytes[at] < 0x80) ++at;
  return at;
}

// Length of the sequence at `bytes`, or 0 when it is not a whole, valid one.
size_t ValidSequence(const unsigned char* bytes, size_t size) {
  const Utf8Shape shape = ShapeOfUtf8(bytes[0]);
  if (shape.length == 0 || shape.length > size) return 0;
  if (shape.length == 1) return 1;
  if (bytes[1] < shape.second_least || bytes[1] > shape.second_most) return 0;
  for (size_t i = 2; i < shape.length; ++i) {
    if (!ContinuesUtf8(bytes[i])) return 0;
  }
  return shape.length;
}

size_t WriteReplacement(char* out) {
  out[0] = '\xEF';  // U+FFFD
  out[1] = '\xBF';
  out[2] = '\xBD';
  return 3;
}

}  // namespace

size_t FirstInvalidUtf8(absl::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const size_t size = text.size();
  size_t at = 0;
  while (at < size) {
    if (bytes[at] < 0x80) {
      at = SkipAscii(bytes, size, at);
      continue;
    }
    const size_t length = ValidSequence(bytes + at, size - at);
    if (length == 0) return at;
    at += length;
  }
  return size;
}

size_t Utf8Stream::Push(absl::string_view bytes, char* out) noexcept {
  size_t written = 0;
  for (size_t i = 0; i < bytes.size();) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (waiting_size_ == 0) {
      ++i;
      const Utf8Shape shape = ShapeOfUtf8(byte);
      if (shape.length == 0) {
        written += WriteReplacement(out + written);
      } else if (shape.length == 1) {
        out[written++] = static_cast<char>(byte);
      } else {
        waiting_[waiting_size_++] = byte;
      }
      continue;
    }
    // What waits is always the beginning of a valid sequence, so that it is one maximal bad subpart when
    // `byte` does not continue it; `byte` itself is then looked at anew.
    const Utf8Shape shape = ShapeOfUtf8(waiting_[0]);
    const bool continues =
        waiting_size_ == 1 ? byte >= shape.second_least && byte <= shape.second_most : ContinuesUtf8(byte);
    if (!continues) {
      written += WriteReplacement(out + written);
      waiting_size_ = 0;
      continue;
    }
    ++i;
    waiting_[waiting_size_++] = byte;
    if (waiting_size_ == shape.length) {
      std::memcpy(out + written, waiting_, waiting_size_);
      written += waiting_size_;
      waiting_size_ = 0;
    }
  }
  return written;
}

size_t Utf8Stream::Finish(char* out) noexcept {
  if (waiting_size_ == 0) return 0;
  waiting_size_ = 0;
  return WriteReplacement(out);
}

}  // namespace tessera
