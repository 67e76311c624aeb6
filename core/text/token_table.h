// The bytes and the kind of every token, packed. Knows nothing of merging.
#ifndef TESSERA_CORE_TEXT_TOKEN_TABLE_H_
#define TESSERA_CORE_TEXT_TOKEN_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/text/bpe_vocabulary.h"

namespace tessera {

class TokenTable {
 public:
  // kCorrupt when the lists contradict each other or a kind is unknown. Views that bytes() gave end here.
  absl::Status Fill(const BpeVocabulary& vocabulary);

  int32_t size() const { return static_cast<int32_t>(kinds_.size()); }
  // `token` is in [0, size()).
  absl::string_view bytes(int32_t token) const {
    return absl::string_view(bytes_).substr(begins_[token], begins_[token + 1] - begins_[token]);
  }
  TokenKind kind(int32_t token) const { return kinds_[token]; }
  bool special(int32_t token) const {
    return kinds_[token] == TokenKind::kControl || kinds_[token] == TokenKind::kUnknown;
  }
  size_t longest() const { return longest_; }
  size_t heap_bytes() const {
    return bytes_.capacity() + begins_.capacity() * sizeof(uint32_t) + kinds_.capacity() * sizeof(TokenKind);
  }

 private:
  std::string bytes_;             // of all tokens, one after the other
  std::vector<uint32_t> begins_;  // [size() + 1]
  std::vector<TokenKind> kinds_;  // [size()]
  size_t longest_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_TOKEN_TABLE_H_
