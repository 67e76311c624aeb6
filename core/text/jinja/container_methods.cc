// Methods of dicts, lists and loops: those that only look.
#include <algorithm>
#include <iterator>

#include "core/text/jinja/builtins.h"
#include "core/text/jinja/operations.h"

namespace tessera::jinja {
namespace {

enum class Part { kKeys, kValues, kItems };

Value View(Run& run, const Dict& dict, Part part, Kind kind) {
  Value* items = nullptr;
  const Value view = run.MakeList(kind, dict.size, &items);
  for (size_t i = 0; !view.failed() && i < dict.size; ++i) {
    const Entry& entry = dict.entries[i];
    if (part == Part::kItems) {
      const Value pair[] = {entry.key, entry.value};
      items[i] = run.MakeList(Kind::kTuple, pair);
      if (items[i].failed()) return Value::Failed();
    } else {
      items[i] = part == Part::kKeys ? entry.key : entry.value;
    }
  }
  return view;
}

Value DictItems(Run& run, const Call& call) { return View(run, *call.self.dict, Part::kItems, Kind::kView); }
Value DictKeys(Run& run, const Call& call) { return View(run, *call.self.dict, Part::kKeys, Kind::kView); }
Value DictValues(Run& run, const Call& call) {
  return View(run, *call.self.dict, Part::kValues, Kind::kView);
}
Value DictGet(Run& run, const Call& call) {
  const Value* found = Find(run, *call.self.dict, call[0]);
  if (run.failed()) return Value::Failed();
  if (found != nullptr) return *found;
  return call[1].absent() ? Value::None() : call[1];
}
Value DictCopy(Run& run, const Call& call) {
  const Dict& dict = *call.self.dict;
  const Value copy = run.MakeDict(dict.size);
  for (size_t i = 0; !copy.failed() && i < dict.size; ++i) {
    if (!Put(run, copy.dict, dict.entries[i].key, dict.entries[i].value)) return Value::Failed();
  }
  return copy;
}

Value ListCopy(Run& run, const Call& call) {
  return run.MakeList(call.self.kind, absl::Span<const Value>(call.self.list->items, call.self.list->size));
}
Value ListIndex(Run& run, const Call& call) {
  const List& list = *call.self.list;
  for (size_t i = 0; i < list.size; ++i) {
    const int same = run.Charge(1) ? Equal(run, list.items[i], call[0]) : -1;
    if (same < 0) return Value::Failed();
    if (same == 1) return Value::Int(static_cast<int64_t>(i));
  }
  return run.FailType("the value is not in the list");
}
Value ListCount(Run& run, const Call& call) {
  const List& list = *call.self.list;
  int64_t count = 0;
  for (size_t i = 0; i < list.size; ++i) {
    const int same = run.Charge(1) ? Equal(run, list.items[i], call[0]) : -1;
    if (same < 0) return Value::Failed();
    count += same;
  }
  return Value::Int(count);
}

Value LoopCycle(Run& run, const Call& call) {
  if (call.positional.empty()) return run.FailType("loop.cycle() has nothing to go through");
  return call.positional[call.self.loop->index0 % call.positional.size()];
}
Value LoopChanged(Run& run, const Call& call) {
  const Value now = run.MakeList(Kind::kTuple, call.positional);
  if (now.failed()) return now;
  const int same = call.self.loop->changed.absent() ? 0 : Equal(run, now, call.self.loop->changed);
  if (same < 0) return Value::Failed();
  call.self.loop->changed = now;
  return Value::Bool(same == 0);
}

constexpr Builtin kDictMethods[] = {
    {"copy", "", 0, DictCopy}, {"get", "key,default", 1, DictGet}, {"items", "", 0, DictItems},
    {"keys", "", 0, DictKeys}, {"values", "", 0, DictValues},
};
constexpr Builtin kListMethods[] = {
    {"copy", "", 0, ListCopy}, {"count", "value", 1, ListCount}, {"index", "value", 1, ListIndex}};
constexpr Builtin kLoopMethods[] = {{"cycle", nullptr, 0, LoopCycle}, {"changed", nullptr, 0, LoopChanged}};

constexpr absl::string_view kDictChangers[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr absl::string_view kListChangers[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};

}  // namespace

const Builtin* FindDictMethod(absl::string_view name) { return FindIn(kDictMethods, name); }
const Builtin* FindListMethod(absl::string_view name) { return FindIn(kListMethods, name); }
const Builtin* FindLoopMethod(absl::string_view name) { return FindIn(kLoopMethods, name); }

bool ChangesDict(absl::string_view name) {
  return std::find(std::begin(kDictChangers), std::end(kDictChangers), name) != std::end(kDictChangers);
}
bool ChangesList(absl::string_view name) {
  return std::find(std::begin(kListChangers), std::end(kListChangers), name) != std::end(kListChangers);
}

}  // namespace tessera::jinja
