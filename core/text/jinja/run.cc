// Failures, values and scopes of a rendering.
#include "core/text/jinja/run.h"

#include <algorithm>

namespace tessera::jinja {

Value Run::Fail(ErrorCode code, absl::string_view message) {
  if (status_.ok()) status_ = Error(code, absl::StrCat("chat template, line ", line_), message);
  return Value::Failed();
}

Value Run::FailMemory() {
  return Fail(ErrorCode::kLimitExceeded,
              absl::StrCat("rendering takes more memory than ", limits_.max_memory_bytes,
                           " bytes (chat.max_memory_bytes)"));
}

bool Run::FailSteps() {
  Fail(ErrorCode::kLimitExceeded,
       absl::StrCat("rendering takes more than ", limits_.max_steps, " steps (chat.max_steps)"));
  return false;
}

Value Run::FailUndefined(const Value& undefined) {
  const Undefined& missing = *undefined.undefined;
  const absl::string_view name = missing.name.substr(0, 100);
  switch (missing.why) {
    case Undefined::Why::kName:
      return FailType(absl::StrCat("'", name, "' is undefined"));
    case Undefined::Why::kAttribute:
      return FailType(absl::StrCat("'", missing.owner, "' has no attribute '", name, "'"));
    case Undefined::Why::kItem:
      return FailType(absl::StrCat("'", missing.owner, "' has no such item"));
    case Undefined::Why::kUnsafe:
      return FailType(absl::StrCat("templates may not use '", name, "' of '", missing.owner, "'"));
    case Undefined::Why::kConditional:
      return FailType("an 'if' without 'else' gave no value");
  }
  return FailType("it is undefined");
}

Value Run::MakeText(const Text& text) {
  Text* copy = arena_.Make<Text>();
  if (copy == nullptr) return FailMemory();
  *copy = text;
  return Value::Of(copy);
}

Value Run::MakeList(Kind kind, size_t size, Value** items) {
  List* list = arena_.Make<List>();
  if (list == nullptr || !Charge(size / 8)) return failed() ? Value::Failed() : FailMemory();
  if (size > 0 && (list->items = arena_.Make<Value>(size)) == nullptr) return FailMemory();
  list->size = size;
  if (items != nullptr) *items = list->items;
  return Value::Of(kind, list);
}

Value Run::MakeList(Kind kind, absl::Span<const Value> items) {
  Value* copies = nullptr;
  const Value list = MakeList(kind, items.size(), &copies);
  if (!list.failed()) std::copy(items.begin(), items.end(), copies);
  return list;
}

Value Run::MakeDict(size_t capacity) {
  Dict* dict = arena_.Make<Dict>();
  if (dict == nullptr) return FailMemory();
  if (capacity > 0 && (dict->entries = arena_.Make<Entry>(capacity)) == nullptr) return FailMemory();
  dict->capacity = capacity;
  return Value::Of(Kind::kDict, dict);
}

Value Run::MakeUndefined(Undefined::Why why, absl::string_view name, const char* owner) {
  Undefined* undefined = arena_.Make<Undefined>();
  if (undefined == nullptr) return FailMemory();
  undefined->why = why;
  undefined->name = name;
  undefined->owner = owner;
  return Value::Of(undefined);
}

Value Run::MakeMethod(const Builtin* builtin, const Value& self) {
  Callable* callable = arena_.Make<Callable>();
  if (callable == nullptr) return FailMemory();
  callable->builtin = builtin;
  callable->self = self;
  return Value::Of(callable);
}

Scope* Run::NewScope(Scope* parent) {
  Scope* scope = arena_.Make<Scope>();
  if (scope == nullptr) {
    FailMemory();
    return nullptr;
  }
  scope->parent = parent;
  return scope;
}

bool Run::Assign(Scope* scope, absl::string_view name, const Value& value) {
  for (uint32_t i = 0; i < scope->count; ++i) {
    if (scope->slots[i].name == name) {
      scope->slots[i].value = value;
      return true;
    }
  }
  if (!Charge(scope->count / 8)) return false;
  if (scope->count == scope->capacity) {
    const uint32_t capacity = std::max<uint32_t>(4, scope->capacity * 2);
    Slot* slots = arena_.Make<Slot>(capacity);
    if (slots == nullptr) {
      FailMemory();
      return false;
    }
    std::copy_n(scope->slots, scope->count, slots);
    scope->slots = slots;
    scope->capacity = capacity;
  }
  scope->slots[scope->count++] = {name, value};
  return true;
}

Value Run::Lookup(const Scope* scope, absl::string_view name) {
  for (; scope != nullptr; scope = scope->parent) {
    if (!Charge(1 + scope->count / 8)) return Value::Failed();
    for (uint32_t i = 0; i < scope->count; ++i) {
      if (scope->slots[i].name == name) return scope->slots[i].value;
    }
  }
  const Builtin* global = FindGlobal(name);
  return global != nullptr ? MakeMethod(global, Value::Absent()) : MakeUndefined(Undefined::Why::kName, name);
}

}  // namespace tessera::jinja
