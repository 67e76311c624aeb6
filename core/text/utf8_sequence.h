// The well-formed UTF-8 sequences, as table 3-7 of the Unicode standard lists them by their first byte, and
// the decoding of text that is known to be valid.
#ifndef TESSERA_CORE_TEXT_UTF8_SEQUENCE_H_
#define TESSERA_CORE_TEXT_UTF8_SEQUENCE_H_

#include <cstddef>
#include <cstdint>

namespace tessera {

// What may follow a first byte: the second byte's range depends on it, later ones are always 80..BF.
struct Utf8Shape {
  uint8_t length;  // of the whole sequence; 0: no sequence starts with this byte
  uint8_t second_least;
  uint8_t second_most;
};

constexpr Utf8Shape ShapeOfUtf8(unsigned char first) {
  if (first < 0x80) return {1, 0, 0};
  if (first < 0xC2) return {0, 0, 0};  // a continuation byte, or an overlong form
  if (first < 0xE0) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};  // below: overlong
  if (first == 0xED) return {3, 0x80, 0x9F};  // above: surrogates
  if (first < 0xF0) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};  // below: overlong
  if (first < 0xF4) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};  // above: past U+10FFFF
  return {0, 0, 0};
}

constexpr bool ContinuesUtf8(unsigned char byte) { return (byte & 0xC0) == 0x80; }

struct CodePoint {
  uint32_t value;
  uint32_t bytes;
};

// The code point that starts at `text`, which is valid UTF-8.
inline CodePoint DecodeUtf8(const char* text) {
  const auto byte = [text](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const auto more = [&byte](int i) { return byte(i) & 0x3F; };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | more(1), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | more(1) << 6 | more(2), 3};
  return {(first & 0x07) << 18 | more(1) << 12 | more(2) << 6 | more(3), 4};
}

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_UTF8_SEQUENCE_H_
