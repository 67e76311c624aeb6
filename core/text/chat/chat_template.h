// A model's chat templates: which one a conversation takes, what it is told, and the text that comes out.
// Knows nothing of sessions.
#ifndef TESSERA_CORE_TEXT_CHAT_CHAT_TEMPLATE_H_
#define TESSERA_CORE_TEXT_CHAT_CHAT_TEMPLATE_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/model/gguf.h"
#include "core/text/jinja/limits.h"
#include "core/text/jinja/run.h"
#include "core/text/jinja/template.h"
#include "core/text/tokenizer.h"

namespace tessera {

struct ChatRequest {
  absl::string_view messages;         // JSON: an array of objects
  absl::string_view tools;            // JSON: an array; "": none
  absl::string_view variables;        // JSON: an object whose fields the template sees by name; "": none
  absl::string_view template_source;  // instead of the model's; "": the model's
  absl::string_view template_name;    // which of the model's; "": by the rule of ChatTemplates::Render
  bool add_generation_prompt = true;
  std::optional<int64_t> local_time_s;  // since 1970 on the local clock; none: now
  jinja::Limits limits;
};

struct RenderedChat {
  std::string text;
  // What of it stood in messages, tools or variables. Sorted; they do not touch.
  std::vector<TextRange> from_host;
};

// Immutable: any thread may render, several at once.
class ChatTemplates {
 public:
  // From tokenizer.chat_template and tokenizer.chat_template.NAME. One that does not parse is kept with its
  // error: the model can be used all the same.
  static std::unique_ptr<const ChatTemplates> Read(const GgufFile& file, const Tokenizer& tokenizer);

  // The template named; otherwise "tool_use" when there are tools and the model has it; otherwise its main
  // one. kNotFound when there is none; kInvalidArgument, with the line, when the template refuses the
  // messages or they are no JSON; kCorrupt when the model's template does not parse; kLimitExceeded when a
  // limit is reached.
  absl::StatusOr<RenderedChat> Render(const ChatRequest& request) const;

 private:
  struct Named {
    std::string name;  // "": the main one
    absl::Status status;
    std::unique_ptr<const jinja::Template> parsed;  // null unless status is OK
  };

  absl::StatusOr<const jinja::Template*> Choose(const ChatRequest& request) const;
  absl::Status Define(jinja::Run* run, const ChatRequest& request) const;

  std::vector<Named> templates_;
  std::vector<std::pair<std::string, std::string>> special_tokens_;  // "bos_token", its text
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_CHAT_CHAT_TEMPLATE_H_
