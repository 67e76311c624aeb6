// What Python's operators and protocols do to values: truth, equality, order, arithmetic, items, iteration.
// Each answers Value::Failed, null or false once the run has failed.
#ifndef TESSERA_CORE_TEXT_JINJA_OPERATIONS_H_
#define TESSERA_CORE_TEXT_JINJA_OPERATIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/text/jinja/ast.h"
#include "core/text/jinja/run.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

const char* TypeName(const Value& value);  // Python's: "str", "NoneType"

bool IsTrue(const Value& value);
// -1 once the run has failed: values inside each other too deep.
int Equal(Run& run, const Value& a, const Value& b, int depth = 0);
// kLess to kGreaterEqual, kEqual, kNotEqual, kIn, kNotIn: 0 or 1; -1: the run has failed.
int Compare(Run& run, Operator op, const Value& a, const Value& b);
int Contains(Run& run, const Value& container, const Value& element);

Value Arithmetic(Run& run, Operator op, const Value& a, const Value& b);  // arithmetic.cc
Value Negate(Run& run, const Value& value);

Value GetAttribute(Run& run, const Value& value, absl::string_view name);
Value GetItem(Run& run, const Value& value, const Value& key);
// As a[b:c:d]; absent where nothing was written.
Value GetSlice(Run& run, const Value& value, const Value& begin, const Value& end, const Value& step);

// -1: it has no length, and the run has failed.
int64_t Length(Run& run, const Value& value);
// All that iterating gives; null once the run has failed. A generator is consumed by it.
const List* Items(Run& run, const Value& value);

// Dicts.
const Value* Find(Run& run, const Dict& dict, const Value& key);  // null: none, or the run has failed
bool Put(Run& run, Dict* dict, const Value& key, const Value& value);
const Value* FindText(Run& run, const Dict& dict, absl::string_view key);

// Sorts stably by keys[i] (lexicographically `<`); the items move along.
bool SortByKeys(Run& run, Value* keys, Value* items, size_t size, bool reverse);

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_OPERATIONS_H_
