// A sorted list as a search tree: each further byte of the text narrows the range of entries that still
// agree.
#include "core/text/added_tokens.h"

#include <algorithm>

#include "core/base/status.h"

namespace tessera {

absl::Status AddedTokens::Add(absl::string_view text, int32_t token) {
  if (text.empty()) return absl::OkStatus();
  if (text.size() > kMostBytes) {
    return Corrupt("tokenizer.ggml.tokens",
                   absl::StrCat("token ", token, ", a special one, has ", text.size(), " bytes; at most ",
                                kMostBytes, " are taken"));
  }
  entries_.push_back({text, token});
  return absl::OkStatus();
}

void AddedTokens::Finish() {
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return a.text != b.text ? a.text < b.text : a.token > b.token;
  });
  const auto same = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  first_bytes_.fill(0);
  for (const Entry& entry : entries_) ++first_bytes_[static_cast<unsigned char>(entry.text[0]) + 1];
  for (size_t i = 1; i < first_bytes_.size(); ++i) first_bytes_[i] += first_bytes_[i - 1];
}

AddedTokens::Match AddedTokens::Find(absl::string_view text, size_t offset) const {
  if (entries_.empty()) return {text.size(), 0, -1};
  for (; offset < text.size(); ++offset) {
    const auto first_byte = static_cast<unsigned char>(text[offset]);
    auto least = entries_.begin() + first_bytes_[first_byte];
    auto end = entries_.begin() + first_bytes_[first_byte + 1];
    Match match = {offset, 0, -1};
    // All of [least, end) agree with the text in `length` bytes; the shortest entry comes first.
    for (size_t length = 1; least != end; ++length) {
      if (least->text.size() == length) {
        match.length = length;
        match.token = least->token;
        ++least;
      }
      if (offset + length >= text.size()) break;
      const auto byte = static_cast<unsigned char>(text[offset + length]);
      const auto at = [length](const Entry& entry) { return static_cast<unsigned char>(entry.text[length]); };
      least = std::partition_point(least, end, [&](const Entry& entry) { return at(entry) < byte; });
      end = std::partition_point(least, end, [&](const Entry& entry) { return at(entry) == byte; });
    }
    if (match.token >= 0) return match;
  }
  return {text.size(), 0, -1};
}

}  // namespace tessera
