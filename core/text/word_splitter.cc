// The scanners behind the pre-tokenizers' patterns. Each function is one alternative of a pattern, in its
// order.
#include "core/text/word_splitter.h"

#include "core/text/utf8_sequence.h"

namespace tessera {
namespace {

constexpr SplitRules kKnownRules[] = {
    {"smollm", 1, WordStyle::kGpt2SingleDigits, false, false},
    {"starcoder", 1, WordStyle::kGpt2SingleDigits, false, false},
    {"gpt-2", 0, WordStyle::kGpt2, false, false},
    {"phi-2", 0, WordStyle::kGpt2, false, false},
    {"llama-bpe", 3, WordStyle::kLlama3, true, true},
    {"llama3", 3, WordStyle::kLlama3, true, true},
    {"llama-v3", 3, WordStyle::kLlama3, true, true},
    {"qwen2", 1, WordStyle::kLlama3, false, false},
    {"deepseek-r1-qwen", 1, WordStyle::kLlama3, false, false},
};

bool IsNewline(uint32_t code_point) { return code_point == '\r' || code_point == '\n'; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

}  // namespace

const SplitRules* FindSplitRules(absl::string_view name) {
  for (const SplitRules& rules : kKnownRules) {
    if (rules.name == name) return &rules;
  }
  return nullptr;
}

bool WordSplitter::Next(absl::string_view* word) {
  if (offset_ == text_.size()) return false;
  size_t end = text_[offset_] == '\'' ? ContractionEnd(offset_) : offset_;
  if (end == offset_) {
    end = rules_.style == WordStyle::kLlama3 ? Llama3End(offset_) : Gpt2End(offset_);
  }
  *word = text_.substr(offset_, end - offset_);
  offset_ = end;
  return true;
}

WordSplitter::Character WordSplitter::At(size_t offset) const {
  const CodePoint code_point = DecodeUtf8(text_.data() + offset);
  CharClass char_class = ClassOf(code_point.value);
  if (char_class == CharClass::kNewNumber) {
    char_class = rules_.style == WordStyle::kGpt2SingleDigits ? CharClass::kNumber : CharClass::kOther;
  }
  return {code_point.value, char_class, offset + code_point.bytes};
}

size_t WordSplitter::RunEnd(CharClass char_class, size_t offset) const {
  while (offset < text_.size()) {
    const Character next = At(offset);
    if (next.char_class != char_class) break;
    offset = next.end;
  }
  return offset;
}

// `offset` is at an apostrophe; returns it when no contraction follows.
size_t WordSplitter::ContractionEnd(size_t offset) const {
  const bool any_case = rules_.style == WordStyle::kLlama3;
  const auto at = [&](size_t i) {
    if (offset + i >= text_.size()) return '\0';
    return any_case ? Lower(text_[offset + i]) : text_[offset + i];
  };
  const char first = at(1);
  const char second = at(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return offset + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return offset + 3;
  if (first == 'l' && second == 'l') return offset + 3;
  // U+017F, the long s, is the one other character that folds to a letter of these.
  if (any_case && first == '\xC5' && second == '\xBF') return offset + 3;
  return offset;
}

// \s+(?!\S)|\s+: white space leaves its last character to a word that follows, unless it has only one.
size_t WordSplitter::SpaceEnd(size_t offset) const {
  size_t last = offset;
  size_t end = offset;
  while (end < text_.size()) {
    const Character next = At(end);
    if (next.char_class != CharClass::kSpace) {
      // A number that stands alone was cut off before the pattern looked, so that the text ends here for it.
      const bool cut = rules_.style == WordStyle::kGpt2SingleDigits && next.char_class == CharClass::kNumber;
      return cut || last == offset ? end : last;
    }
    last = end;
    end = next.end;
  }
  return end;
}

size_t WordSplitter::Gpt2End(size_t offset) const {
  const bool single_digits = rules_.style == WordStyle::kGpt2SingleDigits;
  const Character first = At(offset);
  if (single_digits && first.char_class == CharClass::kNumber) return first.end;
  if (first.char_class != CharClass::kSpace) return RunEnd(first.char_class, first.end);
  if (first.code_point == ' ' && first.end < text_.size()) {
    const Character next = At(first.end);
    const bool cut = single_digits && next.char_class == CharClass::kNumber;
    if (next.char_class != CharClass::kSpace && !cut) return RunEnd(next.char_class, next.end);
  }
  return SpaceEnd(offset);
}

size_t WordSplitter::Llama3End(size_t offset) const {
  const Character first = At(offset);
  if (first.char_class == CharClass::kLetter) return RunEnd(CharClass::kLetter, first.end);
  if (first.char_class == CharClass::kNumber) {
    size_t end = first.end;
    for (uint32_t digits = 1; digits < rules_.most_digits && end < text_.size(); ++digits) {
      const Character next = At(end);
      if (next.char_class != CharClass::kNumber) break;
      end = next.end;
    }
    return end;
  }
  CharClass next_class = CharClass::kSpace;  // the text's end is as good as white space below
  if (first.end < text_.size()) next_class = At(first.end).char_class;
  if (!IsNewline(first.code_point) && next_class == CharClass::kLetter) {
    return RunEnd(CharClass::kLetter, first.end);
  }
  if (first.char_class == CharClass::kOther || (first.code_point == ' ' && next_class == CharClass::kOther)) {
    size_t end = RunEnd(CharClass::kOther, first.end);
    while (end < text_.size() && IsNewline(static_cast<unsigned char>(text_[end]))) ++end;
    return end;
  }
  // \s*[\r\n]+ takes the white space up to the last line break in it.
  size_t after_newline = offset;
  for (size_t end = offset; end < text_.size();) {
    const Character next = At(end);
    if (next.char_class != CharClass::kSpace) break;
    end = next.end;
    if (IsNewline(next.code_point)) after_newline = end;
  }
  return after_newline > offset ? after_newline : SpaceEnd(offset);
}

}  // namespace tessera
