// Strings and numbers as they are written.
#include <string>

#include "absl/strings/numbers.h"
#include "core/base/status.h"
#include "core/text/jinja/code_points.h"
#include "core/text/jinja/parser.h"

namespace tessera::jinja {

const Node* Parser::ParseStrings() {
  const uint32_t line = token_.line;
  std::string text;
  while (token_.type == TokenType::kString) {
    if (!Unescape(token_.text, &text)) return nullptr;
    Advance();
  }
  char* copy = arena_->Make<char>(text.size());
  if (copy == nullptr) return Fail("the template is too large");
  text.copy(copy, text.size());
  return MakeText(NodeKind::kConstant, line, absl::string_view(copy, text.size()));
}

// Undoes Python's escapes; unknown ones stay as they are.
bool Parser::Unescape(absl::string_view raw, std::string* text) {
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      text->push_back(raw[i]);
      continue;
    }
    const char c = raw[++i];
    static constexpr absl::string_view kFrom = "nrtabfv\\'\"", kTo = "\n\r\t\a\b\f\v\\'\"";
    if (const size_t simple = kFrom.find(c); simple != absl::string_view::npos) {
      text->push_back(kTo[simple]);
      continue;
    }
    if (c == '\n') continue;
    const bool octal = c >= '0' && c <= '7';
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : octal ? 3 : 0;
    if (digits == 0) {
      text->push_back('\\');
      text->push_back(c);
      continue;
    }
    size_t at = octal ? i : i + 1;
    const size_t begin = at;
    uint32_t value = 0;
    for (; at < raw.size() && at < begin + digits; ++at) {
      const char digit = raw[at];
      const char lower = static_cast<char>(digit | 0x20);
      uint32_t part = 16;
      if (digit >= '0' && digit <= '9') part = static_cast<uint32_t>(digit - '0');
      if (lower >= 'a' && lower <= 'f') part = static_cast<uint32_t>(lower - 'a' + 10);
      if (part >= (octal ? 8u : 16u)) break;
      value = value * (octal ? 8 : 16) + part;
    }
    if ((!octal && at != begin + digits) || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      Fail("a string holds an escape that is no character");
      return false;
    }
    const EncodedCodePoint encoded = EncodeUtf8(value);
    text->append(encoded.bytes, encoded.size);
    i = at - 1;
  }
  return true;
}

const Node* Parser::ParseNumber() {
  Node* node = Make(NodeKind::kConstant, token_.line);
  if (node == nullptr) return nullptr;
  std::string digits;
  for (const char c : token_.text) {
    if (c != '_') digits.push_back(c);
  }
  if (token_.type == TokenType::kFloat) {
    double number = 0;
    if (!absl::SimpleAtod(digits, &number)) return Fail("this is no number");
    node->constant = Value::Float(number);
  } else {
    const char mark = digits.size() > 2 ? static_cast<char>(digits[1] | 0x20) : '0';
    const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    int64_t integer = 0;
    for (size_t i = base == 10 ? 0 : 2; i < digits.size(); ++i) {
      const char c = digits[i];
      const int part = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      if (part >= base) return Fail("this is no number");
      if (__builtin_mul_overflow(integer, base, &integer) ||
          __builtin_add_overflow(integer, part, &integer)) {
        return Fail("an integer is larger than 64 bits hold");
      }
    }
    node->constant = Value::Int(integer);
  }
  Advance();
  return node;
}

}  // namespace tessera::jinja
