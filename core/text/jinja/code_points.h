// What templates ask of single characters, as Python answers: white space, printable, letters. Texts are
// valid UTF-8 here, since everything that enters was checked.
#ifndef TESSERA_CORE_TEXT_JINJA_CODE_POINTS_H_
#define TESSERA_CORE_TEXT_JINJA_CODE_POINTS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "core/text/utf8_sequence.h"

namespace tessera::jinja {

bool IsSpace(uint32_t code_point);      // str.isspace
bool IsPrintable(uint32_t code_point);  // not escaped by repr

inline bool IsContinuation(char byte) { return ContinuesUtf8(static_cast<unsigned char>(byte)); }

size_t CountCodePoints(absl::string_view text);
// The byte at which code point `index` begins; text.size() when there are fewer.
size_t ByteOfCodePoint(absl::string_view text, size_t index);

// The first byte at or behind `at` that is no white space.
size_t SkipSpace(absl::string_view text, size_t at);
// Where the text ends without the white space at its end.
size_t EndWithoutSpace(absl::string_view text);

struct EncodedCodePoint {
  char bytes[4];
  size_t size;
  absl::string_view view() const { return absl::string_view(bytes, size); }
};
EncodedCodePoint EncodeUtf8(uint32_t code_point);  // at most U+10FFFF

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_CODE_POINTS_H_
