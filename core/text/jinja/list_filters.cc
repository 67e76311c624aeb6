// Filters that take lists and dicts apart and put them together.
#include <algorithm>

#include "core/text/jinja/case_mapping.h"
#include "core/text/jinja/code_points.h"
#include "core/text/jinja/filters.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/text_functions.h"

namespace tessera::jinja {
namespace {

bool On(const Value& flag) { return !flag.absent() && IsTrue(flag); }

// What an item is compared by: what the attribute names; in lower case unless case matters.
Value SortKey(Run& run, const Value& item, const Value& attribute, bool case_sensitive) {
  const Value value = AttributeOf(run, item, attribute);
  if (value.failed() || case_sensitive || !value.is(Kind::kText)) return value;
  return ChangeCase(run, *value.text, CaseStyle::kLower);
}

// "a,b" sorts by a, then by b: always a list of keys, since lists of what is undefined have an order.
Value SortKeys(Run& run, const Value& item, const Value& attribute, bool case_sensitive) {
  if (!attribute.is(Kind::kText) || attribute.view().find(',') == absl::string_view::npos) {
    const Value key = SortKey(run, item, attribute, case_sensitive);
    return key.failed() ? key : run.MakeList(Kind::kList, absl::Span<const Value>(&key, 1));
  }
  const Value comma = run.MakeText(",");
  const Value names = comma.failed() ? comma : Split(run, *attribute.text, comma, -1, false);
  if (names.failed()) return names;
  Value* keys = nullptr;
  const Value list = run.MakeList(Kind::kList, names.list->size, &keys);
  for (size_t i = 0; !list.failed() && i < names.list->size; ++i) {
    keys[i] = SortKey(run, item, names.list->items[i], case_sensitive);
    if (keys[i].failed()) return Value::Failed();
  }
  return list;
}

Value Extreme(Run& run, const Call& call, Operator better) {
  const List* items = Items(run, call.self);
  if (items == nullptr) return Value::Failed();
  if (items->size == 0) return run.MakeUndefined(Undefined::Why::kItem, "", "empty sequence");
  size_t best = 0;
  Value best_key = SortKey(run, items->items[0], call[1], On(call[0]));
  for (size_t i = 1; !best_key.failed() && i < items->size; ++i) {
    const Value key = run.Charge(1) ? SortKey(run, items->items[i], call[1], On(call[0])) : Value::Failed();
    const int wins = key.failed() ? -1 : Compare(run, better, key, best_key);
    if (wins < 0) return Value::Failed();
    if (wins == 1) {
      best = i;
      best_key = key;
    }
  }
  return best_key.failed() ? best_key : items->items[best];
}

}  // namespace

Value AttributeOf(Run& run, const Value& item, const Value& attribute, const Value& otherwise) {
  if (attribute.absent() || attribute.is(Kind::kNone)) return item;
  const auto or_otherwise = [&otherwise](const Value& value) {
    return value.is(Kind::kUndefined) && !otherwise.absent() ? otherwise : value;
  };
  if (!attribute.is(Kind::kText)) return or_otherwise(GetItem(run, item, attribute));
  Value value = item;
  for (absl::string_view left = attribute.view();;) {
    const size_t dot = std::min(left.find('.'), left.size());
    const absl::string_view name = left.substr(0, dot);
    const bool number =
        !name.empty() && name.size() < 10 && name.find_first_not_of("0123456789") == absl::string_view::npos;
    int64_t place = 0;
    for (const char c : number ? name : absl::string_view()) place = place * 10 + (c - '0');
    const Value key = number ? Value::Int(place) : run.MakeText(name);
    if (key.failed() || !run.Charge(1)) return Value::Failed();
    value = or_otherwise(GetItem(run, value, key));
    if (value.failed() || dot == left.size()) return value;
    left.remove_prefix(dot + 1);
  }
}

Value FilterAttr(Run& run, const Call& call) {
  const Text* name = ToText(run, call[0]);
  if (name == nullptr) return Value::Failed();
  // Attributes only: what a dict holds is not among them.
  if (call.self.is(Kind::kDict) && FindDictMethod(name->view()) == nullptr) {
    return run.MakeUndefined(Undefined::Why::kAttribute, name->view(), TypeName(call.self));
  }
  return GetAttribute(run, call.self, name->view());
}

Value FilterDefault(Run& run, const Call& call) {
  const bool missing = call.self.is(Kind::kUndefined) || (On(call[1]) && !IsTrue(call.self));
  if (!missing) return call.self;
  return call[0].absent() ? run.MakeText("") : call[0];
}

Value FilterLength(Run& run, const Call& call) {
  const int64_t length = Length(run, call.self);
  return length < 0 ? Value::Failed() : Value::Int(length);
}

Value FilterList(Run& run, const Call& call) {
  const List* items = Items(run, call.self);
  return items == nullptr ? Value::Failed()
                          : run.MakeList(Kind::kList, absl::Span<const Value>(items->items, items->size));
}

Value FilterItems(Run& run, const Call& call) {
  if (call.self.is(Kind::kUndefined)) return run.MakeList(Kind::kGenerator, absl::Span<const Value>());
  if (!call.self.is(Kind::kDict)) return run.FailType("items takes a dict");
  const Value view = run.CallBuiltin(*FindDictMethod("items"), call.self, {}, {});
  return view.failed() ? view : Value::Of(Kind::kGenerator, view.list);
}

Value FilterFirst(Run& run, const Call& call) {
  const List* items = Items(run, call.self);
  if (items == nullptr) return Value::Failed();
  return items->size == 0 ? run.MakeUndefined(Undefined::Why::kItem, "", "empty sequence") : items->items[0];
}

Value FilterLast(Run& run, const Call& call) {
  if (call.self.is(Kind::kGenerator)) return run.FailType("a generator cannot be walked from its end");
  const List* items = Items(run, call.self);
  if (items == nullptr) return Value::Failed();
  return items->size == 0 ? run.MakeUndefined(Undefined::Why::kItem, "", "empty sequence")
                          : items->items[items->size - 1];
}

Value FilterReverse(Run& run, const Call& call) {
  const List* items = Items(run, call.self);
  if (items == nullptr) return Value::Failed();
  Value* reversed = nullptr;
  const Value list = run.MakeList(Kind::kGenerator, items->size, &reversed);
  if (list.failed()) return list;
  std::reverse_copy(items->items, items->items + items->size, reversed);
  if (!call.self.is(Kind::kText)) return list;
  static constexpr Text kNothing;
  return Join(run, *list.list, kNothing);
}

Value FilterJoin(Run& run, const Call& call) {
  static constexpr Text kNothing;
  const Text* between = call[0].absent() ? &kNothing : ToText(run, call[0]);
  const List* items = between == nullptr ? nullptr : Items(run, call.self);
  if (items == nullptr) return Value::Failed();
  if (call[1].absent() || call[1].is(Kind::kNone)) return Join(run, *items, *between);
  Value* named = nullptr;
  const Value list = run.MakeList(Kind::kList, items->size, &named);
  for (size_t i = 0; !list.failed() && i < items->size; ++i) {
    named[i] = AttributeOf(run, items->items[i], call[1]);
    if (named[i].failed()) return Value::Failed();
  }
  return list.failed() ? list : Join(run, *list.list, *between);
}

Value FilterSort(Run& run, const Call& call) {  // reverse, case_sensitive, attribute
  const List* items = Items(run, call.self);
  if (items == nullptr) return Value::Failed();
  const Value sorted = run.MakeList(Kind::kList, absl::Span<const Value>(items->items, items->size));
  Value* keys = nullptr;
  if (sorted.failed() || run.MakeList(Kind::kList, items->size, &keys).failed()) return Value::Failed();
  for (size_t i = 0; i < items->size; ++i) {
    keys[i] = SortKeys(run, items->items[i], call[2], On(call[1]));
    if (keys[i].failed()) return Value::Failed();
  }
  return SortByKeys(run, keys, sorted.list->items, items->size, On(call[0])) ? sorted : Value::Failed();
}

Value FilterDictSort(Run& run, const Call& call) {  // case_sensitive, by, reverse
  if (!call.self.is(Kind::kDict)) return run.FailType("dictsort takes a dict");
  const absl::string_view by = call[1].is(Kind::kText) ? call[1].view() : "key";
  if (by != "key" && by != "value") return run.FailType("dictsort sorts by 'key' or by 'value'");
  const Value view = run.CallBuiltin(*FindDictMethod("items"), call.self, {}, {});
  if (view.failed()) return view;
  Value* keys = nullptr;
  if (run.MakeList(Kind::kList, view.list->size, &keys).failed()) return Value::Failed();
  for (size_t i = 0; i < view.list->size; ++i) {
    keys[i] = SortKey(run, view.list->items[i].list->items[by == "value"], Value::Absent(), On(call[0]));
    if (keys[i].failed()) return Value::Failed();
  }
  if (!SortByKeys(run, keys, view.list->items, view.list->size, On(call[2]))) return Value::Failed();
  return Value::Of(Kind::kList, view.list);
}

Value FilterUnique(Run& run, const Call& call) {  // case_sensitive, attribute
  const List* items = Items(run, call.self);
  const Value seen = items == nullptr ? Value::Failed() : run.MakeDict(0);
  Value* kept = nullptr;
  const Value list = seen.failed() ? seen : run.MakeList(Kind::kGenerator, items->size, &kept);
  if (list.failed()) return list;
  size_t count = 0;
  for (size_t i = 0; i < items->size; ++i) {
    const Value key = run.Charge(1) ? SortKey(run, items->items[i], call[1], On(call[0])) : Value::Failed();
    const size_t before = seen.dict->size;
    if (key.failed() || !Put(run, seen.dict, key, Value::None())) return Value::Failed();
    if (seen.dict->size > before) kept[count++] = items->items[i];
  }
  list.list->size = count;
  return list;
}

Value FilterMin(Run& run, const Call& call) { return Extreme(run, call, Operator::kLess); }
Value FilterMax(Run& run, const Call& call) { return Extreme(run, call, Operator::kGreater); }

Value FilterSum(Run& run, const Call& call) {  // attribute, start
  const List* items = Items(run, call.self);
  Value sum = call[1].absent() ? Value::Int(0) : call[1];
  if (items == nullptr) return Value::Failed();
  if (sum.is(Kind::kText)) return run.FailType("sum takes no strings; use join");
  for (size_t i = 0; i < items->size; ++i) {
    const Value part = run.Charge(1) ? AttributeOf(run, items->items[i], call[0]) : Value::Failed();
    if (part.failed()) return part;
    sum = Arithmetic(run, Operator::kAdd, sum, part);
    if (sum.failed()) return sum;
  }
  return sum;
}

Value FilterBatch(Run& run, const Call& call) {  // linecount, fill_with
  int64_t width = 0;
  const List* items = Items(run, call.self);
  if (items == nullptr || !NeedInt(run, call[0], 0, &width)) return Value::Failed();
  if (width < 1) return run.FailType("batch takes a size of 1 and up");
  const bool fills = !call[1].absent() && !call[1].is(Kind::kNone);
  const auto size = static_cast<size_t>(width);
  Value* rows = nullptr;
  const size_t row_count = items->size == 0 ? 0 : (items->size - 1) / size + 1;
  const Value list = run.MakeList(Kind::kGenerator, row_count, &rows);
  for (size_t row = 0; !list.failed() && row < row_count; ++row) {
    const size_t begin = row * size, count = std::min(size, items->size - begin);
    Value* cells = nullptr;
    rows[row] = run.MakeList(Kind::kList, fills ? size : count, &cells);
    if (rows[row].failed()) return Value::Failed();
    std::copy_n(items->items + begin, count, cells);
    if (fills) std::fill(cells + count, cells + size, call[1]);
  }
  return list;
}

Value FilterSlice(Run& run, const Call& call) {  // slices, fill_with
  int64_t width = 0;
  const List* items = Items(run, call.self);
  if (items == nullptr || !NeedInt(run, call[0], 0, &width)) return Value::Failed();
  if (width < 1) return run.FailType("slice takes a number of 1 and up");
  const bool fills = !call[1].absent() && !call[1].is(Kind::kNone);
  const auto columns = static_cast<size_t>(width);
  const size_t each = items->size / columns, longer = items->size % columns;
  Value* slices = nullptr;
  const Value list = run.MakeList(Kind::kGenerator, columns, &slices);
  for (size_t i = 0, at = 0; !list.failed() && i < columns; ++i) {
    const size_t count = each + (i < longer);
    const bool pads = fills && i >= longer && longer > 0;
    Value* cells = nullptr;
    slices[i] = run.Charge(1) ? run.MakeList(Kind::kList, count + pads, &cells) : Value::Failed();
    if (slices[i].failed()) return Value::Failed();
    std::copy_n(items->items + at, count, cells);
    if (pads) cells[count] = call[1];
    at += count;
  }
  return list;
}

}  // namespace tessera::jinja
