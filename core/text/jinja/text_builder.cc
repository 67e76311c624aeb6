#include "core/text/jinja/text_builder.h"

#include <algorithm>
#include <cstring>

#include "core/base/status.h"
#include "core/text/jinja/run.h"

namespace tessera::jinja {

bool TextBuilder::Reserve(size_t more) {
  if (run_.failed()) return false;
  if (more > most_bytes_ || size_ > most_bytes_ - more) {
    run_.Fail(ErrorCode::kLimitExceeded,
              absl::StrCat("the text is longer than ", most_bytes_, " bytes (chat.max_output_bytes)"));
    return false;
  }
  const size_t needed = size_ + more;
  if (needed <= capacity_) return true;
  const size_t capacity = std::max<size_t>(needed + needed / 2, 64);
  Arena& arena = run_.arena();
  if (marks_ == nullptr && arena.Extend(data_, capacity_, capacity)) {
    capacity_ = capacity;
    return true;
  }
  char* data = arena.Make<char>(capacity);
  uint8_t* marks = marks_ == nullptr || data == nullptr ? nullptr : arena.Make<uint8_t>(capacity);
  if (data == nullptr || (marks_ != nullptr && marks == nullptr)) {
    run_.FailMemory();
    return false;
  }
  std::copy_n(data_, size_, data);
  if (marks_ != nullptr) std::copy_n(marks_, size_, marks);
  data_ = data;
  marks_ = marks;
  capacity_ = capacity;
  return true;
}

bool TextBuilder::StartMarks() {
  marks_ = run_.arena().Make<uint8_t>(capacity_);
  if (marks_ == nullptr) {
    run_.FailMemory();
    return false;
  }
  std::fill_n(marks_, size_, static_cast<uint8_t>(from_host_));
  return true;
}

bool TextBuilder::Append(absl::string_view text, bool from_host) {
  if (text.empty()) return !run_.failed();
  if (!run_.Charge(text.size() / 64) || !Reserve(text.size())) return false;
  if (size_ == 0) from_host_ = from_host;
  if (marks_ == nullptr && from_host != from_host_ && !StartMarks()) return false;
  std::copy(text.begin(), text.end(), data_ + size_);
  if (marks_ != nullptr) std::fill_n(marks_ + size_, text.size(), static_cast<uint8_t>(from_host));
  size_ += text.size();
  return true;
}

bool TextBuilder::Append(const Text& text) {
  if (text.marks == nullptr) return Append(text.view(), text.from_host);
  for (size_t begin = 0; begin < text.size;) {  // runs of one origin
    size_t end = begin + 1;
    while (end < text.size && text.marks[end] == text.marks[begin]) ++end;
    if (!Append(text.view().substr(begin, end - begin), text.marks[begin] != 0)) return false;
    begin = end;
  }
  return !run_.failed();
}

bool TextBuilder::AppendEscaped(const Text& text) {
  size_t begin = 0;
  for (size_t i = 0; i < text.size; ++i) {
    const char c = text.data[i];
    const absl::string_view escape = c == '&'    ? "&amp;"
                                     : c == '<'  ? "&lt;"
                                     : c == '>'  ? "&gt;"
                                     : c == '\'' ? "&#39;"
                                     : c == '"'  ? "&#34;"
                                                 : "";
    if (escape.empty()) continue;
    const bool from_host = text.marks != nullptr ? text.marks[i] != 0 : text.from_host;
    if (!Append(text.Part(begin, i)) || !Append(escape, from_host)) return false;
    begin = i + 1;
  }
  return Append(text.Part(begin, text.size));
}

const Text* TextBuilder::Finish(bool markup) {
  if (run_.failed()) return nullptr;
  Text* text = run_.arena().Make<Text>();
  if (text == nullptr) {
    run_.FailMemory();
    return nullptr;
  }
  text->data = data_;
  text->size = size_;
  text->marks = marks_;
  text->from_host = from_host_;
  text->markup = markup;
  return text;
}

Value TextBuilder::FinishValue(bool markup) {
  const Text* text = Finish(markup);
  return text == nullptr ? Value::Failed() : Value::Of(text);
}

}  // namespace tessera::jinja
