// What may stand behind "is".
#include <algorithm>
#include <cmath>

#include "core/text/jinja/builtins.h"
#include "core/text/jinja/case_mapping.h"
#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"

namespace tessera::jinja {
namespace {

template <Kind kKind>
Value IsKind(Run&, const Call& call) {
  return Value::Bool(call.self.is(kKind));
}
Value IsDefined(Run&, const Call& call) { return Value::Bool(!call.self.is(Kind::kUndefined)); }
Value IsTrueItself(Run&, const Call& call) {
  return Value::Bool(call.self.is(Kind::kBool) && call.self.boolean);
}
Value IsFalseItself(Run&, const Call& call) {
  return Value::Bool(call.self.is(Kind::kBool) && !call.self.boolean);
}
Value IsNumber(Run&, const Call& call) { return Value::Bool(call.self.is_number()); }
Value IsMapping(Run&, const Call& call) { return Value::Bool(call.self.is(Kind::kDict)); }
Value IsCallable(Run&, const Call& call) {
  return Value::Bool(call.self.is(Kind::kCallable) || call.self.is(Kind::kLoop) ||
                     call.self.is(Kind::kUndefined));
}
Value IsIterable(Run&, const Call& call) {
  const Value& value = call.self;
  return Value::Bool(value.has_list() || value.is(Kind::kText) || value.is(Kind::kDict) ||
                     value.is(Kind::kLoop) || value.is(Kind::kUndefined));
}
Value IsSequence(Run&, const Call& call) {
  const Value& value = call.self;
  return Value::Bool(value.is(Kind::kList) || value.is(Kind::kTuple) || value.is(Kind::kRange) ||
                     value.is(Kind::kText) || value.is(Kind::kDict) || value.is(Kind::kUndefined));
}
Value IsEscaped(Run&, const Call& call) {
  return Value::Bool(call.self.is(Kind::kText) && call.self.text->markup);
}

Value Remainder(Run& run, const Value& value, int64_t by, int64_t expected) {
  const Value rest = Arithmetic(run, Operator::kModulo, value, Value::Int(by));
  if (rest.failed()) return rest;
  if (!rest.is_number()) return run.FailType("a number is expected");
  return Value::Bool(rest.AsFloat() == static_cast<double>(expected));
}
Value IsOdd(Run& run, const Call& call) { return Remainder(run, call.self, 2, 1); }
Value IsEven(Run& run, const Call& call) { return Remainder(run, call.self, 2, 0); }
Value IsDivisible(Run& run, const Call& call) {
  const Value rest = Arithmetic(run, Operator::kModulo, call.self, call[0]);
  if (rest.failed()) return rest;
  return Value::Bool(rest.is_number() && rest.AsFloat() == 0);
}

template <Operator kOperator>
Value Compares(Run& run, const Call& call) {
  const int holds = Compare(run, kOperator, call.self, call[0]);
  return holds < 0 ? Value::Failed() : Value::Bool(holds == 1);
}

// Python's `is`: the same object. Texts and numbers that are equal count as the same.
Value IsSame(Run& run, const Call& call) {
  if (call.self.kind != call[0].kind) return Value::Bool(false);
  if (call.self.has_list()) return Value::Bool(call.self.list == call[0].list);
  if (call.self.is(Kind::kDict)) return Value::Bool(call.self.dict == call[0].dict);
  const int same = Equal(run, call.self, call[0]);
  return same < 0 ? Value::Failed() : Value::Bool(same == 1);
}

Value HasOneCase(Run& run, const Call& call, bool upper) {
  const Text* text = ToText(run, call.self);
  if (text == nullptr || !run.Charge(text->size / 16)) return Value::Failed();
  bool any = false;
  for (size_t at = 0; at < text->size;) {
    const CodePoint point = DecodeUtf8(text->data + at);
    const bool is_upper = IsUpper(point.value), is_lower = !is_upper && IsLower(point.value);
    if (upper ? is_lower : is_upper) return Value::Bool(false);
    any = any || is_upper || is_lower;
    at += point.bytes;
  }
  return Value::Bool(any);
}
Value HasUpperCase(Run& run, const Call& call) { return HasOneCase(run, call, true); }
Value HasLowerCase(Run& run, const Call& call) { return HasOneCase(run, call, false); }

template <const Builtin* (*kFind)(absl::string_view)>
Value Exists(Run&, const Call& call) {
  return Value::Bool(call.self.is(Kind::kText) && kFind(call.self.view()) != nullptr);
}

constexpr Builtin kTests[] = {
    {"!=", "other", 1, Compares<Operator::kNotEqual>},
    {"<", "other", 1, Compares<Operator::kLess>},
    {"<=", "other", 1, Compares<Operator::kLessEqual>},
    {"==", "other", 1, Compares<Operator::kEqual>},
    {">", "other", 1, Compares<Operator::kGreater>},
    {">=", "other", 1, Compares<Operator::kGreaterEqual>},
    {"boolean", "", 0, IsKind<Kind::kBool>},
    {"callable", "", 0, IsCallable},
    {"defined", "", 0, IsDefined},
    {"divisibleby", "num", 1, IsDivisible},
    {"eq", "other", 1, Compares<Operator::kEqual>},
    {"equalto", "other", 1, Compares<Operator::kEqual>},
    {"escaped", "", 0, IsEscaped},
    {"even", "", 0, IsEven},
    {"false", "", 0, IsFalseItself},
    {"filter", "", 0, Exists<FindFilter>},
    {"float", "", 0, IsKind<Kind::kFloat>},
    {"ge", "other", 1, Compares<Operator::kGreaterEqual>},
    {"greaterthan", "other", 1, Compares<Operator::kGreater>},
    {"gt", "other", 1, Compares<Operator::kGreater>},
    {"in", "seq", 1, Compares<Operator::kIn>},
    {"integer", "", 0, IsKind<Kind::kInt>},
    {"iterable", "", 0, IsIterable},
    {"le", "other", 1, Compares<Operator::kLessEqual>},
    {"lessthan", "other", 1, Compares<Operator::kLess>},
    {"lower", "", 0, HasLowerCase},
    {"lt", "other", 1, Compares<Operator::kLess>},
    {"mapping", "", 0, IsMapping},
    {"ne", "other", 1, Compares<Operator::kNotEqual>},
    {"none", "", 0, IsKind<Kind::kNone>},
    {"number", "", 0, IsNumber},
    {"odd", "", 0, IsOdd},
    {"sameas", "other", 1, IsSame},
    {"sequence", "", 0, IsSequence},
    {"string", "", 0, IsKind<Kind::kText>},
    {"test", "", 0, Exists<FindTest>},
    {"true", "", 0, IsTrueItself},
    {"undefined", "", 0, IsKind<Kind::kUndefined>},
    {"upper", "", 0, HasUpperCase},
};

}  // namespace

const Builtin* FindTest(absl::string_view name) { return FindIn(kTests, name); }

}  // namespace tessera::jinja
