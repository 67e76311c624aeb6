// Expressions. Binary operators climb by their level; the levels are Jinja2's, which are not Python's: a
// concat binds tighter than a sum.
#include <string>

#include "core/base/status.h"
#include "core/text/jinja/builtins.h"
#include "core/text/jinja/parser.h"

namespace tessera::jinja {
namespace {

enum Level {
  kOrLevel,
  kAndLevel,
  kNotLevel,
  kCompareLevel,
  kSumLevel,
  kConcatLevel,
  kProductLevel,
  kPowerLevel
};

struct BinaryOperator {
  absl::string_view text;
  int level;
  Operator op;
};
constexpr BinaryOperator kBinaryOperators[] = {
    {"==", kCompareLevel, Operator::kEqual},  {"!=", kCompareLevel, Operator::kNotEqual},
    {"<", kCompareLevel, Operator::kLess},    {"<=", kCompareLevel, Operator::kLessEqual},
    {">", kCompareLevel, Operator::kGreater}, {">=", kCompareLevel, Operator::kGreaterEqual},
    {"+", kSumLevel, Operator::kAdd},         {"-", kSumLevel, Operator::kSubtract},
    {"~", kConcatLevel, Operator::kAdd},      {"*", kProductLevel, Operator::kMultiply},
    {"/", kProductLevel, Operator::kDivide},  {"//", kProductLevel, Operator::kFloorDivide},
    {"%", kProductLevel, Operator::kModulo},  {"**", kPowerLevel, Operator::kPower},
};

bool FindBinary(const Token& token, const Token& ahead, int* level, Operator* op) {
  if (token.type == TokenType::kOperator) {
    for (const BinaryOperator& each : kBinaryOperators) {
      if (token.text != each.text) continue;
      *level = each.level;
      *op = each.op;
      return true;
    }
    return false;
  }
  *op = Operator::kIn;
  if (token.IsName("or")) {
    *level = kOrLevel;
  } else if (token.IsName("and")) {
    *level = kAndLevel;
  } else if (token.IsName("in")) {
    *level = kCompareLevel;
  } else if (token.IsName("not") && ahead.IsName("in")) {
    *level = kCompareLevel;
    *op = Operator::kNotIn;
  } else {
    return false;
  }
  return true;
}

}  // namespace

const Node* Parser::ParseExpression(bool with_conditional) {
  const Nested nested(this);
  if (!nested) return nullptr;
  uint32_t line = token_.line;
  const Node* value = ParseBinary(kOrLevel);
  while (with_conditional && value != nullptr && SkipName("if")) {
    Node* node = Make(NodeKind::kConditional, line);
    if (node == nullptr || (node->a = ParseBinary(kOrLevel)) == nullptr) return nullptr;
    if (SkipName("else") && (node->c = ParseExpression()) == nullptr) return nullptr;
    node->b = value;
    value = Done(node);
    line = token_.line;
  }
  return value;
}

const Node* Parser::ParseBinary(int least_level) {
  const Node* left = nullptr;
  const uint32_t line = token_.line;
  if (least_level <= kNotLevel && token_.IsName("not")) {
    const Nested nested(this);
    if (!nested) return nullptr;
    Advance();
    left = Unary(NodeKind::kNot, line, ParseBinary(kNotLevel));
  } else {
    left = ParseUnary(true);
  }
  std::vector<const Node*> chain;  // of a comparison or a concat that is being read
  int level = 0, chain_level = -1;
  Operator op = Operator::kAdd;
  while (left != nullptr) {
    const bool found = FindBinary(token_, ahead_, &level, &op) && level >= least_level;
    if (!chain.empty() && (!found || level != chain_level)) {
      left = FinishChain(chain_level, line, left, chain);
      chain.clear();
      if (left == nullptr) return nullptr;
    }
    if (!found) return left;
    const uint32_t operator_line = token_.line;
    Advance();
    if (op == Operator::kNotIn) Advance();
    const Node* right = ParseBinary(level + 1);
    if (right == nullptr) return nullptr;
    chain_level = level;
    if (level == kConcatLevel) {
      if (chain.empty()) chain.push_back(left);
      chain.push_back(right);
    } else {
      Node* node = Make(level == kOrLevel        ? NodeKind::kOr
                        : level == kAndLevel     ? NodeKind::kAnd
                        : level == kCompareLevel ? NodeKind::kComparand
                                                 : NodeKind::kBinary,
                        operator_line);
      if (node == nullptr) return nullptr;
      node->op = op;
      node->a = level == kCompareLevel ? right : left;
      node->b = level == kCompareLevel ? nullptr : right;
      if (Done(node) == nullptr) return nullptr;
      if (level == kCompareLevel) {
        chain.push_back(node);
      } else {
        left = node;
      }
    }
  }
  return nullptr;
}

const Node* Parser::FinishChain(int level, uint32_t line, const Node* first,
                                const std::vector<const Node*>& chain) {
  Node* node = Make(level == kCompareLevel ? NodeKind::kCompare : NodeKind::kConcat, line);
  if (node == nullptr) return nullptr;
  if (level == kCompareLevel) node->a = first;
  return SetItems(node, chain) ? Done(node) : nullptr;
}

const Node* Parser::ParseUnary(bool with_filters) {
  const Nested nested(this);
  if (!nested) return nullptr;
  const uint32_t line = token_.line;
  const Node* node = nullptr;
  if (SkipOperator("-")) {
    node = Unary(NodeKind::kNegate, line, ParseUnary(false));
  } else if (SkipOperator("+")) {
    node = Unary(NodeKind::kPlus, line, ParseUnary(false));
  } else {
    node = ParsePrimary(false);
  }
  return ParsePostfix(node, with_filters);
}

const Node* Parser::ParsePrimary(bool with_namespace) {
  const Token token = token_;
  switch (token.type) {
    case TokenType::kName: {
      Advance();
      Node* node = Make(NodeKind::kName, token.line);
      if (node == nullptr) return nullptr;
      if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
        node->kind = NodeKind::kConstant;
        node->constant = Value::Bool(token.text == "true" || token.text == "True");
      } else if (token.text == "none" || token.text == "None") {
        node->kind = NodeKind::kConstant;
        node->constant = Value::None();
      } else if (with_namespace && SkipOperator(".")) {
        const Node* attribute = MakeText(NodeKind::kConstant, token_.line, token_.text);
        if (attribute == nullptr || !ExpectType(TokenType::kName, "an attribute's name")) return nullptr;
        node->kind = NodeKind::kNamespaceTarget;
        node->constant = attribute->constant;
      }
      node->name = token.text;
      if (token.text == "varargs") uses_ |= kUsesVarargs;
      if (token.text == "kwargs") uses_ |= kUsesKwargs;
      if (token.text == "caller") uses_ |= kUsesCaller;
      return node;
    }
    case TokenType::kString:
      return ParseStrings();
    case TokenType::kInteger:
    case TokenType::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (token.Is("(")) {
    Advance();
    const Node* inner = ParseTuple(false, true, false, true, "");
    return inner != nullptr && Expect(")") ? inner : nullptr;
  }
  if (token.Is("[")) return ParseListDisplay();
  if (token.Is("{")) return ParseDictDisplay();
  return Fail(absl::StrCat("an expression is expected, not ", CurrentToken()));
}

bool Parser::AtTupleEnd(absl::string_view end_word) const {
  if (token_.type == TokenType::kBlockEnd || token_.type == TokenType::kPrintEnd || token_.Is(")"))
    return true;
  return !end_word.empty() && token_.IsName(end_word);
}

const Node* Parser::ParseTuple(bool simple, bool with_conditional, bool with_namespace, bool parenthesised,
                               absl::string_view end_word) {
  const Nested nested(this);
  if (!nested) return nullptr;
  const uint32_t line = token_.line;
  std::vector<const Node*> items;
  bool is_tuple = false;
  for (;;) {
    if (!items.empty() && !Expect(",")) return nullptr;
    if (AtTupleEnd(end_word)) break;
    const Node* item = simple ? ParsePrimary(with_namespace) : ParseExpression(with_conditional);
    if (item == nullptr) return nullptr;
    items.push_back(item);
    if (!token_.Is(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return items[0];
  if (!is_tuple && !parenthesised) {
    return Fail(absl::StrCat("an expression is expected, not ", CurrentToken()));
  }
  Node* node = Make(NodeKind::kTuple, line);
  return SetItems(node, items) ? Done(node) : nullptr;
}

const Node* Parser::ParseListDisplay() {
  Node* node = Make(NodeKind::kList, token_.line);
  Advance();
  std::vector<const Node*> items;
  while (!token_.Is("]")) {
    if (!items.empty() && !Expect(",")) return nullptr;
    if (token_.Is("]")) break;
    const Node* item = ParseExpression();
    if (item == nullptr) return nullptr;
    items.push_back(item);
  }
  return Expect("]") && SetItems(node, items) ? Done(node) : nullptr;
}

const Node* Parser::ParseDictDisplay() {
  Node* node = Make(NodeKind::kDict, token_.line);
  Advance();
  std::vector<const Node*> items;
  while (!token_.Is("}")) {
    if (!items.empty() && !Expect(",")) return nullptr;
    if (token_.Is("}")) break;
    const Node* key = ParseExpression();
    if (key == nullptr || !Expect(":")) return nullptr;
    const Node* value = ParseExpression();
    if (value == nullptr) return nullptr;
    items.push_back(key);
    items.push_back(value);
  }
  return Expect("}") && SetItems(node, items) ? Done(node) : nullptr;
}

const Node* Parser::ParsePostfix(const Node* node, bool with_filters) {
  bool filtered = false;  // then only filters, tests and calls may follow
  while (node != nullptr) {
    if (!filtered && token_.Is(".")) {
      node = ParseDot(node);
    } else if (!filtered && token_.Is("[")) {
      node = ParseSubscript(node);
    } else if (token_.Is("(")) {
      node = ParseCall(node);
    } else if (with_filters && token_.Is("|")) {
      filtered = true;
      node = ParseFilters(node, false);
    } else if (with_filters && token_.IsName("is")) {
      filtered = true;
      node = ParseTest(node);
    } else {
      break;
    }
  }
  return node;
}

const Node* Parser::ParseDot(const Node* node) {
  Node* made = Make(NodeKind::kAttribute, token_.line);
  Advance();
  if (made == nullptr) return nullptr;
  made->a = node;
  if (token_.type == TokenType::kInteger) {  // x.0 is x[0]
    made->kind = NodeKind::kItem;
    if ((made->b = ParseNumber()) == nullptr) return nullptr;
  } else {
    made->name = token_.text;
    if (!ExpectType(TokenType::kName, "an attribute's name")) return nullptr;
  }
  return Done(made);
}

const Node* Parser::ParseSubscript(const Node* node) {
  Node* made = Make(NodeKind::kItem, token_.line);
  Advance();
  if (made == nullptr) return nullptr;
  made->a = node;
  Node* slice = Make(NodeKind::kSlice, token_.line);
  if (slice == nullptr) return nullptr;
  if (!token_.Is(":")) {
    const Node* index = ParseExpression();
    if (index == nullptr) return nullptr;
    if (!token_.Is(":")) {
      made->b = index;
      return Expect("]") ? Done(made) : nullptr;
    }
    slice->a = index;
  }
  Advance();  // the colon
  if (!token_.Is(":") && !token_.Is("]") && (slice->b = ParseExpression()) == nullptr) return nullptr;
  if (SkipOperator(":") && !token_.Is("]") && (slice->c = ParseExpression()) == nullptr) return nullptr;
  made->b = Done(slice);
  return made->b != nullptr && Expect("]") ? Done(made) : nullptr;
}

const Node* Parser::ParseCall(const Node* node) {
  Node* made = Make(NodeKind::kCall, token_.line);
  std::vector<const Node*> arguments;
  if (made == nullptr || !ParseArguments(&arguments)) return nullptr;
  made->a = node;
  return SetItems(made, arguments) ? Done(made) : nullptr;
}

bool Parser::ParseArguments(std::vector<const Node*>* arguments) {
  if (!Expect("(")) return false;
  int stage = 0;  // 0: positional, 1: a keyword was seen, 2: *args, 3: **kwargs
  while (!token_.Is(")")) {
    if (!arguments->empty() && !Expect(",")) return false;
    if (token_.Is(")")) break;
    const uint32_t line = token_.line;
    const Node* argument = nullptr;
    int next = 0;
    if (SkipOperator("*")) {
      argument = Unary(NodeKind::kSplat, line, ParseExpression());
      next = 2;
    } else if (SkipOperator("**")) {
      argument = Unary(NodeKind::kDoubleSplat, line, ParseExpression());
      next = 3;
    } else if (token_.type == TokenType::kName && ahead_.Is("=")) {
      Node* keyword = Make(NodeKind::kKeyword, line);
      if (keyword == nullptr) return false;
      keyword->name = token_.text;
      Advance();
      Advance();
      if ((keyword->a = ParseExpression()) == nullptr) return false;
      argument = Done(keyword);
      next = 1;
    } else {
      argument = ParseExpression();
    }
    if (argument == nullptr) return false;
    const bool misplaced = (next == 0 && stage > 0) || (next == 2 && stage >= 2) || stage == 3;
    if (misplaced) {
      FailAt(line, "this argument cannot stand behind those before it");
      return false;
    }
    stage = next > stage ? next : stage;
    arguments->push_back(argument);
  }
  return Expect(")");
}

// One filter, at its name. `node` is null where a block's text is what is filtered.
const Node* Parser::ParseFilter(const Node* node) {
  Node* made = Make(NodeKind::kFilter, token_.line);
  if (made == nullptr) return nullptr;
  made->name = token_.text;
  if (!ExpectType(TokenType::kName, "a filter's name")) return nullptr;
  made->a = node;
  made->builtin = FindFilter(made->name);
  std::vector<const Node*> arguments;
  if (token_.Is("(") && !ParseArguments(&arguments)) return nullptr;
  return SetItems(made, arguments) ? Done(made) : nullptr;
}

// `at_name`: the first filter comes without its bar.
const Node* Parser::ParseFilters(const Node* node, bool at_name) {
  bool first = at_name;
  const Node* made = node;
  while (first || token_.Is("|")) {
    if (!first) Advance();
    first = false;
    if ((made = ParseFilter(made)) == nullptr) return nullptr;
  }
  return made;
}

const Node* Parser::ParseTest(const Node* node) {
  const uint32_t line = token_.line;
  Advance();  // is
  const bool negated = SkipName("not");
  Node* made = Make(NodeKind::kTest, line);
  if (made == nullptr) return nullptr;
  made->name = token_.text;
  made->a = node;
  if (!ExpectType(TokenType::kName, "a test's name")) return nullptr;
  made->builtin = FindTest(made->name);
  std::vector<const Node*> arguments;
  const bool argument_follows = token_.type == TokenType::kName || token_.type == TokenType::kString ||
                                token_.type == TokenType::kInteger || token_.type == TokenType::kFloat ||
                                token_.Is("[") || token_.Is("{");
  if (token_.Is("(")) {
    if (!ParseArguments(&arguments)) return nullptr;
  } else if (argument_follows && !token_.IsName("else") && !token_.IsName("or") && !token_.IsName("and")) {
    if (token_.IsName("is")) return Fail("tests cannot be chained with 'is'");
    const Node* argument = ParsePostfix(ParsePrimary(false), false);
    if (argument == nullptr) return nullptr;
    arguments.push_back(argument);
  }
  if (!SetItems(made, arguments)) return nullptr;
  const Node* test = Done(made);
  return negated ? Unary(NodeKind::kNot, line, test) : test;
}

}  // namespace tessera::jinja
