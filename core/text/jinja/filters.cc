// The table of filters.
#include "core/text/jinja/filters.h"

namespace tessera::jinja {
namespace {

constexpr Builtin kFilters[] = {
    {"abs", "", 0, FilterAbs},
    {"attr", "name", 1, FilterAttr},
    {"batch", "linecount,fill_with", 1, FilterBatch},
    {"capitalize", "", 0, FilterCapitalize},
    {"center", "width", 0, FilterCenter},
    {"count", "", 0, FilterLength},
    {"d", "default_value,boolean", 0, FilterDefault},
    {"default", "default_value,boolean", 0, FilterDefault},
    {"dictsort", "case_sensitive,by,reverse", 0, FilterDictSort},
    {"e", "", 0, FilterEscape},
    {"escape", "", 0, FilterEscape},
    {"first", "", 0, FilterFirst},
    {"float", "default", 0, FilterFloat},
    {"forceescape", "", 0, FilterForceEscape},
    {"format", nullptr, 0, FilterFormat},
    {"indent", "width,first,blank", 0, FilterIndent},
    {"int", "default,base", 0, FilterInt},
    {"items", "", 0, FilterItems},
    {"join", "d,attribute", 0, FilterJoin},
    {"last", "", 0, FilterLast},
    {"length", "", 0, FilterLength},
    {"list", "", 0, FilterList},
    {"lower", "", 0, FilterLower},
    {"map", nullptr, 0, FilterMap},
    {"max", "case_sensitive,attribute", 0, FilterMax},
    {"min", "case_sensitive,attribute", 0, FilterMin},
    {"reject", nullptr, 0, FilterReject},
    {"rejectattr", nullptr, 0, FilterRejectAttr},
    {"replace", "old,new,count", 2, FilterReplace},
    {"reverse", "", 0, FilterReverse},
    {"round", "precision,method", 0, FilterRound},
    {"safe", "", 0, FilterSafe},
    {"select", nullptr, 0, FilterSelect},
    {"selectattr", nullptr, 0, FilterSelectAttr},
    {"slice", "slices,fill_with", 1, FilterSlice},
    {"sort", "reverse,case_sensitive,attribute", 0, FilterSort},
    {"string", "", 0, FilterString},
    {"sum", "attribute,start", 0, FilterSum},
    {"title", "", 0, FilterTitle},
    {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, FilterToJson},
    {"trim", "chars", 0, FilterTrim},
    {"unique", "case_sensitive,attribute", 0, FilterUnique},
    {"upper", "", 0, FilterUpper},
    {"wordcount", "", 0, FilterWordCount},
};

}  // namespace

const Builtin* FindFilter(absl::string_view name) { return FindIn(kFilters, name); }

}  // namespace tessera::jinja
