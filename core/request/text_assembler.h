// From token bytes to the text that a host sees: whole code points only, nothing after a stop string, and
// nothing that may yet turn out to begin one. Allocates at construction only.
#ifndef TESSERA_CORE_REQUEST_TEXT_ASSEMBLER_H_
#define TESSERA_CORE_REQUEST_TEXT_ASSEMBLER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/text/utf8.h"

namespace tessera {

class TextAssembler {
 public:
  // `stop` outlives the assembler.
  TextAssembler(const std::vector<std::string>& stop, size_t longest_token_bytes);

  // Most text that one Push, or one Push and the Finish after it, can bring out.
  static size_t MostTextBytes(const std::vector<std::string>& stop, size_t longest_token_bytes);

  // The text that may go out now; valid until the next call. Once a stop string has appeared, `stopped` is
  // true and what is returned ends before it.
  absl::string_view Push(absl::string_view token_bytes) noexcept;
  // The rest at the end of the text.
  absl::string_view Finish() noexcept;
  bool stopped() const { return stopped_; }

 private:
  absl::string_view Release() noexcept;

  const std::vector<std::string>& stop_;
  Utf8Stream utf8_;
  std::vector<char> text_;  // [0, sent_) went out with the last call; [sent_, size_) is held back
  size_t sent_ = 0, size_ = 0;
  bool stopped_ = false;
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_TEXT_ASSEMBLER_H_
