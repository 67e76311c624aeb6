// The filters' functions, by the file that holds them. The table is in filters.cc.
#ifndef TESSERA_CORE_TEXT_JINJA_FILTERS_H_
#define TESSERA_CORE_TEXT_JINJA_FILTERS_H_

#include "core/text/jinja/builtins.h"
#include "core/text/jinja/run.h"

namespace tessera::jinja {

// text_filters.cc
Value FilterAbs(Run& run, const Call& call);
Value FilterCapitalize(Run& run, const Call& call);
Value FilterCenter(Run& run, const Call& call);
Value FilterEscape(Run& run, const Call& call);
Value FilterFloat(Run& run, const Call& call);
Value FilterForceEscape(Run& run, const Call& call);
Value FilterFormat(Run& run, const Call& call);
Value FilterIndent(Run& run, const Call& call);
Value FilterInt(Run& run, const Call& call);
Value FilterLower(Run& run, const Call& call);
Value FilterReplace(Run& run, const Call& call);
Value FilterRound(Run& run, const Call& call);
Value FilterSafe(Run& run, const Call& call);
Value FilterString(Run& run, const Call& call);
Value FilterTitle(Run& run, const Call& call);
Value FilterToJson(Run& run, const Call& call);
Value FilterTrim(Run& run, const Call& call);
Value FilterUpper(Run& run, const Call& call);
Value FilterWordCount(Run& run, const Call& call);

// list_filters.cc
Value FilterAttr(Run& run, const Call& call);
Value FilterBatch(Run& run, const Call& call);
Value FilterDefault(Run& run, const Call& call);
Value FilterDictSort(Run& run, const Call& call);
Value FilterFirst(Run& run, const Call& call);
Value FilterItems(Run& run, const Call& call);
Value FilterJoin(Run& run, const Call& call);
Value FilterLast(Run& run, const Call& call);
Value FilterLength(Run& run, const Call& call);
Value FilterList(Run& run, const Call& call);
Value FilterMax(Run& run, const Call& call);
Value FilterMin(Run& run, const Call& call);
Value FilterReverse(Run& run, const Call& call);
Value FilterSlice(Run& run, const Call& call);
Value FilterSort(Run& run, const Call& call);
Value FilterSum(Run& run, const Call& call);
Value FilterUnique(Run& run, const Call& call);

// selection_filters.cc
Value FilterMap(Run& run, const Call& call);
Value FilterReject(Run& run, const Call& call);
Value FilterRejectAttr(Run& run, const Call& call);
Value FilterSelect(Run& run, const Call& call);
Value FilterSelectAttr(Run& run, const Call& call);

// What `attribute=` names in an item: "a", "a.b", 0 or "a.0". An absent or None attribute: the item itself.
// At each step `otherwise`, unless it is absent, stands for what is undefined.
Value AttributeOf(Run& run, const Value& item, const Value& attribute,
                  const Value& otherwise = Value::Absent());

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_FILTERS_H_
