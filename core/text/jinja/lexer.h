// Cuts a template into text and tags, and tags into tokens, one at a time. White space around tags goes as
// trim_blocks and lstrip_blocks, which all chat templates count on, and the signs in the tags say.
#ifndef TESSERA_CORE_TEXT_JINJA_LEXER_H_
#define TESSERA_CORE_TEXT_JINJA_LEXER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tessera::jinja {

enum class TokenType : uint8_t {
  kEnd,  // of the template; or an error, see Lexer::status
  kData,
  kBlockBegin,
  kBlockEnd,
  kPrintBegin,
  kPrintEnd,
  kName,
  kString,  // text: between the quotes, escapes not yet undone
  kInteger,
  kFloat,
  kOperator,  // text: one or two characters
};

struct Token {
  TokenType type = TokenType::kEnd;
  uint32_t line = 1;
  absl::string_view text;

  bool Is(absl::string_view operator_text) const {
    return type == TokenType::kOperator && text == operator_text;
  }
  bool IsName(absl::string_view name) const { return type == TokenType::kName && text == name; }
};

// Line ends become \n, and one at the very end goes.
std::string NormalisedSource(absl::string_view source);

// kInvalidArgument at a line of a template.
absl::Status TemplateError(uint32_t line, absl::string_view message);

class Lexer {
 public:
  // `source` is normalised, valid UTF-8, and outlives the tokens.
  explicit Lexer(absl::string_view source) : source_(source) {}
  Token Next();
  const absl::Status& status() const { return status_; }

 private:
  enum class Mode : uint8_t { kText, kBlock, kPrint, kRaw };
  enum class Opening : uint8_t { kNone, kBlock, kPrint, kComment, kRaw };
  static constexpr size_t kDeepestBrackets = 256;

  Opening FindOpening(size_t* at) const;
  size_t RawBeginEnd(size_t at) const;  // behind {% raw %} at `at`; 0: it is another tag
  size_t RawEnd(size_t at, char* sign, size_t* tag) const;
  absl::string_view Stripped(absl::string_view text, char sign, bool strips_lines) const;
  bool NextText(Token* token);
  bool NextRaw(Token* token);
  bool SkipComment(size_t begin);
  bool NextInTag(Token* token);
  bool TagEnd(Token* token);
  void NextNumber(Token* token);
  bool NextString(Token* token);
  bool NextOperator(Token* token);
  size_t BehindTagEnd(size_t at) const;
  void MoveTo(size_t at);
  bool Fail(absl::string_view message);

  absl::string_view source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_starts_ = true;  // what came last ended a line
  Mode mode_ = Mode::kText;
  char brackets_[kDeepestBrackets] = {};
  size_t open_brackets_ = 0;
  absl::Status status_;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_LEXER_H_
