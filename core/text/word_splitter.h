// Pre-tokenizers: cut text into the words inside which byte pairs may merge. The published ones are patterns
// with look-ahead over Unicode classes; they are so alike that a few choices describe each, and a
// hand-written scanner is linear in the text, needs no memory, and is not tied to a pattern library's version
// of Unicode.
#ifndef TESSERA_CORE_TEXT_WORD_SPLITTER_H_
#define TESSERA_CORE_TEXT_WORD_SPLITTER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/text/unicode_class.h"

namespace tessera {

enum class WordStyle : uint8_t {
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kGpt2,
  // The same on the pieces that remain when each number character stands alone.
  kGpt2SingleDigits,
  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most_digits}| ?[^\s\p{L}\p{N}]+[\r\n]*
  // |\s*[\r\n]+|\s+(?!\S)|\s+
  kLlama3,
};

// One row of the table of known pre-tokenizers.
struct SplitRules {
  absl::string_view name;  // as in tokenizer.ggml.pre
  uint32_t most_digits;    // in a word, for kLlama3
  WordStyle style;
  bool whole_words;  // a word that is a token is that token, whatever the merges say
  bool adds_bos;     // where the file says nothing
};

// Null: not known.
const SplitRules* FindSplitRules(absl::string_view name);

// Walks over one text, which is valid UTF-8 and outlives it.
class WordSplitter {
 public:
  WordSplitter(const SplitRules& rules, absl::string_view text) : rules_(rules), text_(text) {}

  // False at the end. The words, put together, are the text.
  bool Next(absl::string_view* word);

 private:
  struct Character {
    uint32_t code_point;
    CharClass char_class;
    size_t end;  // offset of the next one
  };

  Character At(size_t offset) const;
  size_t RunEnd(CharClass char_class, size_t offset) const;
  size_t ContractionEnd(size_t offset) const;
  size_t SpaceEnd(size_t offset) const;
  size_t Gpt2End(size_t offset) const;
  size_t Llama3End(size_t offset) const;

  const SplitRules& rules_;
  absl::string_view text_;
  size_t offset_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_WORD_SPLITTER_H_
