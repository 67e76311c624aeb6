#include "core/text/jinja/case_mapping.h"

#include <algorithm>
#include <iterator>

#include "core/text/jinja/code_points.h"
#include "core/text/jinja/text_builder.h"

namespace tessera::jinja {
namespace {

struct CaseRange {
  uint32_t first, last, step;
  int32_t distance;
};
struct CaseExpansion {
  uint32_t code_point;
  CaseResult result;
};

#include "core/text/jinja/case_ranges.inc"

template <size_t kCount>
uint32_t Shift(const CaseRange (&ranges)[kCount], uint32_t c) {
  const CaseRange* found =
      std::lower_bound(std::begin(ranges), std::end(ranges), c,
                       [](const CaseRange& range, uint32_t value) { return range.last < value; });
  if (found == std::end(ranges) || c < found->first || (c - found->first) % found->step != 0) return c;
  return static_cast<uint32_t>(static_cast<int32_t>(c) + found->distance);
}

template <size_t kCount>
const CaseExpansion* FindExpansion(const CaseExpansion (&table)[kCount], uint32_t c) {
  const CaseExpansion* found =
      std::lower_bound(std::begin(table), std::end(table), c,
                       [](const CaseExpansion& entry, uint32_t value) { return entry.code_point < value; });
  return found != std::end(table) && found->code_point == c ? found : nullptr;
}

bool IsCased(uint32_t c) { return IsUpper(c) || IsLower(c); }

bool BeginsTitleWord(uint32_t before) {
  return IsSpace(before) || (before < 0x80 && absl::string_view("-({[<").find(static_cast<char>(before)) !=
                                                  absl::string_view::npos);
}

}  // namespace

CaseResult ChangeCase(uint32_t c, Case to) {
  if (c < 0x80) {
    const uint32_t lower = c | 0x20;
    if (lower < 'a' || lower > 'z') return {{c, 0, 0}};
    return {{to == Case::kLower ? lower : lower - 0x20, 0, 0}};
  }
  if (to == Case::kLower) {
    if (c == 0x130) return {{'i', 0x307, 0}};
    return {{Shift(kLower, c), 0, 0}};
  }
  const CaseExpansion* found = to == Case::kTitle ? FindExpansion(kTitles, c) : nullptr;
  if (found == nullptr) found = FindExpansion(kUpperExpansions, c);
  return found != nullptr ? found->result : CaseResult{{Shift(kUpper, c), 0, 0}};
}

bool IsUpper(uint32_t c) { return ChangeCase(c, Case::kLower).points[0] != c; }
bool IsLower(uint32_t c) { return ChangeCase(c, Case::kUpper).points[0] != c; }

Value ChangeCase(Run& run, const Text& text, CaseStyle style) {
  TextBuilder changed(run);
  uint32_t before = ' ';
  if (!run.Charge(text.size / 16)) return Value::Failed();
  for (size_t at = 0; at < text.size;) {
    const CodePoint point = DecodeUtf8(text.data + at);
    bool upper = style == CaseStyle::kUpper;
    if (style == CaseStyle::kCapitalized) upper = at == 0;
    if (style == CaseStyle::kTitle) upper = !IsCased(before);
    if (style == CaseStyle::kTitleFilter) upper = at == 0 || BeginsTitleWord(before);
    const bool title = style == CaseStyle::kCapitalized || style == CaseStyle::kTitle;
    const CaseResult result = ChangeCase(point.value, !upper  ? Case::kLower
                                                      : title ? Case::kTitle
                                                              : Case::kUpper);
    const bool from_host = text.marks != nullptr ? text.marks[at] != 0 : text.from_host;
    for (const uint32_t c : result.points) {
      if (c == 0 && point.value != 0) break;
      if (!changed.Append(EncodeUtf8(c).view(), from_host)) return Value::Failed();
      if (point.value == 0) break;
    }
    before = point.value;
    at += point.bytes;
  }
  return changed.FinishValue(text.markup);
}

}  // namespace tessera::jinja
