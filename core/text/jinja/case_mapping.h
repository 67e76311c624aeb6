// Upper and lower case of Unicode, as Python's str.upper and str.lower give them for single characters.
#ifndef TESSERA_CORE_TEXT_JINJA_CASE_MAPPING_H_
#define TESSERA_CORE_TEXT_JINJA_CASE_MAPPING_H_

#include <cstdint>

#include "core/text/jinja/run.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

enum class Case : uint8_t { kUpper, kLower, kTitle };

// Up to three code points, the rest 0.
struct CaseResult {
  uint32_t points[3];
};
CaseResult ChangeCase(uint32_t code_point, Case to);

// Has it two cases, and which is this?
bool IsUpper(uint32_t code_point);
bool IsLower(uint32_t code_point);

// How a text's characters are changed: all of them, or the first of each word another way than the rest.
enum class CaseStyle : uint8_t {
  kUpper,
  kLower,
  kCapitalized,  // the first character of the text is upper, the rest lower
  kTitle,        // a word begins where a letter follows what is none (str.title)
  kTitleFilter,  // a word begins behind white space, '-', '(', '{', '[' and '<' (Jinja2's filter)
};
Value ChangeCase(Run& run, const Text& text, CaseStyle style);

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_CASE_MAPPING_H_
