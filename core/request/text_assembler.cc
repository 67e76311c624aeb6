#include "core/request/text_assembler.h"

#include <algorithm>
#include <cstring>

namespace tessera {
namespace {

size_t LongestStop(const std::vector<std::string>& stop) {
  size_t longest = 0;
  for (const std::string& s : stop) longest = std::max(longest, s.size());
  return longest;
}

}  // namespace

size_t TextAssembler::MostTextBytes(const std::vector<std::string>& stop, size_t longest_token_bytes) {
  return LongestStop(stop) + Utf8Stream::MostBytes(longest_token_bytes) + Utf8Stream::MostBytes(0);
}

TextAssembler::TextAssembler(const std::vector<std::string>& stop, size_t longest_token_bytes)
    : stop_(stop), text_(MostTextBytes(stop, longest_token_bytes)) {}

absl::string_view TextAssembler::Push(absl::string_view token_bytes) noexcept {
  if (stopped_) return {};
  std::memmove(text_.data(), text_.data() + sent_, size_ - sent_);
  size_ -= sent_;
  sent_ = 0;
  size_ += utf8_.Push(token_bytes, text_.data() + size_);
  return Release();
}

absl::string_view TextAssembler::Finish() noexcept {
  if (stopped_) return {};
  std::memmove(text_.data(), text_.data() + sent_, size_ - sent_);
  size_ -= sent_;
  size_ += utf8_.Finish(text_.data() + size_);
  sent_ = size_;
  return absl::string_view(text_.data(), size_);
}

absl::string_view TextAssembler::Release() noexcept {
  const absl::string_view text(text_.data(), size_);
  size_t first = absl::string_view::npos;
  for (const std::string& stop : stop_) first = std::min(first, text.find(stop));
  if (first != absl::string_view::npos) {
    stopped_ = true;
    sent_ = size_;
    return text.substr(0, first);
  }
  // Held back: the longest end of the text that begins a stop string. It begins at a code point, since stop
  // strings do.
  size_t held = 0;
  for (const std::string& stop : stop_) {
    for (size_t n = std::min(stop.size() - 1, size_); n > held; --n) {
      if (std::memcmp(text.data() + size_ - n, stop.data(), n) == 0) held = n;
    }
  }
  sent_ = size_ - held;
  return text.substr(0, sent_);
}

}  // namespace tessera
