// Tokens, nodes and statements; expressions are in expression_parser.cc.
#include "core/text/jinja/parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/status.h"

namespace tessera::jinja {

void Parser::Advance() {
  token_ = ahead_;
  ahead_ = lexer_.Next();
  if (token_.type == TokenType::kEnd && !lexer_.status().ok() && status_.ok()) status_ = lexer_.status();
}

bool Parser::SkipName(absl::string_view name) {
  if (!token_.IsName(name)) return false;
  Advance();
  return true;
}

bool Parser::SkipOperator(absl::string_view text) {
  if (!token_.Is(text)) return false;
  Advance();
  return true;
}

std::string Parser::CurrentToken() const {
  switch (token_.type) {
    case TokenType::kEnd:
      return "the template's end";
    case TokenType::kBlockEnd:
    case TokenType::kPrintEnd:
      return "the tag's end";
    case TokenType::kData:
    case TokenType::kBlockBegin:
    case TokenType::kPrintBegin:
      return "text";
    default:
      return absl::StrCat("'", token_.text.substr(0, 64), "'");
  }
}

bool Parser::Expect(absl::string_view operator_text) {
  if (SkipOperator(operator_text)) return true;
  Fail(absl::StrCat("'", operator_text, "' is expected, not ", CurrentToken()));
  return false;
}

bool Parser::ExpectName(absl::string_view name) {
  if (SkipName(name)) return true;
  Fail(absl::StrCat("'", name, "' is expected, not ", CurrentToken()));
  return false;
}

bool Parser::ExpectType(TokenType type, absl::string_view what) {
  if (token_.type == type) {
    Advance();
    return true;
  }
  Fail(absl::StrCat(what, " is expected, not ", CurrentToken()));
  return false;
}

const Node* Parser::Fail(absl::string_view message) { return FailAt(token_.line, message); }

const Node* Parser::FailAt(uint32_t line, absl::string_view message) {
  if (status_.ok()) status_ = lexer_.status();
  if (status_.ok()) status_ = TemplateError(line, message);
  return nullptr;
}

Node* Parser::Make(NodeKind kind, uint32_t line) {
  Node* node = arena_->Make<Node>();
  if (node == nullptr) {
    if (status_.ok()) {
      status_ = LimitExceeded(absl::StrCat("chat template, line ", line),
                              absl::StrCat("parsing it takes more than ", arena_->most_bytes(), " bytes"));
    }
    return nullptr;
  }
  node->kind = kind;
  node->line = line;
  return node;
}

const Node* Parser::Done(Node* node) {
  if (node == nullptr) return nullptr;
  uint16_t depth = 0;
  for (const Node* child : {node->a, node->b, node->c, node->d, node->e}) {
    if (child != nullptr) depth = std::max(depth, child->depth);
  }
  for (uint32_t i = 0; i < node->item_count; ++i) depth = std::max(depth, node->items[i]->depth);
  node->depth = static_cast<uint16_t>(depth + 1);
  if (node->depth > kDeepestTree) return FailAt(node->line, "it is nested too deep here");
  return node;
}

const Node* Parser::Unary(NodeKind kind, uint32_t line, const Node* a) {
  Node* node = a == nullptr ? nullptr : Make(kind, line);
  if (node != nullptr) node->a = a;
  return Done(node);
}

bool Parser::SetItems(Node* node, const std::vector<const Node*>& items) {
  if (node == nullptr) return false;
  if (items.empty()) return true;
  node->items = arena_->Make<const Node*>(items.size());
  if (node->items == nullptr) return Make(node->kind, node->line) != nullptr;  // says what ran out
  std::copy(items.begin(), items.end(), node->items);
  node->item_count = static_cast<uint32_t>(items.size());
  return true;
}

const Node* Parser::MakeText(NodeKind kind, uint32_t line, absl::string_view text) {
  Node* node = Make(kind, line);
  Text* constant = node == nullptr ? nullptr : arena_->Make<Text>();
  if (constant == nullptr) return Fail("the template is too large");
  constant->data = text.data();
  constant->size = text.size();
  node->constant = Value::Of(constant);
  return node;
}

const Node* Parser::ParseTemplate() {
  Advance();
  Advance();
  const Node* body = ParseBody({});
  if (body == nullptr || !status_.ok()) return nullptr;
  return body;
}

// Up to a tag that begins with one of `ends`, which is the current token then; without any, to the template's
// end.
const Node* Parser::ParseBody(Words ends) {
  const Nested nested(this);
  if (!nested) return nullptr;
  const uint32_t line = token_.line;
  std::vector<const Node*> items;
  for (bool at_end = false; !at_end;) {
    const Node* item = nullptr;
    switch (token_.type) {
      case TokenType::kData:
        item = MakeText(NodeKind::kData, token_.line, token_.text);
        Advance();
        break;
      case TokenType::kPrintBegin: {
        const uint32_t print_line = token_.line;
        Advance();
        item = Unary(NodeKind::kPrint, print_line, ParseTuple(false, true, false, false, ""));
        if (item != nullptr && !ExpectType(TokenType::kPrintEnd, "'}}'")) return nullptr;
        break;
      }
      case TokenType::kBlockBegin:
        Advance();
        item = ParseBlock(ends, &at_end);
        if (at_end) continue;
        break;
      case TokenType::kEnd:
        if (!status_.ok() || !lexer_.status().ok()) return Fail("");
        if (ends.size() > 0) {
          return Fail(absl::StrCat("the template ends before '", *(ends.end() - 1), "'"));
        }
        at_end = true;
        continue;
      default:
        return Fail(absl::StrCat("text is expected, not ", CurrentToken()));
    }
    if (item == nullptr) return nullptr;
    items.push_back(item);
  }
  Node* body = Make(NodeKind::kBody, line);
  return SetItems(body, items) ? Done(body) : nullptr;
}

const Node* Parser::ParseBlock(Words ends, bool* at_end) {
  *at_end = token_.type == TokenType::kName && std::find(ends.begin(), ends.end(), token_.text) != ends.end();
  if (*at_end) return nullptr;
  const Node* statement = ParseStatement();
  if (statement == nullptr || !ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
  return statement;
}

const Node* Parser::ParseStatement() {
  if (token_.type != TokenType::kName) {
    return Fail(absl::StrCat("a tag's name is expected, not ", CurrentToken()));
  }
  const Token name = token_;
  const uint32_t line = name.line;
  Advance();
  if (name.text == "if") return ParseIf(line);
  if (name.text == "for") return ParseFor(line);
  if (name.text == "set") return ParseSet(line);
  if (name.text == "macro") return ParseMacro(line);
  if (name.text == "call") return ParseCallBlock(line);
  if (name.text == "filter") return ParseFilterBlock(line);
  if (name.text == "with") return ParseWith(line);
  if (name.text == "generation") return ParseGeneration(line);
  if (name.text == "print") return ParsePrint(line);
  if (name.text == "break" || name.text == "continue") {
    if (loops_ == 0) return FailAt(line, absl::StrCat("'", name.text, "' stands outside a loop"));
    return Done(Make(name.text == "break" ? NodeKind::kBreak : NodeKind::kContinue, line));
  }
  for (const char* other : {"include", "import", "from", "extends", "block", "autoescape", "do", "trans"}) {
    if (name.text == other && status_.ok()) {
      status_ = Unsupported(absl::StrCat("chat template, line ", line),
                            absl::StrCat("the tag '", other, "' is not one that chat templates may use"));
      return nullptr;
    }
  }
  return FailAt(line, absl::StrCat("the tag '", name.text.substr(0, 64), "' is not known"));
}

const Node* Parser::ParsePrint(uint32_t line) {
  std::vector<const Node*> items;
  while (items.empty() || SkipOperator(",")) {
    const Node* item = Unary(NodeKind::kPrint, line, ParseExpression());
    if (item == nullptr) return nullptr;
    items.push_back(item);
  }
  Node* node = Make(NodeKind::kBody, line);
  return SetItems(node, items) ? Done(node) : nullptr;
}

const Node* Parser::ParseIf(uint32_t line) {
  std::vector<const Node*> items;
  for (;;) {
    const Node* test = ParseTuple(false, false, false, false, "");
    if (test == nullptr || !ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
    const Node* body = ParseBody({"elif", "else", "endif"});
    if (body == nullptr) return nullptr;
    items.push_back(test);
    items.push_back(body);
    if (SkipName("elif")) continue;
    if (SkipName("else")) {
      if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
      const Node* otherwise = ParseBody({"endif"});
      if (otherwise == nullptr) return nullptr;
      items.push_back(otherwise);
    }
    Advance();  // endif
    break;
  }
  Node* node = Make(NodeKind::kIf, line);
  return SetItems(node, items) ? Done(node) : nullptr;
}

const Node* Parser::ParseFor(uint32_t line) {
  Node* node = Make(NodeKind::kFor, line);
  if (node == nullptr) return nullptr;
  if ((node->a = ParseTarget(false, "in")) == nullptr || !ExpectName("in")) return nullptr;
  if ((node->b = ParseTuple(false, false, false, false, "recursive")) == nullptr) return nullptr;
  if (SkipName("if") && (node->c = ParseExpression()) == nullptr) return nullptr;
  node->flag = SkipName("recursive");
  if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
  ++loops_;
  node->d = ParseBody({"else", "endfor"});
  --loops_;
  if (node->d == nullptr) return nullptr;
  if (SkipName("else")) {
    if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
    if ((node->e = ParseBody({"endfor"})) == nullptr) return nullptr;
  }
  Advance();  // endfor
  return Done(node);
}

const Node* Parser::CheckTarget(const Node* target) {
  if (target == nullptr) return nullptr;
  switch (target->kind) {
    case NodeKind::kName:
    case NodeKind::kNamespaceTarget:
      return target;
    case NodeKind::kTuple:
      for (uint32_t i = 0; i < target->item_count; ++i) {
        if (CheckTarget(target->items[i]) == nullptr) return nullptr;
      }
      return target;
    default:
      return FailAt(target->line, "this cannot be assigned to");
  }
}

const Node* Parser::ParseTarget(bool with_namespace, absl::string_view end_word) {
  return CheckTarget(ParseTuple(true, false, with_namespace, false, end_word));
}

const Node* Parser::ParseSet(uint32_t line) {
  const Node* target = ParseTarget(true, "");
  if (target == nullptr) return nullptr;
  Node* node = nullptr;
  if (SkipOperator("=")) {
    node = Make(NodeKind::kSet, line);
    if (node == nullptr || (node->b = ParseTuple(false, true, false, false, "")) == nullptr) return nullptr;
  } else {
    node = Make(NodeKind::kSetBlock, line);
    if (node == nullptr) return nullptr;
    if (token_.Is("|") && (node->b = ParseFilters(nullptr, false)) == nullptr) return nullptr;
    if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
    if ((node->d = ParseBody({"endset"})) == nullptr) return nullptr;
    Advance();
  }
  node->a = target;
  return Done(node);
}

bool Parser::ParseParameters(std::vector<const Node*>* parameters) {
  if (!Expect("(")) return false;
  bool defaults = false;
  while (!token_.Is(")")) {
    if (!parameters->empty() && !Expect(",")) return false;
    Node* parameter = Make(NodeKind::kParameter, token_.line);
    if (parameter == nullptr) return false;
    parameter->name = token_.text;
    if (!ExpectType(TokenType::kName, "a parameter's name")) return false;
    if (SkipOperator("=")) {
      defaults = true;
      if ((parameter->a = ParseExpression()) == nullptr) return false;
    } else if (defaults) {
      Fail("a parameter without a default stands behind one that has one");
      return false;
    }
    if (Done(parameter) == nullptr) return false;
    parameters->push_back(parameter);
  }
  return Expect(")");
}

const Node* Parser::ParseMacro(uint32_t line) {
  Node* node = Make(NodeKind::kMacro, line);
  if (node == nullptr) return nullptr;
  node->name = token_.text;
  std::vector<const Node*> parameters;
  if (!ExpectType(TokenType::kName, "the macro's name") || !ParseParameters(&parameters)) return nullptr;
  if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
  const int loops = std::exchange(loops_, 0);
  const uint8_t uses = std::exchange(uses_, 0);
  node->d = ParseBody({"endmacro"});
  loops_ = loops;
  node->uses = std::exchange(uses_, uses);
  if (node->d == nullptr || !SetItems(node, parameters)) return nullptr;
  Advance();
  return Done(node);
}

const Node* Parser::ParseCallBlock(uint32_t line) {
  Node* node = Make(NodeKind::kCallBlock, line);
  if (node == nullptr) return nullptr;
  std::vector<const Node*> parameters;
  if (token_.Is("(") && !ParseParameters(&parameters)) return nullptr;
  if ((node->a = ParseExpression()) == nullptr) return nullptr;
  if (node->a->kind != NodeKind::kCall) return FailAt(line, "a call is expected");
  if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
  const int loops = std::exchange(loops_, 0);
  const uint8_t uses = std::exchange(uses_, 0);
  node->d = ParseBody({"endcall"});
  loops_ = loops;
  node->uses = std::exchange(uses_, uses);
  if (node->d == nullptr || !SetItems(node, parameters)) return nullptr;
  Advance();
  return Done(node);
}

const Node* Parser::ParseFilterBlock(uint32_t line) {
  Node* node = Make(NodeKind::kFilterBlock, line);
  if (node == nullptr || (node->b = ParseFilters(nullptr, true)) == nullptr) return nullptr;
  if (!ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
  if ((node->d = ParseBody({"endfilter"})) == nullptr) return nullptr;
  Advance();
  return Done(node);
}

const Node* Parser::ParseWith(uint32_t line) {
  Node* node = Make(NodeKind::kWith, line);
  std::vector<const Node*> items;
  while (token_.type != TokenType::kBlockEnd) {
    if (!items.empty() && !Expect(",")) return nullptr;
    const Node* target = CheckTarget(ParsePrimary(false));
    if (target == nullptr || !Expect("=")) return nullptr;
    const Node* value = ParseExpression();
    if (value == nullptr) return nullptr;
    items.push_back(target);
    items.push_back(value);
  }
  Advance();
  if (!SetItems(node, items) || (node->d = ParseBody({"endwith"})) == nullptr) return nullptr;
  Advance();
  return Done(node);
}

// Marks what a model would be trained to write; for us a scope like any other.
const Node* Parser::ParseGeneration(uint32_t line) {
  Node* node = Make(NodeKind::kScope, line);
  if (node == nullptr || !ExpectType(TokenType::kBlockEnd, "'%}'")) return nullptr;
  const int loops = std::exchange(loops_, 0);
  node->d = ParseBody({"endgeneration"});
  loops_ = loops;
  if (node->d == nullptr) return nullptr;
  Advance();
  return Done(node);
}

}  // namespace tessera::jinja
