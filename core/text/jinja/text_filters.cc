// Filters that make texts and numbers.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "absl/strings/numbers.h"
#include "core/text/jinja/case_mapping.h"
#include "core/text/jinja/code_points.h"
#include "core/text/jinja/filters.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/text_functions.h"
#include "core/text/unicode_class.h"

namespace tessera::jinja {

namespace {

Value Cased(Run& run, const Call& call, CaseStyle style) {
  const Text* text = ToText(run, call.self);
  return text == nullptr ? Value::Failed() : ChangeCase(run, *text, style);
}

// A number written as Python takes it: with underscores between digits, white space around.
bool ParseFloat(absl::string_view text, double* number) {
  std::string digits;
  for (const char c : text.substr(0, EndWithoutSpace(text))) {
    if (c != '_') digits.push_back(c);
  }
  return absl::SimpleAtod(digits, number);
}

bool ParseInt(absl::string_view text, int base, int64_t* number) {
  std::string digits;
  for (const char c : text.substr(SkipSpace(text, 0), EndWithoutSpace(text))) {
    if (c != '_') digits.push_back(c);
  }
  absl::string_view left = digits;
  left = left.substr(0, EndWithoutSpace(left));
  const bool negative = left.substr(0, 1) == "-";
  if (negative || left.substr(0, 1) == "+") left.remove_prefix(1);
  const absl::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && absl::string_view(left).substr(0, 2) == prefix) left.remove_prefix(2);
  uint64_t size = 0;
  const auto read = std::from_chars(left.data(), left.data() + left.size(), size, base);
  if (left.empty() || read.ec != std::errc() || read.ptr != left.data() + left.size()) return false;
  if (size > static_cast<uint64_t>(INT64_MAX)) return false;
  *number = negative ? -static_cast<int64_t>(size) : static_cast<int64_t>(size);
  return true;
}

}  // namespace

Value FilterUpper(Run& run, const Call& call) { return Cased(run, call, CaseStyle::kUpper); }
Value FilterLower(Run& run, const Call& call) { return Cased(run, call, CaseStyle::kLower); }
Value FilterTitle(Run& run, const Call& call) { return Cased(run, call, CaseStyle::kTitleFilter); }
Value FilterCapitalize(Run& run, const Call& call) { return Cased(run, call, CaseStyle::kCapitalized); }

Value FilterTrim(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  return text == nullptr ? Value::Failed() : Strip(run, *text, call[0], true, true);
}

Value FilterReplace(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  const Text* from = text == nullptr ? nullptr : ToText(run, call[0]);
  const Text* to = from == nullptr ? nullptr : ToText(run, call[1]);
  int64_t count = -1;
  if (to == nullptr || !NeedInt(run, call[2], -1, &count)) return Value::Failed();
  Text plain = *text;
  plain.markup = false;
  return Replace(run, plain, *from, *to, count);
}

Value FilterCenter(Run& run, const Call& call) {
  static constexpr Text kSpace{" ", 1};
  int64_t width = 80;
  const Text* text = ToText(run, call.self);
  if (text == nullptr || !NeedInt(run, call[0], 80, &width)) return Value::Failed();
  return Pad(run, *text, width, kSpace, 1);
}

Value FilterIndent(Run& run, const Call& call) {
  const Text* text = NeedText(run, call.self);
  if (text == nullptr) return Value::Failed();
  TextBuilder indent(run);
  if (call[0].is(Kind::kText)) {
    if (!indent.Append(*call[0].text)) return Value::Failed();
  } else {
    int64_t width = 4;
    if (!NeedInt(run, call[0], 4, &width)) return Value::Failed();
    for (int64_t i = 0; i < width; ++i) {
      if (!run.Charge(1) || !indent.Append(' ', false)) return Value::Failed();
    }
  }
  const Text* made = indent.Finish();
  if (made == nullptr) return Value::Failed();
  const auto on = [](const Value& flag) { return !flag.absent() && IsTrue(flag); };
  return Indent(run, *text, *made, on(call[1]), on(call[2]));
}

Value FilterString(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  return text == nullptr ? Value::Failed() : Value::Of(text);
}

Value FilterSafe(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  if (text == nullptr) return Value::Failed();
  Text safe = *text;
  safe.markup = true;
  return run.MakeText(safe);
}

Value FilterForceEscape(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  TextBuilder escaped(run);
  return text != nullptr && escaped.AppendEscaped(*text) ? escaped.FinishValue(true) : Value::Failed();
}
Value FilterEscape(Run& run, const Call& call) {
  if (call.self.is(Kind::kText) && call.self.text->markup) return call.self;
  return FilterForceEscape(run, call);
}

Value FilterFormat(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  if (text == nullptr) return Value::Failed();
  if (!call.positional.empty() && !call.keywords.empty()) {
    return run.FailType("format takes arguments with names or without, not both");
  }
  if (call.keywords.empty()) {
    const Value tuple = run.MakeList(Kind::kTuple, call.positional);
    return tuple.failed() ? tuple : PrintfFormat(run, *text, tuple);
  }
  const Value dict = run.MakeDict(call.keywords.size());
  for (const Keyword& keyword : call.keywords) {
    const Value name = dict.failed() ? dict : run.MakeText(keyword.name);
    if (name.failed() || !Put(run, dict.dict, name, keyword.value)) return Value::Failed();
  }
  return PrintfFormat(run, *text, dict);
}

