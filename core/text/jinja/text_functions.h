// What filters and methods of strings share.
#ifndef TESSERA_CORE_TEXT_JINJA_TEXT_FUNCTIONS_H_
#define TESSERA_CORE_TEXT_JINJA_TEXT_FUNCTIONS_H_

#include <cstdint>

#include "core/text/jinja/run.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

// The argument as a text; null, and the run has failed, when it is none.
const Text* NeedText(Run& run, const Value& value);
// An integer, or `otherwise` where it is absent or None.
bool NeedInt(Run& run, const Value& value, int64_t otherwise, int64_t* result);

// Without the characters in `characters` (absent or None: white space) at its ends.
Value Strip(Run& run, const Text& text, const Value& characters, bool left, bool right);
// Up to `count` times, from the left; negative: always.
Value Replace(Run& run, const Text& text, const Text& from, const Text& to, int64_t count);
// Texts between separators; absent or None: between white space. `most`: cuts at most, negative: all.
Value Split(Run& run, const Text& text, const Value& separator, int64_t most, bool from_right);
Value SplitLines(Run& run, const Text& text, bool keep_ends);
// items[0] + between + items[1] ...; each as text.
Value Join(Run& run, const List& items, const Text& between);
// Filled up to `width` characters, so many of the missing ones on the left: 0: none, 1: half, 2: all.
Value Pad(Run& run, const Text& text, int64_t width, const Text& fill, int left_halves);
Value Indent(Run& run, const Text& text, const Text& indent, bool first, bool blank);

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_TEXT_FUNCTIONS_H_
