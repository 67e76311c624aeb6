#include "core/text/jinja/text_functions.h"

#include <algorithm>
#include <limits>

#include "core/text/jinja/code_points.h"
#include "core/text/jinja/operations.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/text_builder.h"

namespace tessera::jinja {
namespace {

// A list whose length is not known beforehand.
class Growing {
 public:
  explicit Growing(Run& run) : run_(run) {}
  bool Add(const Value& value) {
    if (value.failed() || !run_.Charge(1)) return false;
    if (size_ == capacity_) {
      const size_t capacity = std::max<size_t>(8, 2 * capacity_);
      Value* items = run_.arena().Make<Value>(capacity);
      if (items == nullptr) return !run_.FailMemory().failed();
      std::copy_n(items_, size_, items);
      items_ = items;
      capacity_ = capacity;
    }
    items_[size_++] = value;
    return true;
  }
  Value Finish(bool reversed = false) {
    if (reversed) std::reverse(items_, items_ + size_);
    return run_.MakeList(Kind::kList, absl::Span<const Value>(items_, size_));
  }

 private:
  Run& run_;
  Value* items_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

size_t PointBefore(absl::string_view text, size_t end) {
  do {
    --end;
  } while (IsContinuation(text[end]));
  return end;
}

Value SplitAtSpace(Run& run, const Text& text, int64_t most) {
  Growing parts(run);
  for (size_t at = SkipSpace(text.view(), 0); at < text.size;) {
    if (most-- == 0) {
      return parts.Add(run.MakeText(text.Part(at, text.size))) ? parts.Finish() : Value::Failed();
    }
    size_t end = at;
    while (end < text.size) {
      const CodePoint point = DecodeUtf8(text.data + end);
      if (IsSpace(point.value)) break;
      end += point.bytes;
    }
    if (!parts.Add(run.MakeText(text.Part(at, end)))) return Value::Failed();
    at = SkipSpace(text.view(), end);
  }
  return parts.Finish();
}

Value SplitAtSpaceFromRight(Run& run, const Text& text, int64_t most) {
  Growing parts(run);
  const absl::string_view view = text.view();
  for (size_t end = EndWithoutSpace(view); end > 0;) {
    if (most-- == 0) {
      return parts.Add(run.MakeText(text.Part(0, end))) ? parts.Finish(true) : Value::Failed();
    }
    size_t begin = end;
    while (begin > 0) {
      const size_t before = PointBefore(view, begin);
      if (IsSpace(DecodeUtf8(text.data + before).value)) break;
      begin = before;
    }
    if (!parts.Add(run.MakeText(text.Part(begin, end)))) return Value::Failed();
    end = EndWithoutSpace(view.substr(0, begin));
  }
  return parts.Finish(true);
}

bool EndsLine(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

const Text* NeedText(Run& run, const Value& value) {
  if (value.is(Kind::kText)) return value.text;
  if (value.is(Kind::kUndefined)) {
    run.FailUndefined(value);
  } else {
    run.FailType(absl::StrCat("a string is expected, not '", TypeName(value), "'"));
  }
  return nullptr;
}

bool NeedInt(Run& run, const Value& value, int64_t otherwise, int64_t* result) {
  *result = otherwise;
  if (value.absent() || value.is(Kind::kNone)) return true;
  if (!value.is_integer()) {
    run.FailType(absl::StrCat("an integer is expected, not '", TypeName(value), "'"));
    return false;
  }
  *result = value.AsInt();
  return true;
}

Value Strip(Run& run, const Text& text, const Value& characters, bool left, bool right) {
  if (!run.Charge(text.size / 32)) return Value::Failed();
  const absl::string_view view = text.view();
  if (characters.absent() || characters.is(Kind::kNone)) {
    const size_t end = right ? EndWithoutSpace(view) : view.size();
    const size_t begin = left ? SkipSpace(view.substr(0, end), 0) : 0;
    return run.MakeText(text.Part(begin, end));
  }
  const Text* set = NeedText(run, characters);
  if (set == nullptr) return Value::Failed();
  size_t begin = 0, end = view.size();
  const auto holds = [&](size_t from, size_t to) {
    return set->view().find(view.substr(from, to - from)) != absl::string_view::npos;
  };
  while (left && begin < end && run.Charge(1 + set->size / 16)) {
    const size_t next = begin + DecodeUtf8(view.data() + begin).bytes;
    if (!holds(begin, next)) break;
    begin = next;
  }
  while (right && begin < end && run.Charge(1 + set->size / 16)) {
    const size_t before = PointBefore(view, end);
    if (!holds(before, end)) break;
    end = before;
  }
  return run.failed() ? Value::Failed() : run.MakeText(text.Part(begin, end));
}

Value Replace(Run& run, const Text& text, const Text& from, const Text& to, int64_t count) {
  TextBuilder replaced(run);
  const absl::string_view view = text.view();
  size_t at = 0;
  if (!run.Charge(text.size / 16)) return Value::Failed();
  if (from.size == 0) {  // before each character, and at the end
    for (; count != 0; --count) {
      if (!run.Charge(1) || !replaced.Append(to)) return Value::Failed();
      if (at == view.size()) break;
      const size_t next = at + DecodeUtf8(view.data() + at).bytes;
      if (!replaced.Append(text.Part(at, next))) return Value::Failed();
      at = next;
    }
  }
  for (; from.size > 0 && count != 0; --count) {
    const size_t found = view.find(from.view(), at);
    if (found == absl::string_view::npos) break;
    if (!run.Charge(1) || !replaced.Append(text.Part(at, found)) || !replaced.Append(to))
      return Value::Failed();
    at = found + from.size;
  }
  if (!replaced.Append(text.Part(at, view.size()))) return Value::Failed();
  return replaced.FinishValue(text.markup);
}

Value Split(Run& run, const Text& text, const Value& separator, int64_t most, bool from_right) {
  if (!run.Charge(text.size / 16)) return Value::Failed();
  if (separator.absent() || separator.is(Kind::kNone)) {
    return from_right ? SplitAtSpaceFromRight(run, text, most) : SplitAtSpace(run, text, most);
  }
  const Text* between = NeedText(run, separator);
  if (between == nullptr) return Value::Failed();
  if (between->size == 0) return run.FailType("a separator is empty");
  Growing parts(run);
  const absl::string_view view = text.view();
  if (from_right) {
    size_t end = view.size();
    for (; most != 0; --most) {
      if (end < between->size) break;
      const size_t found = view.rfind(between->view(), end - between->size);
      if (found == absl::string_view::npos) break;
      if (!parts.Add(run.MakeText(text.Part(found + between->size, end)))) return Value::Failed();
      end = found;
    }
    return parts.Add(run.MakeText(text.Part(0, end))) ? parts.Finish(true) : Value::Failed();
  }
  size_t at = 0;
  for (; most != 0; --most) {
    const size_t found = view.find(between->view(), at);
    if (found == absl::string_view::npos) break;
    if (!parts.Add(run.MakeText(text.Part(at, found)))) return Value::Failed();
    at = found + between->size;
  }
  return parts.Add(run.MakeText(text.Part(at, view.size()))) ? parts.Finish() : Value::Failed();
}

Value SplitLines(Run& run, const Text& text, bool keep_ends) {
  Growing lines(run);
  if (!run.Charge(text.size / 16)) return Value::Failed();
  for (size_t begin = 0, at = 0; begin < text.size;) {
    size_t end = text.size, next = text.size;
    for (; at < text.size; at += DecodeUtf8(text.data + at).bytes) {
      const CodePoint point = DecodeUtf8(text.data + at);
      if (!EndsLine(point.value)) continue;
      end = at;
      next = at + point.bytes;
      if (point.value == '\r' && next < text.size && text.data[next] == '\n') ++next;
      break;
    }
    if (!lines.Add(run.MakeText(text.Part(begin, keep_ends ? next : end)))) return Value::Failed();
    begin = at = next;
  }
  return lines.Finish();
}

Value Join(Run& run, const List& items, const Text& between) {
  TextBuilder joined(run);
  for (size_t i = 0; i < items.size; ++i) {
    if (!run.Charge(1) || (i > 0 && !joined.Append(between)) || !AppendText(run, items.items[i], &joined)) {
      return Value::Failed();
    }
  }
  return joined.FinishValue();
}

Value Pad(Run& run, const Text& text, int64_t width, const Text& fill, int left_halves) {
  if (!run.Charge(text.size / 64)) return Value::Failed();
  if (CountCodePoints(fill.view()) != 1) return run.FailType("what fills up must be one character");
  const auto points = static_cast<int64_t>(CountCodePoints(text.view()));
  const int64_t missing = std::max<int64_t>(width - points, 0);
  // Where a half remains, Python gives it to the left when the width is odd.
  const int64_t left = left_halves == 0   ? 0
                       : left_halves == 2 ? missing
                                          : missing / 2 + (missing & width & 1);
  TextBuilder padded(run);
  for (int64_t i = 0; i < left; ++i) {
    if (!run.Charge(1) || !padded.Append(fill)) return Value::Failed();
  }
  if (!padded.Append(text)) return Value::Failed();
  for (int64_t i = left; i < missing; ++i) {
    if (!run.Charge(1) || !padded.Append(fill)) return Value::Failed();
  }
  return padded.FinishValue(text.markup);
}

Value Indent(Run& run, const Text& text, const Text& indent, bool first, bool blank) {
  // As Jinja2 does it: a line end at the text's end is followed by an empty line.
  TextBuilder with_end(run);
  if (!with_end.Append(text) || !with_end.Append('\n', text.from_host)) return Value::Failed();
  const Text* whole = with_end.Finish();
  if (whole == nullptr) return Value::Failed();
  const Value lines = SplitLines(run, *whole, false);
  if (lines.failed()) return lines;
  TextBuilder indented(run);
  for (size_t i = 0; i < lines.list->size; ++i) {
    const Text& line = *lines.list->items[i].text;
    const bool indents = i == 0 ? first : blank || line.size > 0;
    if ((i > 0 && !indented.Append('\n', text.from_host)) || (indents && !indented.Append(indent)) ||
        !indented.Append(line)) {
      return Value::Failed();
    }
  }
  return indented.FinishValue(text.markup);
}

}  // namespace tessera::jinja
