// value.name, value[key], value[begin:end:step]. Nothing that could change a list or a dict can be reached.
#include <algorithm>

#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"

namespace tessera::jinja {
namespace {

Value LoopAttribute(Run& run, const Loop& loop, const Value& self, absl::string_view name) {
  const auto index = static_cast<int64_t>(loop.index0), size = static_cast<int64_t>(loop.items->size);
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "revindex") return Value::Int(size - index);
  if (name == "revindex0") return Value::Int(size - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 == size);
  if (name == "length") return Value::Int(size);
  if (name == "depth") return Value::Int(static_cast<int64_t>(loop.depth0) + 1);
  if (name == "depth0") return Value::Int(static_cast<int64_t>(loop.depth0));
  if (name == "previtem" && index > 0) return loop.items->items[index - 1];
  if (name == "nextitem" && index + 1 < size) return loop.items->items[index + 1];
  if (const Builtin* method = FindLoopMethod(name); method != nullptr) return run.MakeMethod(method, self);
  return run.MakeUndefined(Undefined::Why::kAttribute, name, "loop");
}

// The method, or null; *unsafe: there is one, which nobody may have.
const Builtin* FindMethod(const Value& value, absl::string_view name, bool* unsafe) {
  *unsafe = name.substr(0, 2) == "__";
  if (*unsafe) return nullptr;
  switch (value.kind) {
    case Kind::kText:
      return FindTextMethod(name);
    case Kind::kDict:
      *unsafe = ChangesDict(name);
      return FindDictMethod(name);
    case Kind::kList:
      *unsafe = ChangesList(name);
      return FindListMethod(name);
    case Kind::kTuple:
      return name == "copy" ? nullptr : FindListMethod(name);
    default:
      return nullptr;
  }
}

Value MethodOrUndefined(Run& run, const Value& value, absl::string_view name, Undefined::Why why) {
  bool unsafe = false;
  const Builtin* method = FindMethod(value, name, &unsafe);
  if (method != nullptr) return run.MakeMethod(method, value);
  return run.MakeUndefined(unsafe ? Undefined::Why::kUnsafe : why, name, TypeName(value));
}

// A place as Python counts it, from the end where negative; false outside.
bool Resolve(int64_t index, int64_t size, size_t* place) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return false;
  *place = static_cast<size_t>(index);
  return true;
}

Value TextItem(Run& run, const Value& value, int64_t index) {
  const Text& text = *value.text;
  if (!run.Charge(text.size / 64)) return Value::Failed();
  size_t place = 0;
  if (!Resolve(index, static_cast<int64_t>(CountCodePoints(text.view())), &place)) {
    return run.MakeUndefined(Undefined::Why::kItem, "", "str");
  }
  const size_t begin = ByteOfCodePoint(text.view(), place);
  return run.MakeText(text.Part(begin, begin + DecodeUtf8(text.data + begin).bytes));
}

}  // namespace

Value GetAttribute(Run& run, const Value& value, absl::string_view name) {
  switch (value.kind) {
    case Kind::kUndefined:
      return run.FailUndefined(value);
    case Kind::kLoop:
      return LoopAttribute(run, *value.loop, value, name);
    case Kind::kDict: {
      bool unsafe = false;
      const Builtin* method = FindMethod(value, name, &unsafe);
      if (method != nullptr) return run.MakeMethod(method, value);
      if (unsafe && ChangesDict(name)) {
        return run.MakeUndefined(Undefined::Why::kUnsafe, name, "dict");
      }
      [[fallthrough]];
    }
    case Kind::kNamespace: {
      const Value* found = FindText(run, *value.dict, name);
      if (run.failed()) return Value::Failed();
      if (found != nullptr) return *found;
      const bool unsafe = name.substr(0, 2) == "__";
      return run.MakeUndefined(unsafe ? Undefined::Why::kUnsafe : Undefined::Why::kAttribute, name,
                               TypeName(value));
    }
    default:
      return MethodOrUndefined(run, value, name, Undefined::Why::kAttribute);
  }
}

Value GetItem(Run& run, const Value& value, const Value& key) {
  switch (value.kind) {
    case Kind::kUndefined:
      return run.FailUndefined(value);
    case Kind::kDict:
    case Kind::kNamespace: {
      const bool hashable = !key.is(Kind::kList) && !key.is(Kind::kDict);
      const Value* found = hashable ? Find(run, *value.dict, key) : nullptr;
      if (run.failed()) return Value::Failed();
      if (found != nullptr) return *found;
      break;
    }
    case Kind::kText:
      if (key.is_integer()) return TextItem(run, value, key.AsInt());
      break;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      if (size_t place = 0; key.is_integer()) {
        if (Resolve(key.AsInt(), static_cast<int64_t>(value.list->size), &place))
          return value.list->items[place];
        return run.MakeUndefined(Undefined::Why::kItem, "", TypeName(value));
      }
      break;
    case Kind::kLoop:
      if (key.is(Kind::kText)) return GetAttribute(run, value, key.view());
      break;
    default:
      break;
  }
  if (key.is(Kind::kText)) return MethodOrUndefined(run, value, key.view(), Undefined::Why::kAttribute);
  return run.MakeUndefined(Undefined::Why::kItem, "", TypeName(value));
}

