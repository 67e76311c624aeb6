// One rendering: walks the tree, keeps the scopes, counts what it uses. One thread; lives for one call. The
// first failure ends it: from then on every operation answers Value::Failed or false, and status() says why.
#ifndef TESSERA_CORE_TEXT_JINJA_RUN_H_
#define TESSERA_CORE_TEXT_JINJA_RUN_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/status.h"
#include "core/env/local_time.h"
#include "core/text/jinja/arena.h"
#include "core/text/jinja/ast.h"
#include "core/text/jinja/builtins.h"
#include "core/text/jinja/limits.h"
#include "core/text/jinja/text_builder.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

struct Slot {
  absl::string_view name;
  Value value;
};

struct Scope {
  Scope* parent = nullptr;
  Slot* slots = nullptr;
  uint32_t count = 0;
  uint32_t capacity = 0;
};

class Run {
 public:
  Run(const Limits& limits, const LocalTime& now)
      : limits_(limits), now_(now), arena_(limits.max_memory_bytes) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // A name that the template sees.
  bool Define(absl::string_view name, const Value& value) { return Assign(&root_, name, value); }
  // The template's text; null when it failed.
  const Text* Render(const Node* body);

  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }
  Value Fail(ErrorCode code, absl::string_view message);  // at the line that is being evaluated
  Value FailType(absl::string_view message) { return Fail(ErrorCode::kInvalidArgument, message); }
  Value FailMemory();
  Value FailUndefined(const Value& undefined);
  // Counts work; false once there was too much of it.
  bool Charge(size_t steps) {
    steps_ += static_cast<int64_t>(steps);
    return steps_ <= limits_.max_steps || FailSteps();
  }

  Arena& arena() { return arena_; }
  int64_t steps() const { return steps_; }
  const LocalTime& now() const { return now_; }

  // Values of the arena; Failed when memory runs out. The bytes of texts must outlive the run or lie in it.
  Value MakeText(const Text& text);
  Value MakeText(absl::string_view literal) { return MakeText(Text{literal.data(), literal.size()}); }
  Value MakeList(Kind kind, size_t size, Value** items);  // *items [size] are for the caller to fill
  Value MakeList(Kind kind, absl::Span<const Value> items);
  Value MakeDict(size_t capacity);  // a kDict, empty
  Value MakeUndefined(Undefined::Why why, absl::string_view name, const char* owner = "");
  Value MakeMethod(const Builtin* builtin, const Value& self);

  // What a template does to values (run_call.cc).
  Value CallValue(const Value& callee, absl::Span<const Value> positional,
                  absl::Span<const Keyword> keywords);
  Value CallBuiltin(const Builtin& builtin, const Value& self, absl::Span<const Value> positional,
                    absl::Span<const Keyword> keywords);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue, kFailed };
  class Deeper;

  struct Arguments {
    absl::Span<const Value> positional;
    absl::Span<const Keyword> keywords;
  };

  bool FailSteps();
  Scope* NewScope(Scope* parent);
  bool Assign(Scope* scope, absl::string_view name, const Value& value);
  bool AssignTarget(const Node* target, const Value& value, Scope* scope);
  Value Lookup(const Scope* scope, absl::string_view name);

  // run_statement.cc. `out` gets the text.
  Flow Execute(const Node* node, Scope* scope, TextBuilder* out);
  Flow ExecuteBody(const Node* node, Scope* scope, TextBuilder* out);
  Flow ExecuteIf(const Node* node, Scope* scope, TextBuilder* out);
  Flow ExecuteFor(const Node* node, const Value& iterable, Scope* scope, size_t depth0, TextBuilder* out);
  Flow ExecuteSet(const Node* node, Scope* scope);
  Flow ExecuteWith(const Node* node, Scope* scope, TextBuilder* out);
  Flow ExecuteCallBlock(const Node* node, Scope* scope, TextBuilder* out);
  Flow Print(const Value& value, TextBuilder* out);
  Value Capture(const Node* body, const Node* filters, Scope* scope);
  List* FilteredItems(const Node* node, const Value& iterable, Scope* scope);
  Value MakeMacro(const Node* node, Scope* scope);

  // run_expression.cc
  Value Evaluate(const Node* node, Scope* scope);
  Value EvaluateItems(const Node* node, Scope* scope);
  Value EvaluateDict(const Node* node, Scope* scope);
  Value EvaluateConcat(const Node* node, Scope* scope);
  Value EvaluateCompare(const Node* node, Scope* scope);
  Value EvaluateConditional(const Node* node, Scope* scope);
  Value EvaluateItem(const Node* node, Scope* scope);
  Value EvaluateUnary(const Node* node, Scope* scope);
  Value EvaluateBinary(const Node* node, Scope* scope);

  // run_call.cc. `input`: what a block's text gave, where a filter's node has no operand.
  bool EvaluateArguments(const Node* node, Scope* scope, Arguments* arguments);
  bool AppendArguments(const Node* argument, const Value& value, Value** positional, Keyword** keywords);
  bool CountArguments(const Node* node, const Value* values, size_t* positional, size_t* keywords);
  Value EvaluateCall(const Node* node, Scope* scope);
  Value EvaluateFilter(const Node* node, Scope* scope, const Value& input);
  Value EvaluateTest(const Node* node, Scope* scope);
  Value CallMacro(const Callable& macro, const Arguments& arguments);
  bool BindMacro(const Callable& macro, const Arguments& arguments, Scope* scope);
  Value CallLoop(Loop* loop, const Arguments& arguments);

  Limits limits_;
  LocalTime now_;
  Arena arena_;
  Scope root_;
  int64_t steps_ = 0;
  int depth_ = 0;
  uint32_t line_ = 1;
  absl::Status status_;
};

// Counts a node inside others for as long as it lives; false when that is one too many.
class Run::Deeper {
 public:
  explicit Deeper(Run* run) : run_(run), fits_(++run->depth_ <= kDeepestEvaluation) {
    if (!fits_) run->Fail(ErrorCode::kLimitExceeded, "calls and expressions are nested too deep");
  }
  ~Deeper() { --run_->depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  explicit operator bool() const { return fits_; }

 private:
  Run* run_;
  bool fits_;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_RUN_H_
