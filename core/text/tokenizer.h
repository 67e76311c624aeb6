// Text to tokens and back. Immutable after construction: any thread may call any method, several at once.
#ifndef TESSERA_CORE_TEXT_TOKENIZER_H_
#define TESSERA_CORE_TEXT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/model/gguf.h"

namespace tessera {

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

struct TokenizeOptions {
  bool add_special = false;    // begin- and end-of-text tokens, where the file asks for them
  bool parse_special = false;  // "<|im_start|>" in the text becomes that token; otherwise it is plain text
  // Where parse_special does not hold: a special token that lies wholly in one of these stays text. Sorted;
  // they do not touch. Needed during the call only.
  absl::Span<const TextRange> plain = {};
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual int32_t vocabulary_size() const = 0;

  // kInvalidUtf8 with the byte offset of the first bad sequence; kLimitExceeded above 2^31 - 1 bytes.
  // `tokens` is appended to, unchanged on error. The tokens' bytes, specials rendered, are the text again,
  // but for bytes that the vocabulary has no token for (SmolLM2 lacks U+0004 and planes 4 to 11): they are
  // left out, as the reference tokenizers do.
  virtual absl::Status Tokenize(absl::string_view text, const TokenizeOptions& options,
                                std::vector<int32_t>* tokens) const = 0;

  // The bytes a token stands for; "" for ids outside the vocabulary. For special tokens, their text when
  // `render_special`, else "". The view lives as long as the tokenizer. A token may hold part of a code
  // point.
  virtual absl::string_view TokenBytes(int32_t token, bool render_special) const = 0;
  virtual bool IsSpecial(int32_t token) const = 0;  // control tokens: "<|im_end|>"
  virtual size_t longest_token_bytes() const = 0;
  virtual size_t heap_bytes() const = 0;  // that its tables take, about

  virtual int32_t bos_token() const = 0;  // -1: none
  // The one that the file names as the end of a text or a turn; -1: none.
  virtual int32_t end_token() const = 0;
  // End-of-turn and end-of-text tokens by the file's metadata: generation ends at any of them. Sorted.
  virtual absl::Span<const int32_t> end_tokens() const = 0;
};

// From tokenizer.ggml.* of the file. kUnsupported names the tokenizer model or pre-tokenizer that this build
// does not know; kCorrupt names the key that is missing or contradicts another.
absl::StatusOr<std::unique_ptr<Tokenizer>> ReadTokenizer(const GgufFile& file, int32_t vocabulary_size);

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_TOKENIZER_H_
