// From tokens to a tree, by Jinja2's grammar. Every level of nesting is counted, so that no template can use
// up the stack: neither here nor where the tree is walked.
#ifndef TESSERA_CORE_TEXT_JINJA_PARSER_H_
#define TESSERA_CORE_TEXT_JINJA_PARSER_H_

#include <initializer_list>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/text/jinja/arena.h"
#include "core/text/jinja/ast.h"
#include "core/text/jinja/lexer.h"

namespace tessera::jinja {

class Parser {
 public:
  static constexpr int kDeepestNesting = 100;    // a statement counts as one level, a bracket as three
  static constexpr uint16_t kDeepestTree = 200;  // of nodes below each other

  // `source` and `arena` outlive the tree.
  Parser(absl::string_view source, Arena* arena) : lexer_(source), arena_(arena) {}

  // Null with a status that names the line.
  const Node* ParseTemplate();
  const absl::Status& status() const { return status_; }

 private:
  class Nested;
  using Words = std::initializer_list<absl::string_view>;

  // Tokens.
  void Advance();
  bool SkipName(absl::string_view name);
  bool SkipOperator(absl::string_view text);
  bool Expect(absl::string_view operator_text);
  bool ExpectName(absl::string_view name);
  bool ExpectType(TokenType type, absl::string_view what);
  const Node* Fail(absl::string_view message);
  const Node* FailAt(uint32_t line, absl::string_view message);
  std::string CurrentToken() const;

  // Nodes: null when memory or depth runs out.
  Node* Make(NodeKind kind, uint32_t line);
  const Node* Done(Node* node);  // computes its depth
  const Node* Unary(NodeKind kind, uint32_t line, const Node* a);
  bool SetItems(Node* node, const std::vector<const Node*>& items);
  const Node* MakeText(NodeKind kind, uint32_t line, absl::string_view text);

  // Statements (parser.cc).
  const Node* ParseBody(Words ends);
  const Node* ParseBlock(Words ends, bool* at_end);
  const Node* ParseStatement();
  const Node* ParsePrint(uint32_t line);
  const Node* ParseIf(uint32_t line);
  const Node* ParseFor(uint32_t line);
  const Node* ParseSet(uint32_t line);
  const Node* ParseMacro(uint32_t line);
  const Node* ParseCallBlock(uint32_t line);
  const Node* ParseFilterBlock(uint32_t line);
  const Node* ParseWith(uint32_t line);
  const Node* ParseGeneration(uint32_t line);
  bool ParseParameters(std::vector<const Node*>* parameters);
  const Node* ParseTarget(bool with_namespace, absl::string_view end_word);
  const Node* CheckTarget(const Node* target);

  // Expressions (expression_parser.cc).
  const Node* ParseExpression(bool with_conditional = true);
  const Node* ParseTuple(bool simple, bool with_conditional, bool with_namespace, bool parenthesised,
                         absl::string_view end_word);
  bool AtTupleEnd(absl::string_view end_word) const;
  const Node* ParseBinary(int least_level);
  const Node* FinishChain(int level, uint32_t line, const Node* first, const std::vector<const Node*>& chain);
  const Node* ParseUnary(bool with_filters);
  const Node* ParsePrimary(bool with_namespace);
  const Node* ParseListDisplay();
  const Node* ParseDictDisplay();
  const Node* ParsePostfix(const Node* node, bool with_filters);
  const Node* ParseSubscript(const Node* node);
  const Node* ParseDot(const Node* node);
  const Node* ParseCall(const Node* node);
  bool ParseArguments(std::vector<const Node*>* arguments);
  const Node* ParseFilter(const Node* node);
  const Node* ParseFilters(const Node* node, bool at_name);
  const Node* ParseTest(const Node* node);

  // Literals (literal_parser.cc).
  const Node* ParseStrings();
  bool Unescape(absl::string_view raw, std::string* text);
  const Node* ParseNumber();

  Lexer lexer_;
  Arena* arena_;
  Token token_;
  Token ahead_;
  int nesting_ = 0;
  int loops_ = 0;     // around the current place, for break and continue
  uint8_t uses_ = 0;  // what of kUses... the macro around the current place reads
  absl::Status status_;
};

// Counts a level for as long as it lives; false when it is one too many, which is then the parser's error.
class Parser::Nested {
 public:
  explicit Nested(Parser* parser) : parser_(parser) {
    if (++parser_->nesting_ > kDeepestNesting) parser_->Fail("it is nested too deep here");
  }
  ~Nested() { --parser_->nesting_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  explicit operator bool() const { return parser_->nesting_ <= kDeepestNesting; }

 private:
  Parser* parser_;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_PARSER_H_
