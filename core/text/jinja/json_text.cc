// JSON as Python's json.dumps writes it.
#include <cmath>

#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"

namespace tessera::jinja {
namespace {

size_t UnicodeEscape(uint32_t unit, char* out) {
  out[0] = '\\';
  out[1] = 'u';
  for (int i = 0; i < 4; ++i) out[2 + i] = "0123456789abcdef"[unit >> (12 - 4 * i) & 15];
  return 6;
}

// The escape of a character, "" where it stands for itself. out[12]
size_t JsonEscape(uint32_t c, bool ascii, char* out) {
  static constexpr absl::string_view kFrom = "\"\\\n\r\t\f\b", kTo = "\"\\nrtfb";
  const size_t simple = c < 0x80 ? kFrom.find(static_cast<char>(c)) : absl::string_view::npos;
  if (simple != absl::string_view::npos) {
    out[0] = '\\';
    out[1] = kTo[simple];
    return 2;
  }
  if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000)) return UnicodeEscape(c, out);
  if (!ascii || c < 0x7F) return 0;
  const uint32_t rest = c - 0x10000;  // a pair of surrogates
  const size_t first = UnicodeEscape(0xD800 + (rest >> 10), out);
  return first + UnicodeEscape(0xDC00 + (rest & 0x3FF), out + first);
}

bool AppendJsonText(const Text& text, bool ascii, TextBuilder* out) {
  if (!out->Append('"', false)) return false;
  size_t begin = 0;
  for (size_t at = 0; at < text.size;) {
    const CodePoint point = DecodeUtf8(text.data + at);
    char escape[12];
    const size_t size = JsonEscape(point.value, ascii, escape);
    if (size > 0) {
      const bool from_host = text.marks != nullptr ? text.marks[at] != 0 : text.from_host;
      if (!out->Append(text.Part(begin, at)) || !out->Append(absl::string_view(escape, size), from_host))
        return false;
      begin = at + point.bytes;
    }
    at += point.bytes;
  }
  return out->Append(text.Part(begin, text.size)) && out->Append('"', false);
}

bool AppendLineBreak(const JsonStyle& style, int depth, TextBuilder* out) {
  if (!style.indented) return true;
  if (!out->Append('\n', false)) return false;
  for (int i = 0; i < depth; ++i) {
    if (!out->Append(style.indent)) return false;
  }
  return true;
}

std::string JsonNumber(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
  return FloatText(number);
}

bool AppendJsonKey(Run& run, const Value& key, bool ascii, TextBuilder* out) {
  switch (key.kind) {
    case Kind::kText:
      return AppendJsonText(*key.text, ascii, out);
    case Kind::kNone:
      return out->Append("\"null\"", false);
    case Kind::kBool:
      return out->Append(key.boolean ? "\"true\"" : "\"false\"", false);
    case Kind::kInt:
      return out->Append(absl::StrCat("\"", key.integer, "\""), false);
    case Kind::kFloat:
      return out->Append(absl::StrCat("\"", JsonNumber(key.number), "\""), false);
    default:
      run.FailType(absl::StrCat("'", TypeName(key), "' cannot be a key in JSON"));
      return false;
  }
}

bool AppendJsonDict(Run& run, const Dict& dict, const JsonStyle& style, TextBuilder* out, int depth) {
  if (dict.size == 0) return out->Append("{}", false);
  Value* keys = nullptr;
  Value* values = nullptr;
  if (run.MakeList(Kind::kList, dict.size, &keys).failed() ||
      run.MakeList(Kind::kList, dict.size, &values).failed()) {
    return false;
  }
  for (size_t i = 0; i < dict.size; ++i) {
    keys[i] = dict.entries[i].key;
    values[i] = dict.entries[i].value;
  }
  if (style.sort_keys && !SortByKeys(run, keys, values, dict.size, false)) return false;
  if (!out->Append('{', false)) return false;
  for (size_t i = 0; i < dict.size; ++i) {
    if (i > 0 && !out->Append(style.item_separator)) return false;
    if (!AppendLineBreak(style, depth + 1, out) || !AppendJsonKey(run, keys[i], style.ascii, out) ||
        !out->Append(style.key_separator) || !AppendJson(run, values[i], style, out, depth + 1)) {
      return false;
    }
  }
  return AppendLineBreak(style, depth, out) && out->Append('}', false);
}

bool AppendJsonList(Run& run, const List& list, const JsonStyle& style, TextBuilder* out, int depth) {
  if (list.size == 0) return out->Append("[]", false);
  if (!out->Append('[', false)) return false;
  for (size_t i = 0; i < list.size; ++i) {
    if (i > 0 && !out->Append(style.item_separator)) return false;
    if (!AppendLineBreak(style, depth + 1, out) || !AppendJson(run, list.items[i], style, out, depth + 1))
      return false;
  }
  return AppendLineBreak(style, depth, out) && out->Append(']', false);
}

}  // namespace

bool AppendJson(Run& run, const Value& value, const JsonStyle& style, TextBuilder* out, int depth) {
  if (depth > kDeepestValue) {
    run.Fail(ErrorCode::kLimitExceeded, "a value for tojson is nested too deep");
    return false;
  }
  if (!run.Charge(1)) return false;
  switch (value.kind) {
    case Kind::kNone:
      return out->Append("null", false);
    case Kind::kBool:
      return out->Append(value.boolean ? "true" : "false", false);
    case Kind::kInt:
      return out->Append(absl::StrCat(value.integer), false);
    case Kind::kFloat:
      return out->Append(JsonNumber(value.number), false);
    case Kind::kText:
      return AppendJsonText(*value.text, style.ascii, out);
    case Kind::kList:
    case Kind::kTuple:
      return AppendJsonList(run, *value.list, style, out, depth);
    case Kind::kDict:
      return AppendJsonDict(run, *value.dict, style, out, depth);
    default:
      run.FailType(absl::StrCat("tojson takes no '", TypeName(value), "'"));
      return false;
  }
}

}  // namespace tessera::jinja
