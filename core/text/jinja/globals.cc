// Functions that every template sees.
#include <algorithm>

#include "core/text/jinja/builtins.h"
#include "core/text/jinja/date_format.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/text_functions.h"

namespace tessera::jinja {
namespace {

Value Range(Run& run, const Call& call) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t given = call.positional.size();
  if (given < 1 || given > 3 || !call.keywords.empty()) return run.FailType("range() takes 1 to 3 numbers");
  for (size_t i = 0; i < given; ++i) {
    if (!call.positional[i].is_integer()) {
      return run.FailType(absl::StrCat("range() takes integers, not '", TypeName(call.positional[i]), "'"));
    }
    bounds[given == 1 ? 1 : i] = call.positional[i].AsInt();
  }
  const int64_t start = bounds[0], stop = bounds[1], step = bounds[2];
  if (step == 0) return run.FailType("range() takes no step of zero");
  const bool any = step > 0 ? start < stop : start > stop;
  const uint64_t distance = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                     : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const uint64_t count = any ? (distance - 1) / stride + 1 : 0;
  if (count > static_cast<uint64_t>(kLongestRange)) {
    return run.Fail(ErrorCode::kLimitExceeded,
                    absl::StrCat("range() gives at most ", kLongestRange, " numbers"));
  }
  Value* items = nullptr;
  const Value range = run.MakeList(Kind::kRange, count, &items);
  if (range.failed()) return range;
  range.list->start = start;
  range.list->stop = stop;
  range.list->step = step;
  for (uint64_t i = 0; i < count; ++i) {
    items[i] =
        Value::Int(static_cast<int64_t>(static_cast<uint64_t>(start) + i * static_cast<uint64_t>(step)));
  }
  return range;
}

// From pairs or another dict, and from the keywords.
Value FillDict(Run& run, const Call& call) {
  const Value dict = run.MakeDict(call.keywords.size());
  if (dict.failed()) return dict;
  if (call.positional.size() > 1) return run.FailType("at most one argument may stand without a name");
  if (call.positional.size() == 1) {
    const Value& source = call.positional[0];
    const bool mapping = source.is(Kind::kDict) || source.is(Kind::kNamespace);
    const List* pairs = mapping ? nullptr : Items(run, source);
    if (!mapping && pairs == nullptr) return Value::Failed();
    for (size_t i = 0; i < (mapping ? source.dict->size : pairs->size); ++i) {
      if (mapping) {
        if (!Put(run, dict.dict, source.dict->entries[i].key, source.dict->entries[i].value))
          return Value::Failed();
        continue;
      }
      const List* pair = Items(run, pairs->items[i]);
      if (pair == nullptr) return Value::Failed();
      if (pair->size != 2) return run.FailType("a dict is made of pairs");
      if (!Put(run, dict.dict, pair->items[0], pair->items[1])) return Value::Failed();
    }
  }
  for (const Keyword& keyword : call.keywords) {
    const Value name = run.MakeText(keyword.name);
    if (name.failed() || !Put(run, dict.dict, name, keyword.value)) return Value::Failed();
  }
  return dict;
}

Value Namespace(Run& run, const Call& call) {
  const Value dict = FillDict(run, call);
  if (dict.failed()) return dict;
  for (size_t i = 0; i < dict.dict->size; ++i) {
    const Value& name = dict.dict->entries[i].key;
    if (name.is(Kind::kText) && name.view().substr(0, 1) == "_") {
      return run.FailType("a namespace's attributes may not begin with '_'");
    }
  }
  return Value::Of(Kind::kNamespace, dict.dict);
}

Value RaiseException(Run& run, const Call& call) {
  const Text* message = ToText(run, call[0]);
  if (message == nullptr) return Value::Failed();
  return run.FailType(absl::StrCat("the template refuses this: ", message->view().substr(0, 1000)));
}

Value StrftimeNow(Run& run, const Call& call) {
  const Text* format = NeedText(run, call[0]);
  if (format == nullptr || !run.Charge(format->size)) return Value::Failed();
  TextBuilder text(run);
  return text.Append(FormatDate(format->view(), run.now()), false) ? text.FinishValue() : Value::Failed();
}

constexpr Builtin kGlobals[] = {
    {"dict", nullptr, 0, FillDict},
    {"namespace", nullptr, 0, Namespace},
    {"raise_exception", "message", 1, RaiseException},
    {"range", nullptr, 0, Range},
    {"strftime_now", "format", 1, StrftimeNow},
};

}  // namespace

const Builtin* FindGlobal(absl::string_view name) { return FindIn(kGlobals, name); }

}  // namespace tessera::jinja
