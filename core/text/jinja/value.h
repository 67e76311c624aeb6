// The values that templates compute with: Python's, as far as templates can see them. All live in an arena
// and are never freed one by one; only namespaces, scopes and what was consumed of a generator ever change.
#ifndef TESSERA_CORE_TEXT_JINJA_VALUE_H_
#define TESSERA_CORE_TEXT_JINJA_VALUE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace tessera::jinja {

struct Node;
struct Scope;
struct Value;
struct Builtin;

// A piece of UTF-8. Each byte is known to come from the template or from the host's messages, so that who
// writes "<|im_end|>" into a message cannot end a turn with it.
struct Text {
  const char* data = nullptr;
  size_t size = 0;
  const uint8_t* marks = nullptr;  // [size], 1: from the host; null: all bytes are as `from_host` says
  bool from_host = false;
  bool markup = false;  // made by `safe` or `escape`: what is added to it is escaped

  absl::string_view view() const { return absl::string_view(data, size); }
  Text Part(size_t begin, size_t end) const {
    Text part = *this;
    part.data += begin;
    part.size = end - begin;
    if (marks != nullptr) part.marks += begin;
    return part;
  }
};

enum class Kind : uint8_t {
  kFailed,  // the rendering has ended; its status says why
  kAbsent,  // an argument that was not given
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kList,
  kTuple,
  kRange,
  kView,       // of a dict: its keys, values or items
  kGenerator,  // what `map`, `select` and the like give: can be walked once, and is always true
  kDict,
  kNamespace,
  kCallable,
  kLoop,
};

// Why there is nothing, for the message when somebody uses it.
struct Undefined {
  enum class Why : uint8_t { kName, kAttribute, kItem, kUnsafe, kConditional };
  Why why = Why::kName;
  absl::string_view name;
  const char* owner = "";  // Python's name of the type that was asked
};

struct List {
  Value* items = nullptr;
  size_t size = 0;
  bool consumed = false;                  // generators
  int64_t start = 0, stop = 0, step = 0;  // ranges, as they were asked for
};

struct Entry;

// In the order of insertion; few entries, so they are searched one by one unless there is an index.
struct Dict {
  Entry* entries = nullptr;
  size_t size = 0;
  size_t capacity = 0;
  uint32_t* index = nullptr;  // [slots], entry + 1, 0: empty; open addressing; null: few entries
  size_t slots = 0;           // a power of two
};

struct Callable;
struct Loop;

struct Value {
  Kind kind = Kind::kAbsent;
  union {
    bool boolean;
    int64_t integer;
    double number;
    const Text* text;
    const Undefined* undefined;
    List* list;  // kList, kTuple, kRange, kView, kGenerator
    Dict* dict;  // kDict, kNamespace
    const Callable* callable;
    Loop* loop;
  };

  Value() : integer(0) {}
  static Value None() { return Value(Kind::kNone); }
  static Value Absent() { return Value(Kind::kAbsent); }
  static Value Failed() { return Value(Kind::kFailed); }
  static Value Bool(bool boolean) {
    Value value(Kind::kBool);
    value.boolean = boolean;
    return value;
  }
  static Value Int(int64_t integer) {
    Value value(Kind::kInt);
    value.integer = integer;
    return value;
  }
  static Value Float(double number) {
    Value value(Kind::kFloat);
    value.number = number;
    return value;
  }
  static Value Of(const Text* text) {
    Value value(Kind::kText);
    value.text = text;
    return value;
  }
  static Value Of(Kind kind, List* list) {
    Value value(kind);
    value.list = list;
    return value;
  }
  static Value Of(Kind kind, Dict* dict) {
    Value value(kind);
    value.dict = dict;
    return value;
  }
  static Value Of(const Undefined* undefined) {
    Value value(Kind::kUndefined);
    value.undefined = undefined;
    return value;
  }
  static Value Of(const Callable* callable) {
    Value value(Kind::kCallable);
    value.callable = callable;
    return value;
  }
  static Value Of(Loop* loop) {
    Value value(Kind::kLoop);
    value.loop = loop;
    return value;
  }

  bool failed() const { return kind == Kind::kFailed; }
  bool absent() const { return kind == Kind::kAbsent; }
  bool is(Kind other) const { return kind == other; }
  bool is_number() const { return kind == Kind::kBool || kind == Kind::kInt || kind == Kind::kFloat; }
  bool is_integer() const { return kind == Kind::kBool || kind == Kind::kInt; }
  bool has_list() const { return kind >= Kind::kList && kind <= Kind::kGenerator; }
  int64_t AsInt() const { return kind == Kind::kBool ? boolean : integer; }  // when is_integer()
  double AsFloat() const {                                                   // when is_number()
    return kind == Kind::kFloat ? number : static_cast<double>(AsInt());
  }
  absl::string_view view() const { return text->view(); }  // when kText

 private:
  explicit Value(Kind k) : kind(k), integer(0) {}
};

struct Entry {
  Value key, value;
};

// A macro with the scope that it was defined in, a method with the value that it belongs to, or a global.
struct Callable {
  const Builtin* builtin = nullptr;
  Value self;                   // methods
  const Node* macro = nullptr;  // a macro, or the body of a call block
  Scope* scope = nullptr;       // where a macro looks names up
  Value caller;                 // of a macro that a call block calls
};

// What `loop` is inside a for loop.
struct Loop {
  const List* items = nullptr;
  size_t index0 = 0;
  size_t depth0 = 0;
  const Node* recursive = nullptr;  // the loop's node, when loop(...) may be called
  Scope* scope = nullptr;
  Value changed;  // what loop.changed saw last
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_VALUE_H_
