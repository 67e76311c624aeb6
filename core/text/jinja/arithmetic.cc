// Python's arithmetic on 64-bit integers, floats, texts and lists. What Python's integers hold beyond 64 bits
// is an error here.
#include <algorithm>
#include <cmath>

#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"

namespace tessera::jinja {
namespace {

const char* SignOf(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    default:
      return "**";
  }
}

Value FailTypes(Run& run, Operator op, const Value& a, const Value& b) {
  if (a.is(Kind::kUndefined)) return run.FailUndefined(a);
  if (b.is(Kind::kUndefined)) return run.FailUndefined(b);
  return run.FailType(
      absl::StrCat("'", SignOf(op), "' does not take '", TypeName(a), "' and '", TypeName(b), "'"));
}

Value FailOverflow(Run& run) { return run.FailType("a result does not fit 64-bit integers"); }

Value IntegerPower(Run& run, int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return FailOverflow(run);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return FailOverflow(run);
  }
  return Value::Int(result);
}

Value IntegerArithmetic(Run& run, Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  switch (op) {
    case Operator::kAdd:
      overflows = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::kSubtract:
      overflows = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::kMultiply:
      overflows = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::kFloorDivide:
    case Operator::kModulo: {
      if (b == 0) return run.FailType("a division by zero");
      if (b == -1) {  // the one case that the processor cannot divide is among these
        if (op == Operator::kModulo) return Value::Int(0);
        overflows = __builtin_sub_overflow(int64_t{0}, a, &result);
        break;
      }
      const int64_t remainder = a % b;
      const bool down = remainder != 0 && (remainder < 0) != (b < 0);
      result = op == Operator::kModulo ? remainder + (down ? b : 0) : a / b - down;
      break;
    }
    default:
      return IntegerPower(run, a, b);
  }
  return overflows ? FailOverflow(run) : Value::Int(result);
}

Value FloatArithmetic(Run& run, Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kPower: {
      if (a == 0 && b < 0) return run.FailType("zero has no negative power");
      const double power = std::pow(a, b);
      if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) {
        return run.FailType("a negative number has no such power");
      }
      if (std::isinf(power) && std::isfinite(a) && std::isfinite(b))
        return run.FailType("a power is too large");
      return Value::Float(power);
    }
    default:
      break;
  }
  if (b == 0) return run.FailType("a division by zero");
  if (op == Operator::kDivide) return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == Operator::kModulo) return Value::Float(remainder == 0 ? std::copysign(0.0, b) : remainder);
  return Value::Float(std::round((a - remainder) / b));
}

Value AddTexts(Run& run, const Text& a, const Text& b) {
  TextBuilder sum(run);
  const bool markup = a.markup || b.markup;
  if (markup && !a.markup ? !sum.AppendEscaped(a) : !sum.Append(a)) return Value::Failed();
  if (markup && !b.markup ? !sum.AppendEscaped(b) : !sum.Append(b)) return Value::Failed();
  return sum.FinishValue(markup);
}

Value AddLists(Run& run, const Value& a, const Value& b) {
  Value* items = nullptr;
  const Value sum = run.MakeList(a.kind, a.list->size + b.list->size, &items);
  if (sum.failed()) return sum;
  std::copy_n(a.list->items, a.list->size, items);
  std::copy_n(b.list->items, b.list->size, items + a.list->size);
  return sum;
}

Value Repeat(Run& run, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (value.is(Kind::kText)) {
    TextBuilder text(run);
    for (size_t i = 0; i < count && value.text->size > 0; ++i) {
      if (!run.Charge(1) || !text.Append(*value.text)) return Value::Failed();
    }
    return text.FinishValue(value.text->markup);
  }
  size_t size = 0;
  if (__builtin_mul_overflow(count, value.list->size, &size)) return run.FailMemory();
  Value* items = nullptr;
  const Value list = run.MakeList(value.kind, size, &items);
  for (size_t i = 0; !list.failed() && i < size; ++i) items[i] = value.list->items[i % value.list->size];
  return list;
}

bool Repeats(const Value& value) {
  return value.is(Kind::kText) || value.is(Kind::kList) || value.is(Kind::kTuple);
}

}  // namespace

Value Arithmetic(Run& run, Operator op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const bool integers = a.is_integer() && b.is_integer();
    const bool negative_power = op == Operator::kPower && integers && b.AsInt() < 0;
    if (integers && op != Operator::kDivide && !negative_power) {
      return IntegerArithmetic(run, op, a.AsInt(), b.AsInt());
    }
    return FloatArithmetic(run, op, a.AsFloat(), b.AsFloat());
  }
  if (op == Operator::kAdd && a.is(Kind::kText) && b.is(Kind::kText)) return AddTexts(run, *a.text, *b.text);
  if (op == Operator::kAdd && a.kind == b.kind && (a.is(Kind::kList) || a.is(Kind::kTuple))) {
    return AddLists(run, a, b);
  }
  if (op == Operator::kMultiply && Repeats(a) && b.is_integer()) return Repeat(run, a, b.AsInt());
  if (op == Operator::kMultiply && a.is_integer() && Repeats(b)) return Repeat(run, b, a.AsInt());
  if (op == Operator::kModulo && a.is(Kind::kText)) return PrintfFormat(run, *a.text, b);
  return FailTypes(run, op, a, b);
}

Value Negate(Run& run, const Value& value) {
  if (value.is(Kind::kFloat)) return Value::Float(-value.number);
  if (value.is_integer()) return IntegerArithmetic(run, Operator::kSubtract, 0, value.AsInt());
  if (value.is(Kind::kUndefined)) return run.FailUndefined(value);
  return run.FailType(absl::StrCat("'-' does not take '", TypeName(value), "'"));
}

}  // namespace tessera::jinja
