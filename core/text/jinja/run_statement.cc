// Statements.
#include <algorithm>

#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/run.h"

namespace tessera::jinja {

const Text* Run::Render(const Node* body) {
  TextBuilder out(*this, limits_.max_output_bytes);
  if (failed() || Execute(body, &root_, &out) == Flow::kFailed) return nullptr;
  return out.Finish();
}

Run::Flow Run::Execute(const Node* node, Scope* scope, TextBuilder* out) {
  const Deeper deeper(this);
  if (!deeper || !Charge(1)) return Flow::kFailed;
  line_ = node->line;
  switch (node->kind) {
    case NodeKind::kBody:
      return ExecuteBody(node, scope, out);
    case NodeKind::kData:
      return out->Append(*node->constant.text) ? Flow::kNext : Flow::kFailed;
    case NodeKind::kPrint:
      return Print(Evaluate(node->a, scope), out);
    case NodeKind::kIf:
      return ExecuteIf(node, scope, out);
    case NodeKind::kFor: {
      const Value iterable = Evaluate(node->b, scope);
      return iterable.failed() ? Flow::kFailed : ExecuteFor(node, iterable, scope, 0, out);
    }
    case NodeKind::kSet:
    case NodeKind::kSetBlock:
      return ExecuteSet(node, scope);
    case NodeKind::kMacro: {
      const Value macro = MakeMacro(node, scope);
      return !macro.failed() && Assign(scope, node->name, macro) ? Flow::kNext : Flow::kFailed;
    }
    case NodeKind::kCallBlock:
      return ExecuteCallBlock(node, scope, out);
    case NodeKind::kFilterBlock:
      return Print(Capture(node->d, node->b, scope), out);
    case NodeKind::kWith:
      return ExecuteWith(node, scope, out);
    case NodeKind::kScope: {
      Scope* inner = NewScope(scope);
      return inner == nullptr ? Flow::kFailed : Execute(node->d, inner, out);
    }
    case NodeKind::kBreak:
      return Flow::kBreak;
    case NodeKind::kContinue:
      return Flow::kContinue;
    default:
      Fail(ErrorCode::kInternal, "an expression stands where a statement belongs");
      return Flow::kFailed;
  }
}

Run::Flow Run::ExecuteBody(const Node* node, Scope* scope, TextBuilder* out) {
  for (uint32_t i = 0; i < node->item_count; ++i) {
    const Flow flow = Execute(node->items[i], scope, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Run::Flow Run::Print(const Value& value, TextBuilder* out) {
  return !value.failed() && AppendText(*this, value, out) ? Flow::kNext : Flow::kFailed;
}

Run::Flow Run::ExecuteIf(const Node* node, Scope* scope, TextBuilder* out) {
  uint32_t i = 0;
  for (; i + 1 < node->item_count; i += 2) {
    const Value test = Evaluate(node->items[i], scope);
    if (test.failed()) return Flow::kFailed;
    if (IsTrue(test)) return Execute(node->items[i + 1], scope, out);
  }
  return i < node->item_count ? Execute(node->items[i], scope, out) : Flow::kNext;
}

bool Run::AssignTarget(const Node* target, const Value& value, Scope* scope) {
  const Deeper deeper(this);
  if (!deeper) return false;
  if (target->kind == NodeKind::kName) return Assign(scope, target->name, value);
  if (target->kind == NodeKind::kNamespaceTarget) {
    const Value space = Lookup(scope, target->name);
    if (space.failed()) return false;
    line_ = target->line;
    if (!space.is(Kind::kNamespace)) {
      return !FailType(absl::StrCat("'", target->name, "' is no namespace: its attributes cannot be set"))
                  .failed();
    }
    if (target->constant.view().substr(0, 1) == "_") {
      return !FailType("a namespace's attributes may not begin with '_'").failed();
    }
    return Put(*this, space.dict, target->constant, value);
  }
  const List* items = Items(*this, value);
  if (items == nullptr) return false;
  if (items->size != target->item_count) {
    return !FailType(absl::StrCat(items->size, " values cannot be given to ", target->item_count, " names"))
                .failed();
  }
  for (uint32_t i = 0; i < target->item_count; ++i) {
    if (!AssignTarget(target->items[i], items->items[i], scope)) return false;
  }
  return true;
}

// What is looped over: all of it, or what the loop's own condition leaves. Null once the run has failed.
List* Run::FilteredItems(const Node* node, const Value& iterable, Scope* scope) {
  const List* all = Items(*this, iterable);
  if (all == nullptr) return nullptr;
  Value* kept = nullptr;
  const Value list = MakeList(Kind::kList, all->size, &kept);
  if (list.failed()) return nullptr;
  if (node->c == nullptr) {
    std::copy_n(all->items, all->size, kept);
    return list.list;
  }
  size_t count = 0;
  for (size_t i = 0; i < all->size; ++i) {
    Scope* inner = NewScope(scope);
    if (inner == nullptr || !AssignTarget(node->a, all->items[i], inner)) return nullptr;
    const Value keep = Evaluate(node->c, inner);
    if (keep.failed()) return nullptr;
    if (IsTrue(keep)) kept[count++] = all->items[i];
  }
  list.list->size = count;
  return list.list;
}

Run::Flow Run::ExecuteFor(const Node* node, const Value& iterable, Scope* scope, size_t depth0,
                          TextBuilder* out) {
  const List* items = FilteredItems(node, iterable, scope);
  if (items == nullptr) return Flow::kFailed;
  if (items->size == 0 && node->e != nullptr) {
    Scope* inner = NewScope(scope);
    return inner == nullptr ? Flow::kFailed : Execute(node->e, inner, out);
  }
  Loop* loop = arena_.Make<Loop>();
  if (loop == nullptr) {
    FailMemory();
    return Flow::kFailed;
  }
  loop->items = items;
  loop->depth0 = depth0;
  loop->recursive = node->flag ? node : nullptr;
  loop->scope = scope;
  for (size_t i = 0; i < items->size; ++i) {
    loop->index0 = i;
    Scope* inner = NewScope(scope);
    if (inner == nullptr || !Assign(inner, "loop", Value::Of(loop)) ||
        !AssignTarget(node->a, items->items[i], inner)) {
      return Flow::kFailed;
    }
    const Flow flow = Execute(node->d, inner, out);
    if (flow == Flow::kFailed) return flow;
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

// The text that a block's body gives, through its filters.
Value Run::Capture(const Node* body, const Node* filters, Scope* scope) {
  TextBuilder text(*this);
  Scope* inner = NewScope(scope);
  if (inner == nullptr || Execute(body, inner, &text) == Flow::kFailed) return Value::Failed();
  const Value captured = text.FinishValue();
  return captured.failed() || filters == nullptr ? captured : EvaluateFilter(filters, scope, captured);
}

Run::Flow Run::ExecuteSet(const Node* node, Scope* scope) {
  const Value value =
      node->kind == NodeKind::kSet ? Evaluate(node->b, scope) : Capture(node->d, node->b, scope);
  return !value.failed() && AssignTarget(node->a, value, scope) ? Flow::kNext : Flow::kFailed;
}

Run::Flow Run::ExecuteWith(const Node* node, Scope* scope, TextBuilder* out) {
  Scope* inner = NewScope(scope);
  if (inner == nullptr) return Flow::kFailed;
  for (uint32_t i = 0; i + 1 < node->item_count; i += 2) {
    const Value value = Evaluate(node->items[i + 1], scope);
    if (value.failed() || !AssignTarget(node->items[i], value, inner)) return Flow::kFailed;
  }
  return Execute(node->d, inner, out);
}

Value Run::MakeMacro(const Node* node, Scope* scope) {
  Callable* macro = arena_.Make<Callable>();
  if (macro == nullptr) return FailMemory();
  macro->macro = node;
  macro->scope = scope;
  return Value::Of(macro);
}

Run::Flow Run::ExecuteCallBlock(const Node* node, Scope* scope, TextBuilder* out) {
  const Value callee = Evaluate(node->a->a, scope);
  Arguments arguments;
  if (callee.failed() || !EvaluateArguments(node->a, scope, &arguments)) return Flow::kFailed;
  line_ = node->line;
  const Value caller = MakeMacro(node, scope);
  if (caller.failed()) return Flow::kFailed;
  const bool macro = callee.is(Kind::kCallable) && callee.callable->macro != nullptr;
  if (!macro) return Print(FailType("a call block calls a macro"), out);
  if ((callee.callable->macro->uses & kUsesCaller) == 0) {
    return Print(
        FailType(absl::StrCat("the macro '", callee.callable->macro->name, "' does not use 'caller'")), out);
  }
  Callable with_caller = *callee.callable;
  with_caller.caller = caller;
  return Print(CallMacro(with_caller, arguments), out);
}

}  // namespace tessera::jinja
