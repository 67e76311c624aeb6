#include "core/text/jinja/lexer.h"

#include <algorithm>

#include "core/base/status.h"
#include "core/text/jinja/code_points.h"

namespace tessera::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameByte(char c) {
  const char lower = static_cast<char>(c | 0x20);
  return IsDigit(c) || (lower >= 'a' && lower <= 'z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool IsHexDigit(char c) {
  const char lower = static_cast<char>(c | 0x20);
  return IsDigit(c) || (lower >= 'a' && lower <= 'f');
}

}  // namespace

std::string NormalisedSource(absl::string_view source) {
  std::string normalised;
  normalised.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      normalised.push_back(source[i]);
    } else {
      normalised.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!normalised.empty() && normalised.back() == '\n') normalised.pop_back();
  return normalised;
}

absl::Status TemplateError(uint32_t line, absl::string_view message) {
  return InvalidArgument(absl::StrCat("chat template, line ", line), message);
}

bool Lexer::Fail(absl::string_view message) {
  if (status_.ok()) status_ = TemplateError(line_, message);
  return false;
}

void Lexer::MoveTo(size_t at) {
  line_ += static_cast<uint32_t>(std::count(source_.begin() + at_, source_.begin() + at, '\n'));
  at_ = at;
}

Token Lexer::Next() {
  Token token;
  while (status_.ok()) {
    token.line = line_;
    const bool found = mode_ == Mode::kText  ? NextText(&token)
                       : mode_ == Mode::kRaw ? NextRaw(&token)
                                             : NextInTag(&token);
    if (found) return token;
    if (mode_ == Mode::kText && at_ == source_.size()) break;
  }
  token = Token();
  token.line = line_;
  return token;
}

// The next tag's place, or the end.
Lexer::Opening Lexer::FindOpening(size_t* at) const {
  for (size_t i = source_.find('{', at_); i != absl::string_view::npos; i = source_.find('{', i + 1)) {
    *at = i;
    const char next = i + 1 < source_.size() ? source_[i + 1] : '\0';
    if (next == '%') return RawBeginEnd(i) != 0 ? Opening::kRaw : Opening::kBlock;
    if (next == '{') return Opening::kPrint;
    if (next == '#') return Opening::kComment;
  }
  *at = source_.size();
  return Opening::kNone;
}

size_t Lexer::RawBeginEnd(size_t at) const {
  at += 2;
  if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
  at = SkipSpace(source_, at);
  if (source_.substr(at, 3) != "raw") return 0;
  at = SkipSpace(source_, at + 3);
  if (source_.substr(at, 2) == "%}") return at + 2;
  if (source_.substr(at, 3) == "-%}") return SkipSpace(source_, at + 3);
  return 0;
}

// Text before a tag, shortened as the tag's sign and, for blocks and comments, lstrip_blocks say.
absl::string_view Lexer::Stripped(absl::string_view text, char sign, bool strips_lines) const {
  if (sign == '-') return text.substr(0, EndWithoutSpace(text));
  if (sign == '+' || !strips_lines) return text;
  const size_t newline = text.rfind('\n');
  const size_t line = newline == absl::string_view::npos ? 0 : newline + 1;
  if (line == 0 && !line_starts_) return text;
  return SkipSpace(text, line) == text.size() ? text.substr(0, line) : text;
}

bool Lexer::NextText(Token* token) {
  size_t at = 0;
  const Opening opening = FindOpening(&at);
  const absl::string_view text = source_.substr(at_, at - at_);
  if (opening == Opening::kNone) {
    token->type = TokenType::kData;
    token->text = text;
    MoveTo(at);
    return !text.empty();
  }
  const char sign = at + 2 < source_.size() ? source_[at + 2] : '\0';
  const bool signed_tag = sign == '-' || sign == '+';
  const absl::string_view kept = Stripped(text, sign, opening != Opening::kPrint);
  // Text goes out first; the tag is found again, with nothing before it.
  if (!text.empty()) {
    token->type = TokenType::kData;
    token->text = kept;
    line_starts_ = false;
    MoveTo(at);
    if (!kept.empty()) return true;
    token->line = line_;
  }
  const size_t inside = at + (signed_tag ? 3 : 2);
  line_starts_ = false;
  switch (opening) {
    case Opening::kComment:
      return SkipComment(inside);
    case Opening::kRaw: {
      const size_t begin = RawBeginEnd(at);
      line_starts_ = source_[begin - 1] == '\n';
      MoveTo(begin);
      mode_ = Mode::kRaw;
      return false;
    }
    case Opening::kPrint:
      token->type = TokenType::kPrintBegin;
      mode_ = Mode::kPrint;
      break;
    default:
      token->type = TokenType::kBlockBegin;
      mode_ = Mode::kBlock;
      break;
  }
  token->text = {};
  open_brackets_ = 0;
  MoveTo(inside);
  return true;
}

// Behind the closing two characters at `at - 2`, with a line's end that belongs to them.
size_t Lexer::BehindTagEnd(size_t at) const {
  return at < source_.size() && source_[at] == '\n' ? at + 1 : at;
}

bool Lexer::SkipComment(size_t begin) {
  const size_t end = source_.find("#}", begin);
  if (end == absl::string_view::npos) return Fail("a comment is not closed");
  const bool strips = end > begin && source_[end - 1] == '-';
  const bool keeps = end > begin && source_[end - 1] == '+';
  const size_t behind = strips ? SkipSpace(source_, end + 2) : keeps ? end + 2 : BehindTagEnd(end + 2);
  MoveTo(behind);
  line_starts_ = source_[behind - 1] == '\n';
  return false;
}

