// Turns a vocabulary as it is written into bytes.
#include "core/text/token_table.h"

#include <algorithm>
#include <limits>

#include "core/base/status.h"
#include "core/text/byte_alphabet.h"

namespace tessera {
namespace {

constexpr absl::string_view kTokens = "tokenizer.ggml.tokens";
constexpr absl::string_view kKinds = "tokenizer.ggml.token_type";

void AppendBytes(absl::string_view text, TokenKind kind, std::string* bytes) {
  switch (kind) {
    case TokenKind::kUnused:
      return;
    case TokenKind::kNormal:
    case TokenKind::kByte:
      // The reference decodes a token with characters outside the alphabet as its own text.
      if (DecodeAlphabet(text, bytes)) return;
      break;
    case TokenKind::kUnknown:
    case TokenKind::kControl:
    case TokenKind::kUserDefined:
      break;
  }
  bytes->append(text.data(), text.size());
}

}  // namespace

absl::Status TokenTable::Fill(const BpeVocabulary& vocabulary) {
  const size_t size = vocabulary.tokens.size();
  if (size == 0) return Corrupt(kTokens, "the vocabulary is empty");
  if (size > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return Corrupt(kTokens, absl::StrCat(size, " tokens are more than token ids can number"));
  }
  if (!vocabulary.kinds.empty() && vocabulary.kinds.size() != size) {
    return Corrupt(kKinds, absl::StrCat("has ", vocabulary.kinds.size(), " entries for ", size, " tokens"));
  }
  uint64_t text_bytes = 0;
  for (const absl::string_view token : vocabulary.tokens) text_bytes += token.size();
  if (text_bytes > std::numeric_limits<uint32_t>::max()) {
    return Corrupt(kTokens, absl::StrCat("the tokens' ", text_bytes, " bytes pass 4 GiB"));
  }

  bytes_.clear();
  bytes_.reserve(text_bytes);  // decoding never lengthens
  begins_.assign(1, 0);
  begins_.reserve(size + 1);
  kinds_.assign(size, TokenKind::kNormal);
  longest_ = 0;
  for (size_t i = 0; i < size; ++i) {
    if (!vocabulary.kinds.empty()) {
      const int64_t kind = vocabulary.kinds[i];
      if (kind < 1 || kind > 6) {
        return Corrupt(kKinds, absl::StrCat("token ", i, " has the type ", kind, "; 1 to 6 are defined"));
      }
      kinds_[i] = static_cast<TokenKind>(kind);
    }
    AppendBytes(vocabulary.tokens[i], kinds_[i], &bytes_);
    longest_ = std::max<size_t>(longest_, bytes_.size() - begins_.back());
    begins_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  return absl::OkStatus();
}

}  // namespace tessera
