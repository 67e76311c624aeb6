// Finds tokens that are whole strings in the text ("<|im_end|>"), before anything is split or merged.
#ifndef TESSERA_CORE_TEXT_ADDED_TOKENS_H_
#define TESSERA_CORE_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tessera {

class AddedTokens {
 public:
  // A match costs up to this many steps at each byte of a text, so a file may not set it at will.
  static constexpr size_t kMostBytes = 4096;

  struct Match {
    size_t offset;  // text.size(): none
    size_t length;
    int32_t token;
  };

  // `text` must outlive this. Empty texts are ignored; of equal ones the last counts. kCorrupt when it is too
  // long.
  absl::Status Add(absl::string_view text, int32_t token);
  void Finish();  // once, after the last Add

  // The leftmost match at or after `offset`, the longest of those that begin there.
  Match Find(absl::string_view text, size_t offset) const;
  size_t heap_bytes() const { return entries_.capacity() * sizeof(Entry); }

 private:
  struct Entry {
    absl::string_view text;
    int32_t token;
  };
  std::vector<Entry> entries_;  // sorted by text, so that a prefix is a range
  std::array<uint32_t, 257>
      first_bytes_{};  // entries that begin with byte b: [first_bytes_[b], first_bytes_[b + 1])
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_ADDED_TOKENS_H_