Value FilterWordCount(Run& run, const Call& call) {
  const Text* text = ToText(run, call.self);
  if (text == nullptr || !run.Charge(text->size / 16)) return Value::Failed();
  int64_t words = 0;
  bool inside = false;  // a word is of letters, digits and underscores
  for (size_t at = 0; at < text->size;) {
    const CodePoint point = DecodeUtf8(text->data + at);
    const CharClass of = ClassOf(point.value);
    const bool word = of == CharClass::kLetter || of == CharClass::kNumber || point.value == '_';
    words += word && !inside;
    inside = word;
    at += point.bytes;
  }
  return Value::Int(words);
}

Value FilterToJson(Run& run, const Call& call) {
  JsonStyle style;
  const auto on = [](const Value& flag) { return !flag.absent() && IsTrue(flag); };
  style.ascii = on(call[0]);
  style.sort_keys = on(call[3]);
  style.indented = !call[1].absent() && !call[1].is(Kind::kNone);
  const auto constant = [](absl::string_view text) { return Text{text.data(), text.size()}; };
  style.item_separator = constant(style.indented ? "," : ", ");
  style.key_separator = constant(": ");
  if (style.indented && call[1].is(Kind::kText)) {
    style.indent = *call[1].text;
  } else if (style.indented) {
    int64_t width = 0;
    if (!NeedInt(run, call[1], 0, &width)) return Value::Failed();
    TextBuilder blanks(run);
    for (int64_t i = 0; i < width; ++i) {
      if (!run.Charge(1) || !blanks.Append(' ', false)) return Value::Failed();
    }
    const Text* made = blanks.Finish();
    if (made == nullptr) return Value::Failed();
    style.indent = *made;
  }
  if (!call[2].absent() && !call[2].is(Kind::kNone)) {
    const List* separators = Items(run, call[2]);
    if (separators == nullptr) return Value::Failed();
    if (separators->size != 2) return run.FailType("tojson takes two separators");
    for (size_t i = 0; i < 2; ++i) {
      const Text* separator = NeedText(run, separators->items[i]);
      if (separator == nullptr) return Value::Failed();
      (i == 0 ? style.item_separator : style.key_separator) = *separator;
    }
  }
  TextBuilder json(run);
  return AppendJson(run, call.self, style, &json) ? json.FinishValue() : Value::Failed();
}

Value FilterInt(Run& run, const Call& call) {
  const Value otherwise = call[0].absent() ? Value::Int(0) : call[0];
  int64_t base = 10, integer = 0;
  double number = 0;
  if (!NeedInt(run, call[1], 10, &base)) return Value::Failed();
  if (base < 2 || base > 36) return run.FailType("a base lies between 2 and 36");
  if (call.self.is_integer()) return Value::Int(call.self.AsInt());
  if (call.self.is(Kind::kUndefined)) return run.FailUndefined(call.self);
  if (call.self.is(Kind::kText)) {
    if (ParseInt(call.self.view(), static_cast<int>(base), &integer)) return Value::Int(integer);
    if (!ParseFloat(call.self.view(), &number)) return otherwise;
  } else if (call.self.is(Kind::kFloat)) {
    number = call.self.number;
  } else {
    return otherwise;
  }
  return std::abs(number) < 9.2e18 ? Value::Int(static_cast<int64_t>(number)) : otherwise;
}

Value FilterFloat(Run& run, const Call& call) {
  double number = 0;
  if (call.self.is_number()) return Value::Float(call.self.AsFloat());
  if (call.self.is(Kind::kUndefined)) return run.FailUndefined(call.self);
  if (call.self.is(Kind::kText) && ParseFloat(call.self.view(), &number)) return Value::Float(number);
  return call[0].absent() ? Value::Float(0) : call[0];
}

Value FilterAbs(Run& run, const Call& call) {
  if (call.self.is(Kind::kFloat)) return Value::Float(std::abs(call.self.number));
  if (call.self.is_integer() && call.self.AsInt() >= 0) return Value::Int(call.self.AsInt());
  return Negate(run, call.self);
}

Value FilterRound(Run& run, const Call& call) {
  int64_t precision = 0;
  if (!NeedInt(run, call[0], 0, &precision)) return Value::Failed();
  const absl::string_view method = call[1].is(Kind::kText) ? call[1].view() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    return run.FailType("round takes the methods 'common', 'ceil' and 'floor'");
  }
  if (!call.self.is_number()) {
    if (call.self.is(Kind::kUndefined)) return run.FailUndefined(call.self);
    return run.FailType(absl::StrCat("round takes a number, not '", TypeName(call.self), "'"));
  }
  if (method == "common" && call.self.is_integer() && precision >= 0) return Value::Int(call.self.AsInt());
  const double number = call.self.AsFloat();
  if (!std::isfinite(number)) return Value::Float(number);
  const int places = static_cast<int>(std::clamp<int64_t>(precision, -400, 400));
  if (method != "common" || places < 0) {
    const double scale = std::pow(10.0, std::abs(places));
    const double scaled = places < 0 ? number / scale : number * scale;
    const double whole = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);
    const double rounded = places < 0 ? whole * scale : whole / scale;
    return call.self.is_integer() && method == "common" ? Value::Int(static_cast<int64_t>(rounded))
                                                        : Value::Float(rounded);
  }
  // Through the decimal digits, which are correctly rounded, as Python does.
  std::array<char, 800> buffer;
  const auto written =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::fixed, places);
  double rounded = number;
  std::from_chars(buffer.data(), written.ptr, rounded);
  return Value::Float(rounded);
}

}  // namespace tessera::jinja
