// The filters, tests, methods and functions that templates may call: tables of names and what stands behind
// them. Nothing here reaches anything outside the rendering, but for the time of day, which it is handed.
#ifndef TESSERA_CORE_TEXT_JINJA_BUILTINS_H_
#define TESSERA_CORE_TEXT_JINJA_BUILTINS_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

class Run;

struct Keyword {
  absl::string_view name;
  Value value;
};

inline constexpr size_t kMostParameters = 6;

// What a builtin is called with. `self` is the value that a filter, test or method is applied to.
struct Call {
  const Builtin* builtin = nullptr;
  Value self;
  absl::Span<const Value> positional;
  absl::Span<const Keyword> keywords;
  Value bound[kMostParameters];  // by the builtin's parameters; absent where not given

  const Value& operator[](size_t index) const { return bound[index]; }
};

struct Builtin {
  absl::string_view name;
  // Names, joined by commas, in order; null: any arguments, which are then not bound.
  const char* parameters;
  size_t required;  // so many of them must be given
  Value (*function)(Run& run, const Call& call);
};

// Null: there is none of this name.
const Builtin* FindFilter(absl::string_view name);
const Builtin* FindTest(absl::string_view name);
const Builtin* FindGlobal(absl::string_view name);
const Builtin* FindTextMethod(absl::string_view name);
const Builtin* FindDictMethod(absl::string_view name);
const Builtin* FindListMethod(absl::string_view name);
const Builtin* FindLoopMethod(absl::string_view name);
// Methods that would change a list or a dict: nobody may have them.
bool ChangesDict(absl::string_view name);
bool ChangesList(absl::string_view name);

template <size_t kCount>
const Builtin* FindIn(const Builtin (&table)[kCount], absl::string_view name) {
  for (const Builtin& builtin : table) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_BUILTINS_H_
