// A parsed template: one kind of node for everything, in an arena, never changed after parsing.
#ifndef TESSERA_CORE_TEXT_JINJA_AST_H_
#define TESSERA_CORE_TEXT_JINJA_AST_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

// Beside each: what its fields mean. Fields that are not named are unused.
enum class NodeKind : uint8_t {
  // Expressions.
  kConstant,         // constant
  kName,             // name
  kList,             // items
  kTuple,            // items
  kDict,             // items: key, value, key, value ...
  kNegate,           // a
  kPlus,             // a
  kNot,              // a
  kAnd,              // a, b
  kOr,               // a, b
  kBinary,           // a op b
  kConcat,           // items
  kCompare,          // a, items: kComparand ...
  kComparand,        // op a
  kConditional,      // b if a else c (may be null)
  kAttribute,        // a.name
  kItem,             // a[b]
  kSlice,            // a:b:c, each may be null; only as the b of kItem
  kCall,             // a(items)
  kFilter,           // a|name(items); a is null where a block's text is filtered
  kTest,             // a is name(items)
  kKeyword,          // name=a, in items of calls
  kSplat,            // *a
  kDoubleSplat,      // **a
  kNamespaceTarget,  // name.text, assigned to; text is a constant
  // Statements.
  kBody,         // items, one after the other
  kData,         // constant: text as it stands
  kPrint,        // a
  kIf,           // items: test, body, test, body ... and, if their number is odd, the else body
  kFor,          // for a in b if c (may be null): d, else e (may be null); flag: recursive
  kSet,          // a = b
  kSetBlock,     // a = the text of d, through the filters b (may be null)
  kMacro,        // name(items: kParameter ...): d
  kParameter,    // name, default a (may be null)
  kCallBlock,    // a is the call; items: kParameter ...; d
  kFilterBlock,  // b: the filters; d
  kWith,         // items: target, value, target, value ...; d
  kScope,        // d, whose names end with it
  kBreak,
  kContinue,
};

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

// Names that a macro gets only when it asks for them.
inline constexpr uint8_t kUsesVarargs = 1;
inline constexpr uint8_t kUsesKwargs = 2;
inline constexpr uint8_t kUsesCaller = 4;

struct Node {
  NodeKind kind = NodeKind::kBody;
  Operator op = Operator::kAdd;
  bool flag = false;
  uint16_t depth = 1;  // of the tree below, this node included
  uint32_t line = 0;   // of the template, from 1
  absl::string_view name;
  const Node* a = nullptr;
  const Node* b = nullptr;
  const Node* c = nullptr;
  const Node* d = nullptr;
  const Node* e = nullptr;
  const Node** items = nullptr;
  uint32_t item_count = 0;
  const Builtin* builtin =
      nullptr;       // kFilter, kTest: found by name when the template was parsed; null: unknown
  uint8_t uses = 0;  // kMacro, kCallBlock: which of the names below their body reads
  Value constant;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_AST_H_
