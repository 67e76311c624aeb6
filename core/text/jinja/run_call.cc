// Calls: of filters, tests, methods and functions, of macros, and of loops that call themselves.
#include <algorithm>

#include "core/text/jinja/operations.h"
#include "core/text/jinja/run.h"

namespace tessera::jinja {
namespace {

bool IsMapping(const Value& value) { return value.is(Kind::kDict) || value.is(Kind::kNamespace); }

}  // namespace

// How many arguments there will be once lists and dicts are spread out.
bool Run::CountArguments(const Node* node, const Value* values, size_t* positional, size_t* keywords) {
  for (uint32_t i = 0; i < node->item_count; ++i) {
    switch (node->items[i]->kind) {
      case NodeKind::kKeyword:
        ++*keywords;
        break;
      case NodeKind::kSplat:
        *positional += values[i].list->size;
        break;
      case NodeKind::kDoubleSplat:
        if (!IsMapping(values[i])) return !FailType("'**' takes a dict").failed();
        *keywords += values[i].dict->size;
        break;
      default:
        ++*positional;
    }
  }
  return Charge((*positional + *keywords) / 8);
}

bool Run::AppendArguments(const Node* argument, const Value& value, Value** positional, Keyword** keywords) {
  switch (argument->kind) {
    case NodeKind::kKeyword:
      *(*keywords)++ = {argument->name, value};
      return true;
    case NodeKind::kSplat:
      *positional = std::copy_n(value.list->items, value.list->size, *positional);
      return true;
    case NodeKind::kDoubleSplat:
      for (size_t i = 0; i < value.dict->size; ++i) {
        const Entry& entry = value.dict->entries[i];
        if (!entry.key.is(Kind::kText)) return !FailType("'**' takes names as keys").failed();
        *(*keywords)++ = {entry.key.view(), entry.value};
      }
      return true;
    default:
      *(*positional)++ = value;
      return true;
  }
}

bool Run::EvaluateArguments(const Node* node, Scope* scope, Arguments* arguments) {
  if (node->item_count == 0) return true;
  Value* values = arena_.Make<Value>(node->item_count);
  if (values == nullptr) return !FailMemory().failed();
  for (uint32_t i = 0; i < node->item_count; ++i) {
    const Node* item = node->items[i];
    const bool wrapped = item->kind == NodeKind::kKeyword || item->kind == NodeKind::kSplat ||
                         item->kind == NodeKind::kDoubleSplat;
    values[i] = Evaluate(wrapped ? item->a : item, scope);
    if (values[i].failed()) return false;
    if (item->kind == NodeKind::kSplat) {
      const List* spread = Items(*this, values[i]);
      if (spread == nullptr) return false;
      values[i] = MakeList(Kind::kList, absl::Span<const Value>(spread->items, spread->size));
      if (values[i].failed()) return false;
    }
  }
  size_t positional_count = 0, keyword_count = 0;
  if (!CountArguments(node, values, &positional_count, &keyword_count)) return false;
  Value* positional = arena_.Make<Value>(positional_count);
  Keyword* keywords = positional == nullptr ? nullptr : arena_.Make<Keyword>(keyword_count);
  if (keywords == nullptr) return !FailMemory().failed();
  arguments->positional = absl::Span<const Value>(positional, positional_count);
  arguments->keywords = absl::Span<const Keyword>(keywords, keyword_count);
  for (uint32_t i = 0; i < node->item_count; ++i) {
    if (!AppendArguments(node->items[i], values[i], &positional, &keywords)) return false;
  }
  return true;
}

Value Run::EvaluateCall(const Node* node, Scope* scope) {
  const Value callee = Evaluate(node->a, scope);
  Arguments arguments;
  if (callee.failed() || !EvaluateArguments(node, scope, &arguments)) return Value::Failed();
  line_ = node->line;
  return CallValue(callee, arguments.positional, arguments.keywords);
}

Value Run::CallValue(const Value& callee, absl::Span<const Value> positional,
                     absl::Span<const Keyword> keywords) {
  if (callee.is(Kind::kUndefined)) return FailUndefined(callee);
  const Arguments arguments = {positional, keywords};
  if (callee.is(Kind::kLoop)) return CallLoop(callee.loop, arguments);
  if (!callee.is(Kind::kCallable)) return FailType(absl::StrCat("'", TypeName(callee), "' cannot be called"));
  if (callee.callable->macro != nullptr) return CallMacro(*callee.callable, arguments);
  return CallBuiltin(*callee.callable->builtin, callee.callable->self, positional, keywords);
}

Value Run::CallBuiltin(const Builtin& builtin, const Value& self, absl::Span<const Value> positional,
                       absl::Span<const Keyword> keywords) {
  Call call;
  call.builtin = &builtin;
  call.self = self;
  call.positional = positional;
  call.keywords = keywords;
  if (builtin.parameters == nullptr) return builtin.function(*this, call);
  // The parameters' names, in order; then each argument finds its own.
  absl::string_view names[kMostParameters];
  size_t count = 0;
  for (absl::string_view left = builtin.parameters; !left.empty();) {
    const size_t comma = std::min(left.find(','), left.size());
    names[count++] = left.substr(0, comma);
    left.remove_prefix(std::min(comma + 1, left.size()));
  }
  if (positional.size() > count) {
    return FailType(
        absl::StrCat("'", builtin.name, "' takes at most ", count, " arguments, not ", positional.size()));
  }
  std::copy(positional.begin(), positional.end(), call.bound);
  for (const Keyword& keyword : keywords) {
    const size_t place = static_cast<size_t>(std::find(names, names + count, keyword.name) - names);
    if (place == count || !call.bound[place].absent()) {
      return FailType(absl::StrCat("'", builtin.name, "' takes no argument '", keyword.name.substr(0, 64),
                                   "'", place == count ? "" : " twice"));
    }
    call.bound[place] = keyword.value;
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if (call.bound[i].absent())
      return FailType(absl::StrCat("'", builtin.name, "' lacks its argument '", names[i], "'"));
  }
  return builtin.function(*this, call);
}

Value Run::EvaluateFilter(const Node* node, Scope* scope, const Value& input) {
  const Deeper deeper(this);
  if (!deeper) return Value::Failed();
  // Below the first of a block's filters there is no operand: it is the block's text.
  const Value value = node->a == nullptr                   ? input
                      : node->a->kind == NodeKind::kFilter ? EvaluateFilter(node->a, scope, input)
                                                           : Evaluate(node->a, scope);
  Arguments arguments;
  if (value.failed() || !Charge(1) || !EvaluateArguments(node, scope, &arguments)) return Value::Failed();
  line_ = node->line;
  if (node->builtin == nullptr) {
    return Fail(ErrorCode::kUnsupported,
                absl::StrCat("the filter '", node->name.substr(0, 64), "' is not known"));
  }
  return CallBuiltin(*node->builtin, value, arguments.positional, arguments.keywords);
}

Value Run::EvaluateTest(const Node* node, Scope* scope) {
  const Value value = Evaluate(node->a, scope);
  Arguments arguments;
  if (value.failed() || !EvaluateArguments(node, scope, &arguments)) return Value::Failed();
  line_ = node->line;
  if (node->builtin == nullptr) {
    return Fail(ErrorCode::kUnsupported,
                absl::StrCat("the test '", node->name.substr(0, 64), "' is not known"));
  }
  return CallBuiltin(*node->builtin, value, arguments.positional, arguments.keywords);
}

bool Run::BindMacro(const Callable& macro, const Arguments& arguments, Scope* scope) {
  const Node& node = *macro.macro;
  const size_t given = std::min<size_t>(arguments.positional.size(), node.item_count);
  if (given < arguments.positional.size() && (node.uses & kUsesVarargs) == 0) {
    return !FailType(
                absl::StrCat("the macro '", node.name, "' takes at most ", node.item_count, " arguments"))
                .failed();
  }
  size_t taken_keywords = 0;
  for (uint32_t i = 0; i < node.item_count; ++i) {
    const Node& parameter = *node.items[i];
    Value value = i < given ? arguments.positional[i] : Value::Absent();
    for (const Keyword& keyword : arguments.keywords) {
      if (keyword.name != parameter.name) continue;
      if (!value.absent()) return !FailType(absl::StrCat("'", keyword.name, "' is given twice")).failed();
      value = keyword.value;
      ++taken_keywords;
    }
    if (value.absent() && parameter.a != nullptr) value = Evaluate(parameter.a, scope);
    if (value.absent()) value = MakeUndefined(Undefined::Why::kName, parameter.name);
    if (value.failed() || !Assign(scope, parameter.name, value)) return false;
  }
  if (taken_keywords < arguments.keywords.size() && (node.uses & kUsesKwargs) == 0) {
    return !FailType(absl::StrCat("the macro '", node.name, "' has no parameter of a name that is given"))
                .failed();
  }
  if ((node.uses & kUsesVarargs) != 0) {
    const Value rest = MakeList(Kind::kTuple, arguments.positional.subspan(given));
    if (rest.failed() || !Assign(scope, "varargs", rest)) return false;
  }
  if ((node.uses & kUsesKwargs) != 0) {
    const Value rest = MakeDict(0);
    if (rest.failed()) return false;
    for (const Keyword& keyword : arguments.keywords) {
      const auto names = [&](const Node* parameter) { return parameter->name == keyword.name; };
      if (std::any_of(node.items, node.items + node.item_count, names)) continue;
      const Value name = MakeText(keyword.name);
      if (name.failed() || !Put(*this, rest.dict, name, keyword.value)) return false;
    }
    if (!Assign(scope, "kwargs", rest)) return false;
  }
  if ((node.uses & kUsesCaller) == 0) return true;
  return Assign(scope, "caller",
                macro.caller.absent() ? MakeUndefined(Undefined::Why::kName, "caller") : macro.caller);
}

Value Run::CallMacro(const Callable& macro, const Arguments& arguments) {
  const Deeper deeper(this);
  Scope* scope = deeper ? NewScope(macro.scope) : nullptr;
  if (scope == nullptr || !BindMacro(macro, arguments, scope)) return Value::Failed();
  TextBuilder text(*this);
  if (Execute(macro.macro->d, scope, &text) == Flow::kFailed) return Value::Failed();
  return text.FinishValue();
}

Value Run::CallLoop(Loop* loop, const Arguments& arguments) {
  if (loop->recursive == nullptr) return FailType("only a loop that is marked 'recursive' can be called");
  if (arguments.positional.size() != 1 || !arguments.keywords.empty()) {
    return FailType("a loop is called with what to loop over");
  }
  TextBuilder text(*this);
  const Flow flow =
      ExecuteFor(loop->recursive, arguments.positional[0], loop->scope, loop->depth0 + 1, &text);
  return flow == Flow::kFailed ? Value::Failed() : text.FinishValue();
}

}  // namespace tessera::jinja
