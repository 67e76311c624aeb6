// The printable characters by which byte-level vocabularies write bytes: GPT-2's alphabet, in which a space
// is U+0120.
#ifndef TESSERA_CORE_TEXT_BYTE_ALPHABET_H_
#define TESSERA_CORE_TEXT_BYTE_ALPHABET_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tessera {

// The code point that stands for `byte`: itself where it is a printable Latin-1 character, else one from
// U+0100 on.
uint32_t AlphabetCharacter(unsigned char byte);

// Appends the bytes that `text` writes; false, and nothing appended, when it is not all of the alphabet.
bool DecodeAlphabet(absl::string_view text, std::string* bytes);

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_BYTE_ALPHABET_H_