// The place behind {% endraw %}; npos where it is missing. `tag`: where it begins.
size_t Lexer::RawEnd(size_t at, char* sign, size_t* tag) const {
  for (*tag = source_.find("{%", at); *tag != absl::string_view::npos; *tag = source_.find("{%", *tag + 1)) {
    size_t i = *tag + 2;
    *sign = '\0';
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) *sign = source_[i++];
    i = SkipSpace(source_, i);
    if (source_.substr(i, 6) != "endraw") continue;
    i = SkipSpace(source_, i + 6);
    if (source_.substr(i, 2) == "%}") return BehindTagEnd(i + 2);
    if (source_.substr(i, 3) == "+%}") return i + 3;
    if (source_.substr(i, 3) == "-%}") return SkipSpace(source_, i + 3);
  }
  return absl::string_view::npos;
}

bool Lexer::NextRaw(Token* token) {
  char sign = '\0';
  size_t tag = 0;
  const size_t behind = RawEnd(at_, &sign, &tag);
  if (behind == absl::string_view::npos) return Fail("{% raw %} is not closed by {% endraw %}");
  token->type = TokenType::kData;
  token->text = Stripped(source_.substr(at_, tag - at_), sign, true);
  MoveTo(behind);
  line_starts_ = source_[behind - 1] == '\n';
  mode_ = Mode::kText;
  return !token->text.empty();
}

bool Lexer::TagEnd(Token* token) {
  const bool block = mode_ == Mode::kBlock;
  const absl::string_view rest = source_.substr(at_);
  const absl::string_view close = block ? "%}" : "}}";
  size_t behind = 0;
  if (rest.substr(0, 2) == close) {
    behind = block ? BehindTagEnd(at_ + 2) : at_ + 2;
  } else if (rest.substr(0, 1) == "-" && rest.substr(1, 2) == close) {
    behind = SkipSpace(source_, at_ + 3);
  } else if (block && rest.substr(0, 3) == "+%}") {
    behind = at_ + 3;
  } else {
    return false;
  }
  token->type = block ? TokenType::kBlockEnd : TokenType::kPrintEnd;
  token->text = {};
  MoveTo(behind);
  line_starts_ = source_[behind - 1] == '\n';
  mode_ = Mode::kText;
  return true;
}

bool Lexer::NextInTag(Token* token) {
  MoveTo(SkipSpace(source_, at_));
  token->line = line_;
  if (at_ == source_.size()) return Fail("the template ends inside a tag");
  if (open_brackets_ == 0 && TagEnd(token)) return true;
  const char c = source_[at_];
  if (IsDigit(c)) {
    NextNumber(token);
    return true;
  }
  if (IsNameByte(c)) {
    size_t end = at_;
    while (end < source_.size() && IsNameByte(source_[end])) ++end;
    token->type = TokenType::kName;
    token->text = source_.substr(at_, end - at_);
    MoveTo(end);
    return true;
  }
  if (c == '\'' || c == '"') return NextString(token);
  return NextOperator(token);
}

void Lexer::NextNumber(Token* token) {
  const auto digits = [this](size_t at) {  // with single underscores between them
    while (at < source_.size() && (IsDigit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() &&
                                                            IsDigit(source_[at + 1])))) {
      ++at;
    }
    return at;
  };
  token->type = TokenType::kInteger;
  size_t end = digits(at_);
  const char mark = end == at_ + 1 && source_[at_] == '0' && end < source_.size()
                        ? static_cast<char>(source_[end] | 0x20)
                        : '\0';
  if ((mark == 'x' || mark == 'o' || mark == 'b') && end + 1 < source_.size() &&
      IsHexDigit(source_[end + 1])) {
    ++end;
    while (end < source_.size() && (IsHexDigit(source_[end]) || source_[end] == '_')) ++end;
  } else if (at_ == 0 || source_[at_ - 1] != '.') {
    const auto digit_at = [this](size_t at) { return at < source_.size() && IsDigit(source_[at]); };
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      token->type = TokenType::kFloat;
      end = digits(end + 1);
    }
    if (end < source_.size() && (source_[end] | 0x20) == 'e') {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
      if (digit_at(end + 1 + sign)) {
        token->type = TokenType::kFloat;
        end = digits(end + 1 + sign);
      }
    }
  }
  token->text = source_.substr(at_, end - at_);
  MoveTo(end);
}

bool Lexer::NextString(Token* token) {
  const char quote = source_[at_];
  size_t end = at_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return Fail("a string is not closed");
  token->type = TokenType::kString;
  token->text = source_.substr(at_ + 1, end - at_ - 1);
  MoveTo(end + 1);
  return true;
}

bool Lexer::NextOperator(Token* token) {
  static constexpr absl::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
  static constexpr absl::string_view kOne = "+-/*%~[](){}><=.:|,;";
  const absl::string_view two = source_.substr(at_, 2);
  size_t length = std::find(std::begin(kTwo), std::end(kTwo), two) != std::end(kTwo) ? 2 : 1;
  const char c = source_[at_];
  if (length == 1 && kOne.find(c) == absl::string_view::npos) {
    return Fail(absl::StrCat("'", source_.substr(at_, 1), "' cannot stand in a tag"));
  }
  if (c == '(' || c == '[' || c == '{') {
    if (open_brackets_ == kDeepestBrackets) return Fail("brackets are nested too deep");
    brackets_[open_brackets_++] = c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (c == ')' || c == ']' || c == '}') {
    if (open_brackets_ == 0 || brackets_[--open_brackets_] != c) {
      return Fail(absl::StrCat("'", source_.substr(at_, 1), "' closes nothing"));
    }
  }
  token->type = TokenType::kOperator;
  token->text = source_.substr(at_, length);
  MoveTo(at_ + length);
  return true;
}

}  // namespace tessera::jinja
