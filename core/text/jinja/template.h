// A Jinja2 template, parsed: immutable, so any number of threads may render it at once. Rendering reaches
// nothing but the variables it is given.
#ifndef TESSERA_CORE_TEXT_JINJA_TEMPLATE_H_
#define TESSERA_CORE_TEXT_JINJA_TEMPLATE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/text/jinja/arena.h"
#include "core/text/jinja/ast.h"

namespace tessera::jinja {

class Template {
 public:
  // kInvalidArgument names the line; kUnsupported a tag that chat templates do not use; kLimitExceeded a
  // template that is too large; kInvalidUtf8 the first bad byte.
  static absl::StatusOr<std::unique_ptr<const Template>> Parse(absl::string_view source);

  const Node* body() const { return body_; }

 private:
  explicit Template(std::string source);

  std::string source_;  // normalised; the tree points into it
  Arena arena_;
  const Node* body_ = nullptr;
};

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_TEMPLATE_H_
