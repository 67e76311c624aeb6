// map, and the filters that keep items by a test.
#include "core/text/jinja/filters.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/text_functions.h"

namespace tessera::jinja {
namespace {

const Value* FindKeyword(const Call& call, absl::string_view name) {
  for (const Keyword& keyword : call.keywords) {
    if (keyword.name == name) return &keyword.value;
  }
  return nullptr;
}

// What is walked; as in Jinja2 what is not true, be it None, is as good as empty.
const List* Selectable(Run& run, const Value& value) {
  static constexpr List kNothing;
  return IsTrue(value) ? Items(run, value) : &kNothing;
}

// `with_attribute`: the first argument names what of an item is tested. `keep`: whether those that pass stay.
Value Select(Run& run, const Call& call, bool with_attribute, bool keep) {
  const size_t first = with_attribute ? 1 : 0;
  if (call.positional.size() < first) {
    return run.FailType(absl::StrCat("'", call.builtin->name, "' lacks its argument 'attribute'"));
  }
  const Builtin* test = nullptr;
  if (call.positional.size() > first) {
    const Text* name = NeedText(run, call.positional[first]);
    if (name == nullptr) return Value::Failed();
    test = FindTest(name->view());
    if (test == nullptr) {
      return run.Fail(ErrorCode::kUnsupported,
                      absl::StrCat("the test '", name->view().substr(0, 64), "' is not known"));
    }
  }
  const List* items = Selectable(run, call.self);
  Value* kept = nullptr;
  const Value list = items == nullptr ? Value::Failed() : run.MakeList(Kind::kGenerator, items->size, &kept);
  if (list.failed()) return list;
  size_t count = 0;
  for (size_t i = 0; i < items->size; ++i) {
    if (!run.Charge(1)) return Value::Failed();
    Value value = items->items[i];
    if (with_attribute) value = AttributeOf(run, value, call.positional[0]);
    if (!value.failed() && test != nullptr) {
      value = run.CallBuiltin(*test, value, call.positional.subspan(first + 1), call.keywords);
    }
    if (value.failed()) return value;
    if (IsTrue(value) == keep) kept[count++] = items->items[i];
  }
  list.list->size = count;
  return list;
}

}  // namespace

Value FilterSelect(Run& run, const Call& call) { return Select(run, call, false, true); }
Value FilterReject(Run& run, const Call& call) { return Select(run, call, false, false); }
Value FilterSelectAttr(Run& run, const Call& call) { return Select(run, call, true, true); }
Value FilterRejectAttr(Run& run, const Call& call) { return Select(run, call, true, false); }

Value FilterMap(Run& run, const Call& call) {
  const Value* attribute = FindKeyword(call, "attribute");
  const Value* given = FindKeyword(call, "default");
  const Value otherwise = given == nullptr || given->is(Kind::kNone) ? Value::Absent() : *given;
  const Builtin* filter = nullptr;
  if (call.positional.empty() && attribute == nullptr)
    return run.FailType("map takes a filter or an attribute");
  if (!call.positional.empty()) {
    const Text* name = NeedText(run, call.positional[0]);
    if (name == nullptr) return Value::Failed();
    filter = FindFilter(name->view());
    if (filter == nullptr) {
      return run.Fail(ErrorCode::kUnsupported,
                      absl::StrCat("the filter '", name->view().substr(0, 64), "' is not known"));
    }
  }
  const List* items = Selectable(run, call.self);
  Value* mapped = nullptr;
  const Value list =
      items == nullptr ? Value::Failed() : run.MakeList(Kind::kGenerator, items->size, &mapped);
  for (size_t i = 0; !list.failed() && i < items->size; ++i) {
    if (!run.Charge(1)) return Value::Failed();
    if (filter != nullptr) {
      mapped[i] = run.CallBuiltin(*filter, items->items[i], call.positional.subspan(1), call.keywords);
    } else {
      mapped[i] = AttributeOf(run, items->items[i], *attribute, otherwise);
    }
    if (mapped[i].failed()) return Value::Failed();
  }
  return list;
}

}  // namespace tessera::jinja
