// What a byte-level BPE tokenizer is made of, whatever file it came from. Not yet checked: the tokenizer's
// parts do that as they are built. Views point into the file's metadata and are needed only while building.
#ifndef TESSERA_CORE_TEXT_BPE_VOCABULARY_H_
#define TESSERA_CORE_TEXT_BPE_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera {

class GgufFile;

// The values are those of tokenizer.ggml.token_type.
enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // found in text only when the caller parses special tokens
  kUserDefined = 4,  // found in any text
  kUnused = 5,       // stands for no bytes
  kByte = 6,
};

struct BpeVocabulary {
  std::vector<absl::string_view> tokens;  // [vocabulary] as the file writes them
  std::vector<int64_t> kinds;             // [vocabulary], or empty: all are normal
  std::vector<absl::string_view> merges;  // "left right", best first
  absl::string_view pre_tokenizer;
  int64_t bos = -1;                // -1: none
  int64_t eos = -1;                // -1: none
  std::vector<int64_t> more_ends;  // further tokens that end a turn
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
};

// From tokenizer.ggml.*; checks that ids lie inside the vocabulary, and the keys' types. The views live as
// long as `file`.
absl::StatusOr<BpeVocabulary> ReadBpeVocabulary(const GgufFile& file, int32_t vocabulary_size);

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_BPE_VOCABULARY_H_
