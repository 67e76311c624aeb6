// Methods of strings.
#include <algorithm>

#include "core/text/jinja/builtins.h"
#include "core/text/jinja/case_mapping.h"
#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/text_functions.h"
#include "core/text/unicode_class.h"

namespace tessera::jinja {
namespace {

const Text& Self(const Call& call) { return *call.self.text; }

Value TextUpper(Run& run, const Call& call) { return ChangeCase(run, Self(call), CaseStyle::kUpper); }
Value TextLower(Run& run, const Call& call) { return ChangeCase(run, Self(call), CaseStyle::kLower); }
Value TextTitle(Run& run, const Call& call) { return ChangeCase(run, Self(call), CaseStyle::kTitle); }
Value TextCapitalize(Run& run, const Call& call) {
  return ChangeCase(run, Self(call), CaseStyle::kCapitalized);
}
Value TextStrip(Run& run, const Call& call) { return Strip(run, Self(call), call[0], true, true); }
Value TextLeftStrip(Run& run, const Call& call) { return Strip(run, Self(call), call[0], true, false); }
Value TextRightStrip(Run& run, const Call& call) { return Strip(run, Self(call), call[0], false, true); }

Value SplitMethod(Run& run, const Call& call, bool from_right) {
  int64_t most = -1;
  if (!NeedInt(run, call[1], -1, &most)) return Value::Failed();
  return Split(run, Self(call), call[0], most, from_right);
}
Value TextSplit(Run& run, const Call& call) { return SplitMethod(run, call, false); }
Value TextRightSplit(Run& run, const Call& call) { return SplitMethod(run, call, true); }
Value TextSplitLines(Run& run, const Call& call) {
  return SplitLines(run, Self(call), !call[0].absent() && IsTrue(call[0]));
}

Value TextReplace(Run& run, const Call& call) {
  const Text* from = NeedText(run, call[0]);
  const Text* to = from == nullptr ? nullptr : NeedText(run, call[1]);
  int64_t count = -1;
  if (to == nullptr || !NeedInt(run, call[2], -1, &count)) return Value::Failed();
  return Replace(run, Self(call), *from, *to, count);
}

// The bytes [*begin, *end) that a method's start and end name, counted in characters. False: failed, or they
// lie outside the text, so that nothing can be found.
bool ResolvePart(Run& run, const Text& text, const Value& from, const Value& to, size_t* begin, size_t* end) {
  const auto size = static_cast<int64_t>(CountCodePoints(text.view()));
  int64_t first = 0, last = size;
  if (!run.Charge(text.size / 16) || !NeedInt(run, from, 0, &first) || !NeedInt(run, to, size, &last))
    return false;
  if (first < 0) first = std::max<int64_t>(first + size, 0);
  if (last < 0) last = std::max<int64_t>(last + size, 0);
  if (first > size || first > last) return false;
  *begin = ByteOfCodePoint(text.view(), static_cast<size_t>(first));
  *end = ByteOfCodePoint(text.view(), static_cast<size_t>(std::min(last, size)));
  return true;
}

bool Meets(absl::string_view text, absl::string_view part, bool at_end) {
  if (part.size() > text.size()) return false;
  return text.substr(at_end ? text.size() - part.size() : 0, part.size()) == part;
}

Value MeetsMethod(Run& run, const Call& call, bool at_end) {
  size_t begin = 0, end = 0;
  const bool inside = ResolvePart(run, Self(call), call[1], call[2], &begin, &end);
  if (run.failed()) return Value::Failed();
  const absl::string_view text = inside ? Self(call).view().substr(begin, end - begin) : absl::string_view();
  if (!call[0].is(Kind::kTuple)) {
    const Text* part = NeedText(run, call[0]);
    return part == nullptr ? Value::Failed() : Value::Bool(inside && Meets(text, part->view(), at_end));
  }
  bool meets = false;
  for (size_t i = 0; i < call[0].list->size; ++i) {
    const Text* part = NeedText(run, call[0].list->items[i]);
    if (part == nullptr || !run.Charge(1)) return Value::Failed();
    meets = meets || (inside && Meets(text, part->view(), at_end));
  }
  return Value::Bool(meets);
}
Value TextStartsWith(Run& run, const Call& call) { return MeetsMethod(run, call, false); }
Value TextEndsWith(Run& run, const Call& call) { return MeetsMethod(run, call, true); }

// The character at which the part is found, -1: nowhere.
bool FindPart(Run& run, const Call& call, bool last, int64_t* place) {
  const Text* part = NeedText(run, call[0]);
  size_t begin = 0, end = 0;
  *place = -1;
  if (part == nullptr) return false;
  if (!ResolvePart(run, Self(call), call[1], call[2], &begin, &end)) return !run.failed();
  const absl::string_view text = Self(call).view().substr(begin, end - begin);
  const size_t found = last ? text.rfind(part->view()) : text.find(part->view());
  if (found == absl::string_view::npos) return true;
  *place = static_cast<int64_t>(CountCodePoints(Self(call).view().substr(0, begin + found)));
  return true;
}
Value TextFind(Run& run, const Call& call) {
  int64_t place = 0;
  return FindPart(run, call, false, &place) ? Value::Int(place) : Value::Failed();
}
Value TextRightFind(Run& run, const Call& call) {
  int64_t place = 0;
  return FindPart(run, call, true, &place) ? Value::Int(place) : Value::Failed();
}
Value IndexMethod(Run& run, const Call& call, bool last) {
  int64_t place = 0;
  if (!FindPart(run, call, last, &place)) return Value::Failed();
  return place < 0 ? run.FailType("the substring is not found") : Value::Int(place);
}
Value TextIndex(Run& run, const Call& call) { return IndexMethod(run, call, false); }
Value TextRightIndex(Run& run, const Call& call) { return IndexMethod(run, call, true); }

Value TextCount(Run& run, const Call& call) {
  const Text* part = NeedText(run, call[0]);
  size_t begin = 0, end = 0;
  if (part == nullptr) return Value::Failed();
  if (!ResolvePart(run, Self(call), call[1], call[2], &begin, &end)) {
    return run.failed() ? Value::Failed() : Value::Int(0);
  }
  const absl::string_view text = Self(call).view().substr(begin, end - begin);
  if (part->size == 0) return Value::Int(static_cast<int64_t>(CountCodePoints(text)) + 1);
  int64_t count = 0;
  for (size_t at = text.find(part->view()); at != absl::string_view::npos;
       at = text.find(part->view(), at + part->size)) {
    ++count;
  }
  return Value::Int(count);
}

Value PartitionMethod(Run& run, const Call& call, bool last) {
  const Text* between = NeedText(run, call[0]);
  if (between == nullptr || !run.Charge(Self(call).size / 16)) return Value::Failed();
  if (between->size == 0) return run.FailType("a separator is empty");
  const Text& text = Self(call);
  const size_t found = last ? text.view().rfind(between->view()) : text.view().find(between->view());
  const bool none = found == absl::string_view::npos;
  const size_t cut = none ? (last ? 0 : text.size) : found;
  const size_t behind = none ? cut : found + between->size;
  const Value parts[] = {run.MakeText(text.Part(0, cut)), run.MakeText(text.Part(cut, behind)),
                         run.MakeText(text.Part(behind, text.size))};
  return run.failed() ? Value::Failed() : run.MakeList(Kind::kTuple, parts);
}
Value TextPartition(Run& run, const Call& call) { return PartitionMethod(run, call, false); }
Value TextRightPartition(Run& run, const Call& call) { return PartitionMethod(run, call, true); }

Value TextRemovePrefix(Run& run, const Call& call) {
  const Text* part = NeedText(run, call[0]);
  if (part == nullptr) return Value::Failed();
  const bool meets = Meets(Self(call).view(), part->view(), false);
  return run.MakeText(Self(call).Part(meets ? part->size : 0, Self(call).size));
}
Value TextRemoveSuffix(Run& run, const Call& call) {
  const Text* part = NeedText(run, call[0]);
  if (part == nullptr) return Value::Failed();
  const bool meets = Meets(Self(call).view(), part->view(), true);
  return run.MakeText(Self(call).Part(0, Self(call).size - (meets ? part->size : 0)));
}

Value TextJoin(Run& run, const Call& call) {
  const List* items = Items(run, call[0]);
  if (items == nullptr) return Value::Failed();
  for (size_t i = 0; i < items->size; ++i) {
    if (NeedText(run, items->items[i]) == nullptr) return Value::Failed();
  }
  return Join(run, *items, Self(call));
}

Value TextFormat(Run& run, const Call& call) {
  return BraceFormat(run, Self(call), call.positional, call.keywords);
}

Value PadMethod(Run& run, const Call& call, int left_halves) {
  static constexpr Text kSpace{" ", 1};
  int64_t width = 0;
  const Text* fill = call[1].absent() ? &kSpace : NeedText(run, call[1]);
  if (fill == nullptr || !NeedInt(run, call[0], 0, &width)) return Value::Failed();
  return Pad(run, Self(call), width, *fill, left_halves);
}
Value TextLeftJust(Run& run, const Call& call) { return PadMethod(run, call, 0); }
Value TextRightJust(Run& run, const Call& call) { return PadMethod(run, call, 2); }
Value TextCenter(Run& run, const Call& call) { return PadMethod(run, call, 1); }

Value TextZeroFill(Run& run, const Call& call) {
  static constexpr Text kZero{"0", 1};
  int64_t width = 0;
  if (!NeedInt(run, call[0], 0, &width)) return Value::Failed();
  const Text& text = Self(call);
  const bool sign = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+');
  if (!sign) return Pad(run, text, width, kZero, 2);
  const Value rest = Pad(run, text.Part(1, text.size), width - 1, kZero, 2);
  if (rest.failed()) return rest;
  TextBuilder filled(run);
  return filled.Append(text.Part(0, 1)) && filled.Append(*rest.text) ? filled.FinishValue() : Value::Failed();
}

// True when there are characters and all of them are as asked.
template <typename Predicate>
Value All(Run& run, const Call& call, Predicate&& predicate) {
  const Text& text = Self(call);
  if (!run.Charge(text.size / 16)) return Value::Failed();
  for (size_t at = 0; at < text.size;) {
    const CodePoint point = DecodeUtf8(text.data + at);
    if (!predicate(point.value)) return Value::Bool(false);
    at += point.bytes;
  }
  return Value::Bool(text.size > 0);
}
bool IsLetter(uint32_t c) { return ClassOf(c) == CharClass::kLetter; }
bool IsNumber(uint32_t c) { return ClassOf(c) == CharClass::kNumber || ClassOf(c) == CharClass::kNewNumber; }
Value TextIsAlpha(Run& run, const Call& call) { return All(run, call, IsLetter); }
Value TextIsDigit(Run& run, const Call& call) { return All(run, call, IsNumber); }
Value TextIsAlnum(Run& run, const Call& call) {
  return All(run, call, [](uint32_t c) { return IsLetter(c) || IsNumber(c); });
}
Value TextIsSpace(Run& run, const Call& call) { return All(run, call, IsSpace); }
Value TextIsAscii(Run& run, const Call& call) {
  return Self(call).size == 0 ? Value::Bool(true) : All(run, call, [](uint32_t c) { return c < 0x80; });
}

// No character of the other case, and at least one of this.
Value OneCase(Run& run, const Call& call, bool upper) {
  bool any = false;
  const Value none_other = All(run, call, [&](uint32_t c) {
    const bool is_upper = IsUpper(c), is_lower = !is_upper && IsLower(c);
    any = any || (upper ? is_upper : is_lower);
    return upper ? !is_lower : !is_upper;
  });
  return none_other.failed() ? none_other : Value::Bool(none_other.boolean && any);
}
Value TextIsUpper(Run& run, const Call& call) { return OneCase(run, call, true); }
Value TextIsLower(Run& run, const Call& call) { return OneCase(run, call, false); }

constexpr Builtin kTextMethods[] = {
    {"capitalize", "", 0, TextCapitalize},
    {"casefold", "", 0, TextLower},
    {"center", "width,fillchar", 1, TextCenter},
    {"count", "sub,start,end", 1, TextCount},
    {"endswith", "suffix,start,end", 1, TextEndsWith},
    {"find", "sub,start,end", 1, TextFind},
    {"format", nullptr, 0, TextFormat},
    {"index", "sub,start,end", 1, TextIndex},
    {"isalnum", "", 0, TextIsAlnum},
    {"isalpha", "", 0, TextIsAlpha},
    {"isascii", "", 0, TextIsAscii},
    {"isdecimal", "", 0, TextIsDigit},
    {"isdigit", "", 0, TextIsDigit},
    {"islower", "", 0, TextIsLower},
    {"isnumeric", "", 0, TextIsDigit},
    {"isspace", "", 0, TextIsSpace},
    {"isupper", "", 0, TextIsUpper},
    {"join", "iterable", 1, TextJoin},
    {"ljust", "width,fillchar", 1, TextLeftJust},
    {"lower", "", 0, TextLower},
    {"lstrip", "chars", 0, TextLeftStrip},
    {"partition", "sep", 1, TextPartition},
    {"removeprefix", "prefix", 1, TextRemovePrefix},
    {"removesuffix", "suffix", 1, TextRemoveSuffix},
    {"replace", "old,new,count", 2, TextReplace},
    {"rfind", "sub,start,end", 1, TextRightFind},
    {"rindex", "sub,start,end", 1, TextRightIndex},
    {"rjust", "width,fillchar", 1, TextRightJust},
    {"rpartition", "sep", 1, TextRightPartition},
    {"rsplit", "sep,maxsplit", 0, TextRightSplit},
    {"rstrip", "chars", 0, TextRightStrip},
    {"split", "sep,maxsplit", 0, TextSplit},
    {"splitlines", "keepends", 0, TextSplitLines},
    {"startswith", "prefix,start,end", 1, TextStartsWith},
    {"strip", "chars", 0, TextStrip},
    {"title", "", 0, TextTitle},
    {"upper", "", 0, TextUpper},
    {"zfill", "width", 1, TextZeroFill},
};

}  // namespace

const Builtin* FindTextMethod(absl::string_view name) { return FindIn(kTextMethods, name); }

}  // namespace tessera::jinja
