// Settings of chat templates, and the call that renders one.
#include "capi/src/chat.h"

#include <algorithm>

#include "capi/src/guard.h"

namespace tessera::capi {

absl::StatusOr<ChatRequest> ChatRequestOf(const char* messages, size_t messages_size,
                                          const tsr_options* options, absl::string_view call) {
  TSR_RETURN_IF_ERROR(CheckRange(messages, messages_size, "messages"));
  TSR_ASSIGN_OR_RETURN(const Settings* settings, ScopedSettings(options, {"chat."}, call));
  ChatRequest request;
  request.messages = View(messages, messages_size);
  if (settings == nullptr) return request;
  const Settings& s = *settings;
  request.tools = s.String("chat.tools", "");
  request.variables = s.String("chat.variables", "");
  request.template_source = s.String("chat.template", "");
  request.template_name = s.String("chat.template_name", "");
  request.add_generation_prompt = s.Bool("chat.add_generation_prompt", request.add_generation_prompt);
  if (const int64_t time = s.Int("chat.local_time", -1); time >= 0) request.local_time_s = time;
  jinja::Limits& limits = request.limits;
  const auto bytes = [&s](absl::string_view key, size_t otherwise) {
    return static_cast<size_t>(s.Int(key, static_cast<int64_t>(otherwise)));
  };
  limits.max_steps = s.Int("chat.max_steps", limits.max_steps);
  limits.max_memory_bytes = bytes("chat.max_memory_bytes", limits.max_memory_bytes);
  limits.max_output_bytes = bytes("chat.max_output_bytes", limits.max_output_bytes);
  return request;
}

namespace {

// Does the model mark where a text begins? Where it does not, the token that the file calls begin-of-text may
// mark a turn (SmolLM2's is <|im_start|>).
absl::StatusOr<bool> MarksBeginning(const Tokenizer& tokenizer) {
  TokenizeOptions options;
  options.add_special = true;
  std::vector<int32_t> around;
  TSR_RETURN_IF_ERROR(tokenizer.Tokenize("", options, &around));
  return !around.empty() && around.front() == tokenizer.bos_token();
}

}  // namespace

absl::Status TokenizeChat(const LoadedModel& model, const ChatRequest& request, bool parse_special,
                          bool follows, std::vector<int32_t>* tokens) {
  TSR_ASSIGN_OR_RETURN(const RenderedChat chat, model.chat_templates->Render(request));
  TokenizeOptions options;
  options.parse_special = true;
  if (!parse_special) options.plain = chat.from_host;
  TSR_RETURN_IF_ERROR(model.tokenizer->Tokenize(chat.text, options, tokens));
  if (!follows || tokens->empty() || tokens->front() != model.tokenizer->bos_token()) return absl::OkStatus();
  TSR_ASSIGN_OR_RETURN(const bool marks, MarksBeginning(*model.tokenizer));
  if (marks) tokens->erase(tokens->begin());
  return absl::OkStatus();
}

}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_model_apply_chat_template(const tsr_model* model, const char* messages, size_t messages_size,
                                         const tsr_options* options, char* buffer, size_t capacity,
                                         size_t* size, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_RETURN_IF_ERROR(CheckPointer(size, "size"));
    TSR_RETURN_IF_ERROR(CheckRange(buffer, capacity, "buffer"));
    TSR_ASSIGN_OR_RETURN(const tessera::ChatRequest request,
                         ChatRequestOf(messages, messages_size, options, "tsr_model_apply_chat_template"));
    TSR_ASSIGN_OR_RETURN(const tessera::RenderedChat chat,
                         model->core->model->chat_templates->Render(request));
    *size = chat.text.size();
    if (chat.text.size() > capacity) return TooSmall("buffer", chat.text.size(), capacity);
    std::copy(chat.text.begin(), chat.text.end(), buffer);
    return absl::OkStatus();
  });
}
