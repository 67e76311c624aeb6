#include "core/text/jinja/python_text.h"

#include <array>
#include <charconv>
#include <cmath>

#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"

namespace tessera::jinja {
namespace {

bool AppendItems(Run& run, const List& list, absl::string_view open, absl::string_view close,
                 TextBuilder* out, int depth) {
  if (!out->Append(open, false)) return false;
  for (size_t i = 0; i < list.size; ++i) {
    if (i > 0 && !out->Append(", ", false)) return false;
    if (!AppendRepr(run, list.items[i], out, depth + 1)) return false;
  }
  return out->Append(close, false);
}

bool AppendDict(Run& run, const Dict& dict, TextBuilder* out, int depth) {
  if (!out->Append("{", false)) return false;
  for (size_t i = 0; i < dict.size; ++i) {
    if (i > 0 && !out->Append(", ", false)) return false;
    if (!AppendRepr(run, dict.entries[i].key, out, depth + 1) || !out->Append(": ", false) ||
        !AppendRepr(run, dict.entries[i].value, out, depth + 1)) {
      return false;
    }
  }
  return out->Append("}", false);
}

// 'text', or "text" where that needs no escapes.
bool AppendQuoted(const Text& text, TextBuilder* out) {
  const absl::string_view view = text.view();
  const bool doubled =
      view.find('\'') != absl::string_view::npos && view.find('"') == absl::string_view::npos;
  const char quote = doubled ? '"' : '\'';
  if (!out->Append(quote, false)) return false;
  size_t begin = 0;
  for (size_t at = 0; at < text.size;) {
    const CodePoint point = DecodeUtf8(text.data + at);
    const uint32_t c = point.value;
    char escape[12];
    size_t size = 0;
    escape[size++] = '\\';
    if (c == '\\' || c == static_cast<unsigned char>(quote)) {
      escape[size++] = static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      escape[size++] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
    } else if (c != ' ' && !IsPrintable(c)) {
      const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
      escape[size++] = digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
      for (int i = digits - 1; i >= 0; --i) escape[size++] = "0123456789abcdef"[c >> (4 * i) & 15];
    } else {
      at += point.bytes;
      continue;
    }
    const bool from_host = text.marks != nullptr ? text.marks[at] != 0 : text.from_host;
    if (!out->Append(text.Part(begin, at)) || !out->Append(absl::string_view(escape, size), from_host))
      return false;
    at += point.bytes;
    begin = at;
  }
  return out->Append(text.Part(begin, text.size)) && out->Append(quote, false);
}

bool AppendRange(const List& range, TextBuilder* out) {
  const std::string step = range.step == 1 ? "" : absl::StrCat(", ", range.step);
  return out->Append(absl::StrCat("range(", range.start, ", ", range.stop, step, ")"), false);
}

}  // namespace

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto written =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific);
  const absl::string_view text(buffer.data(),
                               static_cast<size_t>(written.ptr - buffer.data()));  // -d.ddde-XX
  const size_t mark = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, mark)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  int exponent = 0;
  for (const char c : text.substr(mark + 2)) exponent = exponent * 10 + (c - '0');
  if (text[mark + 1] == '-') exponent = -exponent;
  const absl::string_view sign = std::signbit(number) ? "-" : "", all = digits;
  if (exponent < -4 || exponent >= 16) {
    const int size = exponent < 0 ? -exponent : exponent;
    return absl::StrCat(sign, all.substr(0, 1), all.size() > 1 ? "." : "", all.substr(1),
                        exponent < 0 ? "e-" : "e+", size < 10 ? "0" : "", size);
  }
  if (exponent < 0)
    return absl::StrCat(sign, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), all);
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (all.size() <= whole) return absl::StrCat(sign, all, std::string(whole - all.size(), '0'), ".0");
  return absl::StrCat(sign, all.substr(0, whole), ".", all.substr(whole));
}

bool AppendText(Run& run, const Value& value, TextBuilder* out) {
  if (value.is(Kind::kText)) return out->Append(*value.text);
  return AppendRepr(run, value, out);
}

bool AppendRepr(Run& run, const Value& value, TextBuilder* out, int depth) {
  if (depth > kDeepestValue) {
    run.Fail(ErrorCode::kLimitExceeded, "a value that is printed is nested too deep");
    return false;
  }
  if (!run.Charge(1)) return false;
  switch (value.kind) {
    case Kind::kFailed:
      return false;
    case Kind::kAbsent:
    case Kind::kUndefined:
      return depth == 0 || out->Append("Undefined", false);
    case Kind::kNone:
      return out->Append("None", false);
    case Kind::kBool:
      return out->Append(value.boolean ? "True" : "False", false);
    case Kind::kInt:
      return out->Append(absl::StrCat(value.integer), false);
    case Kind::kFloat:
      return out->Append(FloatText(value.number), false);
    case Kind::kText:
      return AppendQuoted(*value.text, out);
    case Kind::kList:
      return AppendItems(run, *value.list, "[", "]", out, depth);
    case Kind::kTuple:
      return AppendItems(run, *value.list, "(", value.list->size == 1 ? ",)" : ")", out, depth);
    case Kind::kRange:
      return AppendRange(*value.list, out);
    case Kind::kView:
      return AppendItems(run, *value.list, "dict_view([", "])", out, depth);
    case Kind::kGenerator:
      return out->Append("<generator>", false);
    case Kind::kDict:
      return AppendDict(run, *value.dict, out, depth);
    case Kind::kNamespace:
      return out->Append("<Namespace ", false) && AppendDict(run, *value.dict, out, depth) &&
             out->Append(">", false);
    case Kind::kCallable:
      return out->Append("<function>", false);
    case Kind::kLoop:
      return out->Append("<LoopContext>", false);
  }
  return false;
}

const Text* ToText(Run& run, const Value& value) {
  if (value.is(Kind::kText)) return value.text;
  TextBuilder text(run);
  return AppendText(run, value, &text) ? text.Finish() : nullptr;
}

}  // namespace tessera::jinja
