#include "core/text/jinja/template.h"

#include <utility>

#include "core/base/status.h"
#include "core/text/jinja/lexer.h"
#include "core/text/jinja/limits.h"
#include "core/text/jinja/parser.h"
#include "core/text/utf8.h"

namespace tessera::jinja {

Template::Template(std::string source) : source_(std::move(source)), arena_(kLargestTreeBytes) {}

absl::StatusOr<std::unique_ptr<const Template>> Template::Parse(absl::string_view source) {
  if (source.size() > kLargestTemplateBytes) {
    return LimitExceeded("chat template", absl::StrCat("has ", source.size(), " bytes; at most ",
                                                       kLargestTemplateBytes, " are taken"));
  }
  if (const size_t bad = FirstInvalidUtf8(source); bad != source.size()) {
    return InvalidUtf8("chat template", absl::StrCat("no valid UTF-8 sequence begins at byte ", bad));
  }
  std::unique_ptr<Template> made(new Template(NormalisedSource(source)));
  Parser parser(made->source_, &made->arena_);
  made->body_ = parser.ParseTemplate();
  if (made->body_ == nullptr) return parser.status();
  return std::unique_ptr<const Template>(std::move(made));
}

}  // namespace tessera::jinja
