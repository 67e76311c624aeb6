#include "core/text/jinja/operations.h"

#include <algorithm>

#include "core/text/jinja/code_points.h"

namespace tessera::jinja {

const char* TypeName(const Value& value) {
  switch (value.kind) {
    case Kind::kFailed:
    case Kind::kAbsent:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kText:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return "dict view";
    case Kind::kGenerator:
      return "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "loop";
  }
  return "";
}

bool IsTrue(const Value& value) {
  switch (value.kind) {
    case Kind::kBool:
      return value.boolean;
    case Kind::kInt:
      return value.integer != 0;
    case Kind::kFloat:
      return value.number != 0;
    case Kind::kText:
      return value.text->size > 0;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return value.list->size > 0;
    case Kind::kDict:
      return value.dict->size > 0;
    case Kind::kGenerator:
    case Kind::kNamespace:
    case Kind::kCallable:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

namespace {

int SameItems(Run& run, const List& a, const List& b, int depth) {
  if (a.size != b.size) return 0;
  if (!run.Charge(a.size)) return -1;
  for (size_t i = 0; i < a.size; ++i) {
    const int same = Equal(run, a.items[i], b.items[i], depth + 1);
    if (same != 1) return same;
  }
  return 1;
}

int SameEntries(Run& run, const Dict& a, const Dict& b, int depth) {
  if (a.size != b.size) return 0;
  for (size_t i = 0; i < a.size; ++i) {
    const Value* other = run.Charge(1) ? Find(run, b, a.entries[i].key) : nullptr;
    if (run.failed()) return -1;
    if (other == nullptr) return 0;
    const int same = Equal(run, a.entries[i].value, *other, depth + 1);
    if (same != 1) return same;
  }
  return 1;
}

int FailedOr(const Run& run, bool result) { return run.failed() ? -1 : static_cast<int>(result); }

}  // namespace

int Equal(Run& run, const Value& a, const Value& b, int depth) {
  if (depth > kDeepestValue) {
    run.Fail(ErrorCode::kLimitExceeded, "values that are compared are nested too deep");
    return -1;
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return a.AsInt() == b.AsInt();
    return a.AsFloat() == b.AsFloat();
  }
  if (a.kind != b.kind) return 0;
  switch (a.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return 1;
    case Kind::kText:
      if (a.text->size != b.text->size) return 0;
      if (!run.Charge(a.text->size / 64)) return -1;
      return a.view() == b.view();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return SameItems(run, *a.list, *b.list, depth);
    case Kind::kDict:
      return SameEntries(run, *a.dict, *b.dict, depth);
    case Kind::kView:
    case Kind::kGenerator:
      return a.list == b.list;
    case Kind::kNamespace:
      return a.dict == b.dict;
    case Kind::kCallable:
      return a.callable == b.callable;
    case Kind::kLoop:
      return a.loop == b.loop;
    default:
      return 0;
  }
}

namespace {

// -1, 0, 1 as a is less, equal, greater; 2: not comparable, and the run has failed; 3: unordered (NaN).
int Order(Run& run, const Value& a, const Value& b, int depth) {
  if (a.is(Kind::kUndefined) || b.is(Kind::kUndefined)) {
    run.FailUndefined(a.is(Kind::kUndefined) ? a : b);
    return 2;
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return a.AsInt() < b.AsInt() ? -1 : a.AsInt() > b.AsInt();
    const double x = a.AsFloat(), y = b.AsFloat();
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 3;
  }
  if (a.is(Kind::kText) && b.is(Kind::kText)) {
    if (!run.Charge(std::min(a.text->size, b.text->size) / 64)) return 2;
    const int order = a.view().compare(b.view());  // bytes of UTF-8 sort as code points do
    return order < 0 ? -1 : order > 0;
  }
  const bool lists = a.kind == b.kind && (a.is(Kind::kList) || a.is(Kind::kTuple));
  if (!lists || depth > kDeepestValue) {
    run.FailType(absl::StrCat("'", TypeName(a), "' and '", TypeName(b), "' have no order"));
    return 2;
  }
  const size_t shared = std::min(a.list->size, b.list->size);
  if (!run.Charge(shared)) return 2;
  for (size_t i = 0; i < shared; ++i) {
    const int same = Equal(run, a.list->items[i], b.list->items[i], depth + 1);
    if (same < 0) return 2;
    if (same == 0) return Order(run, a.list->items[i], b.list->items[i], depth + 1);
  }
  return a.list->size < b.list->size ? -1 : a.list->size > b.list->size;
}

}  // namespace

int Compare(Run& run, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return Equal(run, a, b);
    case Operator::kNotEqual: {
      const int same = Equal(run, a, b);
      return same < 0 ? same : 1 - same;
    }
    case Operator::kIn:
      return Contains(run, b, a);
    case Operator::kNotIn: {
      const int inside = Contains(run, b, a);
      return inside < 0 ? inside : 1 - inside;
    }
    default:
      break;
  }
  const int order = Order(run, a, b, 0);
  if (order == 2) return -1;
  if (order == 3) return 0;
  switch (op) {
    case Operator::kLess:
      return order < 0;
    case Operator::kLessEqual:
      return order <= 0;
    case Operator::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

int Contains(Run& run, const Value& container, const Value& element) {
  switch (container.kind) {
    case Kind::kText:
      if (!element.is(Kind::kText)) {
        run.FailType(absl::StrCat("'in' of a string takes a string, not '", TypeName(element), "'"));
        return -1;
      }
      if (!run.Charge(container.text->size / 16)) return -1;
      return container.view().find(element.view()) != absl::string_view::npos;
    case Kind::kDict: {
      const bool found = Find(run, *container.dict, element) != nullptr;
      return FailedOr(run, found);
    }
    default:
      break;
  }
  const List* items = Items(run, container);
  if (items == nullptr) return -1;
  for (size_t i = 0; i < items->size; ++i) {
    if (!run.Charge(1)) return -1;
    const int same = Equal(run, items->items[i], element);
    if (same != 0) return same;
  }
  return 0;
}

int64_t Length(Run& run, const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return 0;
    case Kind::kText:
      return run.Charge(value.text->size / 64) ? static_cast<int64_t>(CountCodePoints(value.view())) : -1;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return static_cast<int64_t>(value.list->size);
    case Kind::kDict:
      return static_cast<int64_t>(value.dict->size);
    case Kind::kLoop:
      return static_cast<int64_t>(value.loop->items->size);
    default:
      run.FailType(absl::StrCat("'", TypeName(value), "' has no length"));
      return -1;
  }
}

namespace {

const List* Characters(Run& run, const Text& text) {
  Value* items = nullptr;
  const Value list = run.MakeList(Kind::kList, CountCodePoints(text.view()), &items);
  if (list.failed() || !run.Charge(text.size / 8)) return nullptr;
  for (size_t at = 0; at < text.size;) {
    const size_t end = at + DecodeUtf8(text.data + at).bytes;
    if ((*items++ = run.MakeText(text.Part(at, end))).failed()) return nullptr;
    at = end;
  }
  return list.list;
}

}  // namespace

const List* Items(Run& run, const Value& value) {
  static constexpr List kNothing;
  switch (value.kind) {
    case Kind::kUndefined:
      return &kNothing;
    case Kind::kText:
      return Characters(run, *value.text);
    case Kind::kGenerator:
      if (value.list->consumed) return &kNothing;
      value.list->consumed = true;
      return value.list;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return value.list;
    case Kind::kDict: {
      Value* keys = nullptr;
      const Value list = run.MakeList(Kind::kList, value.dict->size, &keys);
      if (list.failed()) return nullptr;
      for (size_t i = 0; i < value.dict->size; ++i) keys[i] = value.dict->entries[i].key;
      return list.list;
    }
    default:
      run.FailType(absl::StrCat("'", TypeName(value), "' cannot be iterated over"));
      return nullptr;
  }
}

// Merges runs of growing width; stable, and whole whatever the order says.
bool SortByKeys(Run& run, Value* keys, Value* items, size_t size, bool reverse) {
  Value* other_keys = run.arena().Make<Value>(size);
  Value* other_items = other_keys == nullptr ? nullptr : run.arena().Make<Value>(size);
  if (other_items == nullptr) {
    run.FailMemory();
    return false;
  }
  Value *from_keys = keys, *from_items = items, *to_keys = other_keys, *to_items = other_items;
  for (size_t width = 1; width < size; width *= 2) {
    for (size_t begin = 0; begin < size; begin += 2 * width) {
      const size_t middle = std::min(begin + width, size), end = std::min(begin + 2 * width, size);
      for (size_t left = begin, right = middle, to = begin; to < end; ++to) {
        bool take_right = left == middle;
        if (!take_right && right < end) {
          if (!run.Charge(1)) return false;
          const int before = reverse ? Compare(run, Operator::kLess, from_keys[left], from_keys[right])
                                     : Compare(run, Operator::kLess, from_keys[right], from_keys[left]);
          if (before < 0) return false;
          take_right = before == 1;
        }
        const size_t from = take_right ? right++ : left++;
        to_keys[to] = from_keys[from];
        to_items[to] = from_items[from];
      }
    }
    std::swap(from_keys, to_keys);
    std::swap(from_items, to_items);
  }
  if (from_keys != keys) {
    std::copy_n(from_keys, size, keys);
    std::copy_n(from_items, size, items);
  }
  return true;
}

}  // namespace tessera::jinja
