#include "core/text/chat/messages.h"

#include "core/base/status.h"
#include "core/text/jinja/operations.h"

namespace tessera {
namespace {

using jinja::Dict;
using jinja::Entry;
using jinja::Kind;
using jinja::Run;
using jinja::Value;

constexpr absl::string_view kReasoningNames[] = {"reasoning_content", "thinking", "reasoning"};

bool PutNamed(Run& run, Dict* dict, absl::string_view name, const Value& value) {
  const Value key = run.MakeText(name);
  return !key.failed() && jinja::Put(run, dict, key, value);
}

Value NormaliseMessage(Run& run, const Dict& message) {
  Value reasoning = Value::None();
  for (const absl::string_view name : kReasoningNames) {
    const Value* found = jinja::FindText(run, message, name);
    if (found != nullptr && reasoning.is(Kind::kNone)) reasoning = *found;
  }
  const Value made = run.MakeDict(message.size + 2);
  if (made.failed()) return made;
  if (!reasoning.is(Kind::kNone) && !PutNamed(run, made.dict, "thinking", reasoning)) return Value::Failed();
  for (size_t i = 0; i < message.size; ++i) {
    const Entry& entry = message.entries[i];
    if (!entry.value.is(Kind::kNone) && !jinja::Put(run, made.dict, entry.key, entry.value))
      return Value::Failed();
  }
  if (!reasoning.is(Kind::kNone) && !PutNamed(run, made.dict, "reasoning_content", reasoning)) {
    return Value::Failed();
  }
  return run.failed() ? Value::Failed() : made;
}

}  // namespace

absl::StatusOr<Value> NormaliseMessages(Run& run, const Value& messages) {
  if (!messages.is(Kind::kList)) return InvalidArgument("messages", "they are no JSON array");
  Value* items = nullptr;
  const Value list = run.MakeList(Kind::kList, messages.list->size, &items);
  if (list.failed()) return run.status();
  for (size_t i = 0; i < messages.list->size; ++i) {
    const Value& message = messages.list->items[i];
    if (!message.is(Kind::kDict))
      return InvalidArgument("messages", absl::StrCat("message ", i, " is no JSON object"));
    items[i] = NormaliseMessage(run, *message.dict);
    if (items[i].failed()) return run.status();
  }
  return list;
}

}  // namespace tessera
