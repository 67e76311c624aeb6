// Text that grows in a rendering's arena, each byte with the mark of where it came from.
#ifndef TESSERA_CORE_TEXT_JINJA_TEXT_BUILDER_H_
#define TESSERA_CORE_TEXT_JINJA_TEXT_BUILDER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/text/jinja/value.h"

namespace tessera::jinja {

class Run;

class TextBuilder {
 public:
  // Beyond `most_bytes` the run fails.
  explicit TextBuilder(Run& run, size_t most_bytes = SIZE_MAX) : run_(run), most_bytes_(most_bytes) {}
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;

  // False once the run has failed.
  bool Append(absl::string_view text, bool from_host);
  bool Append(const Text& text);
  bool Append(char c, bool from_host) { return Append(absl::string_view(&c, 1), from_host); }
  bool AppendEscaped(const Text& text);  // for HTML, as Markup does

  size_t size() const { return size_; }
  // The text so far; the builder may not be used any more. Null once the run has failed.
  const Text* Finish(bool markup = false);
  Value FinishValue(bool markup = false);

 private:
  bool Reserve(size_t more);
  bool StartMarks();

  Run& run_;
  size_t most_bytes_;
  char* data_ = nullptr;
  uint8_t* marks_ = nullptr;  // null as long as all bytes are of one origin
  size_t size_ = 0;
  size_t capacity_ = 0;
  bool from_host_ = false;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_TEXT_BUILDER_H_
