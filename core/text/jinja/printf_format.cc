// '%s' % x and '{}'.format(x).
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"

namespace tessera::jinja {
namespace {

constexpr int kWidestField = 1000;

struct Sign {
  bool left = false, zero = false, plus = false, space = false, alternate = false;
  int width = 0;
  int precision = -1;
  char kind = 's';
};

// The digits of a number that is not negative, with the sign apart.
bool NumberDigits(Run& run, const Sign& sign, const Value& value, std::string* digits, bool* negative) {
  if (!value.is_number()) {
    if (value.is(Kind::kUndefined)) run.FailUndefined(value);
    run.FailType(
        absl::StrCat("'%", std::string(1, sign.kind), "' takes a number, not '", TypeName(value), "'"));
    return false;
  }
  const bool real = sign.kind == 'f' || sign.kind == 'F' || sign.kind == 'e' || sign.kind == 'E' ||
                    sign.kind == 'g' || sign.kind == 'G';
  if (!real) {
    double whole = value.is(Kind::kFloat) ? std::trunc(value.number) : 0;
    if (value.is(Kind::kFloat) && !(std::abs(whole) < 9.2e18)) {
      run.FailType("a float does not fit 64-bit integers");
      return false;
    }
    const int64_t integer = value.is(Kind::kFloat) ? static_cast<int64_t>(whole) : value.AsInt();
    *negative = integer < 0;
    const uint64_t size =
        *negative ? uint64_t{0} - static_cast<uint64_t>(integer) : static_cast<uint64_t>(integer);
    std::array<char, 72> buffer;
    const int base = sign.kind == 'x' || sign.kind == 'X' ? 16 : sign.kind == 'o' ? 8 : 10;
    const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), size, base);
    digits->assign(buffer.data(), written.ptr);
    const auto least = static_cast<size_t>(std::max(sign.precision, 0));
    if (digits->size() < least) digits->insert(0, least - digits->size(), '0');
    if (sign.kind == 'X')
      std::transform(digits->begin(), digits->end(), digits->begin(),
                     [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
    if (sign.alternate && base != 10) digits->insert(0, base == 8 ? "0o" : sign.kind == 'x' ? "0x" : "0X");
    return true;
  }
  const double number = value.AsFloat();
  *negative = std::signbit(number);
  if (!std::isfinite(number)) {
    *digits = std::isnan(number) ? "nan" : "inf";
    return true;
  }
  std::array<char, 1500> buffer;  // 309 digits and a precision of at most kWidestField
  const std::chars_format format = sign.kind == 'f' || sign.kind == 'F'   ? std::chars_format::fixed
                                   : sign.kind == 'e' || sign.kind == 'E' ? std::chars_format::scientific
                                                                          : std::chars_format::general;
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::abs(number), format,
                                     sign.precision < 0 ? 6 : sign.precision);
  digits->assign(buffer.data(), written.ptr);
  return true;
}

bool AppendField(const Sign& sign, absl::string_view prefix, const Text& body, TextBuilder* out) {
  const size_t points = prefix.size() + CountCodePoints(body.view());
  const size_t width = static_cast<size_t>(sign.width);
  const std::string fill(width > points ? width - points : 0, sign.zero && !sign.left ? '0' : ' ');
  if (!sign.left && !sign.zero && !out->Append(fill, false)) return false;
  if (!out->Append(prefix, false)) return false;
  if (!sign.left && sign.zero && !out->Append(fill, false)) return false;
  return out->Append(body) && (!sign.left || out->Append(fill, false));
}

bool AppendValue(Run& run, Sign sign, const Value& value, TextBuilder* out) {
  if (sign.kind == 's' || sign.kind == 'r' || sign.kind == 'a') {
    TextBuilder text(run);
    if (sign.kind == 's' ? !AppendText(run, value, &text) : !AppendRepr(run, value, &text)) return false;
    const Text* body = text.Finish();
    if (body == nullptr) return false;
    sign.zero = false;
    const size_t end =
        sign.precision < 0 ? body->size : ByteOfCodePoint(body->view(), static_cast<size_t>(sign.precision));
    return AppendField(sign, "", body->Part(0, end), out);
  }
  if (sign.kind == 'c' && value.is(Kind::kText)) return AppendField(sign, "", *value.text, out);
  std::string digits;
  bool negative = false;
  if (!NumberDigits(run, sign, value, &digits, &negative)) return false;
  Text body;
  body.data = digits.data();
  body.size = digits.size();
  return AppendField(sign, negative ? "-" : sign.plus ? "+" : sign.space ? " " : "", body, out);
}

// Hands out the arguments of one format.
class Arguments {
 public:
  Arguments(Run& run, const Value& value) : run_(run), value_(value) {}
  Value Next() {
    if (!value_.is(Kind::kTuple)) {
      if (used_++ == 0) return value_;
    } else if (used_ < value_.list->size) {
      return value_.list->items[used_++];
    }
    return run_.FailType("a format has too few arguments");
  }
  Value Named(absl::string_view name) {
    if (!value_.is(Kind::kDict)) return run_.FailType("a format with names takes a dict");
    const Value* found = FindText(run_, *value_.dict, name);
    named_ = true;
    return found != nullptr ? *found : run_.FailType(absl::StrCat("a format finds no '", name, "'"));
  }
  bool AllUsed() const {
    if (value_.is(Kind::kDict) || named_) return true;
    return used_ >= (value_.is(Kind::kTuple) ? value_.list->size : 1);
  }

