// Expressions. Each kind of node has its function, so that the walk's own frame stays small.
#include <algorithm>

#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/run.h"

namespace tessera::jinja {

Value Run::Evaluate(const Node* node, Scope* scope) {
  const Deeper deeper(this);
  if (!deeper || !Charge(1)) return Value::Failed();
  line_ = node->line;
  switch (node->kind) {
    case NodeKind::kConstant:
      return node->constant;
    case NodeKind::kName:
      return Lookup(scope, node->name);
    case NodeKind::kList:
    case NodeKind::kTuple:
      return EvaluateItems(node, scope);
    case NodeKind::kDict:
      return EvaluateDict(node, scope);
    case NodeKind::kNegate:
    case NodeKind::kPlus:
    case NodeKind::kNot:
      return EvaluateUnary(node, scope);
    case NodeKind::kAnd:
    case NodeKind::kOr:
    case NodeKind::kBinary:
      return EvaluateBinary(node, scope);
    case NodeKind::kConcat:
      return EvaluateConcat(node, scope);
    case NodeKind::kCompare:
      return EvaluateCompare(node, scope);
    case NodeKind::kConditional:
      return EvaluateConditional(node, scope);
    case NodeKind::kAttribute: {
      const Value value = Evaluate(node->a, scope);
      line_ = node->line;
      return value.failed() ? value : GetAttribute(*this, value, node->name);
    }
    case NodeKind::kItem:
      return EvaluateItem(node, scope);
    case NodeKind::kCall:
      return EvaluateCall(node, scope);
    case NodeKind::kFilter:
      return EvaluateFilter(node, scope, Value::Absent());
    case NodeKind::kTest:
      return EvaluateTest(node, scope);
    default:
      return Fail(ErrorCode::kInternal, "a statement stands where an expression belongs");
  }
}

Value Run::EvaluateItems(const Node* node, Scope* scope) {
  Value* items = nullptr;
  const Value list =
      MakeList(node->kind == NodeKind::kList ? Kind::kList : Kind::kTuple, node->item_count, &items);
  for (uint32_t i = 0; !list.failed() && i < node->item_count; ++i) {
    items[i] = Evaluate(node->items[i], scope);
    if (items[i].failed()) return Value::Failed();
  }
  return list;
}

Value Run::EvaluateDict(const Node* node, Scope* scope) {
  const Value dict = MakeDict(node->item_count / 2);
  for (uint32_t i = 0; !dict.failed() && i + 1 < node->item_count; i += 2) {
    const Value key = Evaluate(node->items[i], scope);
    if (key.failed()) return key;
    const Value value = Evaluate(node->items[i + 1], scope);
    if (value.failed() || !Put(*this, dict.dict, key, value)) return Value::Failed();
  }
  return dict;
}

Value Run::EvaluateConcat(const Node* node, Scope* scope) {
  TextBuilder text(*this);
  for (uint32_t i = 0; i < node->item_count; ++i) {
    const Value part = Evaluate(node->items[i], scope);
    if (part.failed() || !AppendText(*this, part, &text)) return Value::Failed();
  }
  return text.FinishValue();
}

Value Run::EvaluateCompare(const Node* node, Scope* scope) {
  Value left = Evaluate(node->a, scope);
  for (uint32_t i = 0; !left.failed() && i < node->item_count; ++i) {
    const Value right = Evaluate(node->items[i]->a, scope);
    if (right.failed()) return right;
    line_ = node->line;
    const int holds = Compare(*this, node->items[i]->op, left, right);
    if (holds < 0) return Value::Failed();
    if (holds == 0) return Value::Bool(false);
    left = right;
  }
  return left.failed() ? left : Value::Bool(true);
}

Value Run::EvaluateConditional(const Node* node, Scope* scope) {
  const Value test = Evaluate(node->a, scope);
  if (test.failed()) return test;
  if (IsTrue(test)) return Evaluate(node->b, scope);
  if (node->c != nullptr) return Evaluate(node->c, scope);
  return MakeUndefined(Undefined::Why::kConditional, "");
}

Value Run::EvaluateItem(const Node* node, Scope* scope) {
  const Value value = Evaluate(node->a, scope);
  if (value.failed()) return value;
  if (node->b->kind != NodeKind::kSlice) {
    const Value key = Evaluate(node->b, scope);
    line_ = node->line;
    return key.failed() ? key : GetItem(*this, value, key);
  }
  Value parts[3];
  const Node* nodes[3] = {node->b->a, node->b->b, node->b->c};
  for (int i = 0; i < 3; ++i) {
    if (nodes[i] != nullptr && (parts[i] = Evaluate(nodes[i], scope)).failed()) return Value::Failed();
  }
  line_ = node->line;
  return GetSlice(*this, value, parts[0], parts[1], parts[2]);
}

Value Run::EvaluateUnary(const Node* node, Scope* scope) {
  const Value value = Evaluate(node->a, scope);
  if (value.failed()) return value;
  line_ = node->line;
  if (node->kind == NodeKind::kNot) return Value::Bool(!IsTrue(value));
  if (node->kind == NodeKind::kNegate) return Negate(*this, value);
  if (value.is_integer()) return Value::Int(value.AsInt());
  return value.is(Kind::kFloat) ? value : Negate(*this, value);
}

Value Run::EvaluateBinary(const Node* node, Scope* scope) {
  const Value left = Evaluate(node->a, scope);
  if (left.failed()) return left;
  if (node->kind != NodeKind::kBinary && IsTrue(left) == (node->kind == NodeKind::kOr)) return left;
  const Value right = Evaluate(node->b, scope);
  if (right.failed() || node->kind != NodeKind::kBinary) return right;
  line_ = node->line;
  return Arithmetic(*this, node->op, left, right);
}

}  // namespace tessera::jinja