namespace {

struct Bounds {
  int64_t begin = 0, end = 0, step = 1;
  size_t count = 0;
};

// As Python's slice.indices. False once the run has failed.
bool ResolveSlice(Run& run, const Value& begin, const Value& end, const Value& step, int64_t size,
                  Bounds* bounds) {
  for (const Value* part : {&begin, &end, &step}) {
    if (part->absent() || part->is(Kind::kNone) || part->is_integer()) continue;
    run.FailType(absl::StrCat("a slice takes integers, not '", TypeName(*part), "'"));
    return false;
  }
  const auto given = [](const Value& part) { return part.is_integer(); };
  bounds->step = given(step) ? step.AsInt() : 1;
  if (bounds->step == 0) {
    run.FailType("a slice's step is zero");
    return false;
  }
  const bool forward = bounds->step > 0;
  const auto place = [&](const Value& part, int64_t otherwise) {
    if (!given(part)) return otherwise;
    int64_t at = part.AsInt();
    if (at < 0) at = std::max(at + size, forward ? int64_t{0} : int64_t{-1});
    return std::min(at, forward ? size : size - 1);
  };
  bounds->begin = place(begin, forward ? 0 : size - 1);
  bounds->end = place(end, forward ? size : -1);
  const int64_t distance = forward ? bounds->end - bounds->begin : bounds->begin - bounds->end;
  if (distance <= 0) return true;
  // The step's size, also of the smallest integer.
  const uint64_t stride =
      forward ? static_cast<uint64_t>(bounds->step) : uint64_t{0} - static_cast<uint64_t>(bounds->step);
  bounds->count = static_cast<size_t>((static_cast<uint64_t>(distance) - 1) / stride + 1);
  return true;
}

Value TextSlice(Run& run, const Text& text, const Bounds& bounds) {
  if (bounds.count == 0) return run.MakeText(text.Part(0, 0));
  const absl::string_view view = text.view();
  if (bounds.step == 1) {
    const size_t begin = ByteOfCodePoint(view, static_cast<size_t>(bounds.begin));
    return run.MakeText(text.Part(begin, begin + ByteOfCodePoint(view.substr(begin), bounds.count)));
  }
  uint32_t* starts = run.arena().Make<uint32_t>(CountCodePoints(view));
  if (starts == nullptr || text.size > UINT32_MAX) return run.FailMemory();
  size_t points = 0;
  for (size_t at = 0; at < text.size; at += DecodeUtf8(text.data + at).bytes) {
    starts[points++] = static_cast<uint32_t>(at);
  }
  TextBuilder slice(run);
  int64_t place = bounds.begin;
  for (size_t i = 0; i < bounds.count; ++i) {
    const size_t at = starts[place];
    if (!slice.Append(text.Part(at, at + DecodeUtf8(text.data + at).bytes))) return Value::Failed();
    if (i + 1 < bounds.count) place += bounds.step;
  }
  return slice.FinishValue(text.markup);
}

}  // namespace

Value GetSlice(Run& run, const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (value.is(Kind::kUndefined)) return run.FailUndefined(value);
  const bool list = value.is(Kind::kList) || value.is(Kind::kTuple) || value.is(Kind::kRange);
  if (!list && !value.is(Kind::kText)) return run.MakeUndefined(Undefined::Why::kItem, "", TypeName(value));
  const int64_t size = Length(run, value);
  Bounds bounds;
  if (size < 0 || !run.Charge(value.is(Kind::kText) ? value.text->size / 32 : 0) ||
      !ResolveSlice(run, begin, end, step, size, &bounds)) {
    return Value::Failed();
  }
  if (!list) return TextSlice(run, *value.text, bounds);
  Value* items = nullptr;
  const Value slice = run.MakeList(value.kind, bounds.count, &items);
  int64_t place = bounds.begin;
  for (size_t i = 0; !slice.failed() && i < bounds.count; ++i) {
    items[i] = value.list->items[place];
    if (i + 1 < bounds.count) place += bounds.step;
  }
  if (!slice.failed() && value.is(Kind::kRange)) {
    const auto number = [&](int64_t at) {  // wraps where Python's would be larger; only printing shows it
      return static_cast<int64_t>(static_cast<uint64_t>(value.list->start) +
                                  static_cast<uint64_t>(at) * static_cast<uint64_t>(value.list->step));
    };
    slice.list->start = number(bounds.begin);
    slice.list->stop = number(bounds.end);
    slice.list->step =
        static_cast<int64_t>(static_cast<uint64_t>(value.list->step) * static_cast<uint64_t>(bounds.step));
  }
  return slice;
}

}  // namespace tessera::jinja