 private:
  Run& run_;
  Value value_;
  size_t used_ = 0;
  bool named_ = false;
};

bool ParseCount(Run& run, absl::string_view text, size_t* at, Arguments* arguments, int* count) {
  if (*at < text.size() && text[*at] == '*') {
    ++*at;
    const Value value = arguments->Next();
    if (value.failed()) return false;
    if (!value.is_integer() || value.AsInt() < 0 || value.AsInt() > kWidestField) {
      run.FailType("a field's width is no number that can be meant");
      return false;
    }
    *count = static_cast<int>(value.AsInt());
    return true;
  }
  for (; *at < text.size() && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
    *count = std::max(*count, 0) * 10 + (text[*at] - '0');
    if (*count > kWidestField) {
      run.FailType(absl::StrCat("a field is wider than ", kWidestField));
      return false;
    }
  }
  return true;
}

// One field, behind its '%'.
bool AppendPrintfField(Run& run, absl::string_view text, size_t* at, Arguments* arguments, TextBuilder* out) {
  Sign sign;
  Value value = Value::Absent();
  if (*at < text.size() && text[*at] == '(') {
    const size_t end = text.find(')', *at);
    if (end == absl::string_view::npos) return !run.FailType("a format's name is not closed").failed();
    value = arguments->Named(text.substr(*at + 1, end - *at - 1));
    if (value.failed()) return false;
    *at = end + 1;
  }
  for (; *at < text.size(); ++*at) {
    const char c = text[*at];
    if (c == '-')
      sign.left = true;
    else if (c == '0')
      sign.zero = true;
    else if (c == '+')
      sign.plus = true;
    else if (c == ' ')
      sign.space = true;
    else if (c == '#')
      sign.alternate = true;
    else
      break;
  }
  if (!ParseCount(run, text, at, arguments, &sign.width)) return false;
  if (*at < text.size() && text[*at] == '.') {
    ++*at;
    sign.precision = 0;
    if (!ParseCount(run, text, at, arguments, &sign.precision)) return false;
  }
  if (*at == text.size()) return !run.FailType("a format ends inside a field").failed();
  sign.kind = text[(*at)++];
  if (sign.kind == '%') return out->Append('%', false);
  if (absl::string_view("sradiouxXeEfFgGc").find(sign.kind) == absl::string_view::npos) {
    return !run.FailType("a format has a field of no known kind").failed();
  }
  if (value.absent()) value = arguments->Next();
  return !value.failed() && AppendValue(run, sign, value, out);
}

}  // namespace

Value PrintfFormat(Run& run, const Text& format, const Value& value) {
  const absl::string_view text = format.view();
  Arguments arguments(run, value);
  TextBuilder out(run);
  for (size_t at = 0; at < text.size();) {
    const size_t sign = std::min(text.find('%', at), text.size());
    if (!run.Charge(1) || !out.Append(format.Part(at, sign))) return Value::Failed();
    if (sign == text.size()) break;
    at = sign + 1;
    if (!AppendPrintfField(run, text, &at, &arguments, &out)) return Value::Failed();
  }
  if (!arguments.AllUsed()) return run.FailType("a format has more arguments than fields");
  return out.FinishValue(format.markup);
}

Value BraceFormat(Run& run, const Text& format, absl::Span<const Value> positional,
                  absl::Span<const Keyword> keywords) {
  const absl::string_view text = format.view();
  TextBuilder out(run);
  size_t next = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t brace = std::min(text.find_first_of("{}", at), text.size());
    if (!run.Charge(1) || !out.Append(format.Part(at, brace))) return Value::Failed();
    if (brace == text.size()) break;
    if (text.substr(brace, 2) == "{{" || text.substr(brace, 2) == "}}") {
      if (!out.Append(format.Part(brace, brace + 1))) return Value::Failed();
      at = brace + 2;
      continue;
    }
    const size_t end = text.find('}', brace);
    if (text[brace] == '}' || end == absl::string_view::npos)
      return run.FailType("a format's braces do not match");
    const absl::string_view name = text.substr(brace + 1, end - brace - 1);
    if (name.find_first_of(".[:!{") != absl::string_view::npos) {
      return run.Fail(ErrorCode::kUnsupported, "format() takes plain fields only: {}, {0}, {name}");
    }
    const bool numbered = !name.empty() && name.find_first_not_of("0123456789") == absl::string_view::npos;
    Value value = Value::Absent();
    if (name.empty() || numbered) {
      size_t place = name.empty() ? next++ : 0;
      for (const char c : name.substr(0, 9)) place = place * 10 + static_cast<size_t>(c - '0');
      if (place < positional.size()) value = positional[place];
    }
    for (const Keyword& keyword : keywords) {
      if (keyword.name == name) value = keyword.value;
    }
    if (value.absent()) return run.FailType(absl::StrCat("format() finds no '", name.substr(0, 64), "'"));
    if (!AppendText(run, value, &out)) return Value::Failed();
    at = end + 1;
  }
  return out.FinishValue(format.markup);
}

}  // namespace tessera::jinja
