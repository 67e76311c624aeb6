// Values as text: as print shows them (str), as they look inside a list (repr), as JSON, and with printf's
// signs.
#ifndef TESSERA_CORE_TEXT_JINJA_PYTHON_TEXT_H_
#define TESSERA_CORE_TEXT_JINJA_PYTHON_TEXT_H_

#include <string>

#include "core/text/jinja/run.h"
#include "core/text/jinja/text_builder.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

std::string FloatText(double number);  // the shortest digits that give it back: "1.0", "1e+16", "inf"

bool AppendText(Run& run, const Value& value, TextBuilder* out);                 // str(value)
bool AppendRepr(Run& run, const Value& value, TextBuilder* out, int depth = 0);  // repr(value)
// The value itself where it is a text; null once the run has failed.
const Text* ToText(Run& run, const Value& value);

struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  bool indented = false;
  Text indent;
  Text item_separator;  // ", " or ","
  Text key_separator;   // ": "
};
bool AppendJson(Run& run, const Value& value, const JsonStyle& style, TextBuilder* out, int depth = 0);

// format % arguments. A tuple gives several arguments, a dict gives them by name.
Value PrintfFormat(Run& run, const Text& format, const Value& arguments);
// format.format(*positional, **keywords), without conversions and format specifications.
Value BraceFormat(Run& run, const Text& format, absl::Span<const Value> positional,
                  absl::Span<const Keyword> keywords);

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_PYTHON_TEXT_H_
