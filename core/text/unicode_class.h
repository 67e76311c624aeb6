// What pre-tokenizers ask of a character: letter, number, white space or something else. The tables are those
// of the reference tokenizers (see unicode_ranges.inc), since one class that differs is a prompt that
// differs.
#ifndef TESSERA_CORE_TEXT_UNICODE_CLASS_H_
#define TESSERA_CORE_TEXT_UNICODE_CLASS_H_

#include <array>
#include <cstdint>

namespace tessera {

enum class CharClass : uint8_t {
  kOther,
  kLetter,     // \p{L}
  kNumber,     // \p{N}
  kSpace,      // \s
  kNewNumber,  // a number to the reference's digit splitter, whose Unicode is newer than that of its patterns
};

namespace unicode_internal {

constexpr CharClass AsciiClass(uint32_t code_point) {
  const uint32_t lower = code_point | 0x20;
  if (lower >= 'a' && lower <= 'z') return CharClass::kLetter;
  if (code_point >= '0' && code_point <= '9') return CharClass::kNumber;
  if (code_point == ' ' || (code_point >= '\t' && code_point <= '\r')) return CharClass::kSpace;
  return CharClass::kOther;
}

constexpr std::array<CharClass, 128> MakeAsciiClasses() {
  std::array<CharClass, 128> classes{};
  for (uint32_t i = 0; i < 128; ++i) classes[i] = AsciiClass(i);
  return classes;
}

inline constexpr std::array<CharClass, 128> kAsciiClasses = MakeAsciiClasses();

CharClass SearchClass(uint32_t code_point);

}  // namespace unicode_internal

// `code_point` is at most U+10FFFF.
inline CharClass ClassOf(uint32_t code_point) {
  return code_point < 128 ? unicode_internal::kAsciiClasses[code_point]
                          : unicode_internal::SearchClass(code_point);
}

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_UNICODE_CLASS_H_
