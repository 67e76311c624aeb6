#include "core/text/chat/chat_template.h"

#include <algorithm>

#include "core/base/status.h"
#include "core/env/local_time.h"
#include "core/text/chat/json_values.h"
#include "core/text/chat/messages.h"
#include "core/text/utf8.h"

namespace tessera {
namespace {

using jinja::Kind;
using jinja::Value;

constexpr absl::string_view kKey = "tokenizer.chat_template";

struct SpecialToken {
  absl::string_view key, name;
};
constexpr SpecialToken kSpecialTokens[] = {
    {"tokenizer.ggml.bos_token_id", "bos_token"},     {"tokenizer.ggml.eos_token_id", "eos_token"},
    {"tokenizer.ggml.unknown_token_id", "unk_token"}, {"tokenizer.ggml.seperator_token_id", "sep_token"},
    {"tokenizer.ggml.padding_token_id", "pad_token"}, {"tokenizer.ggml.cls_token_id", "cls_token"},
    {"tokenizer.ggml.mask_token_id", "mask_token"},
};

// "" for the main template, NAME for tokenizer.chat_template.NAME; false: another key.
bool TemplateName(absl::string_view key, absl::string_view* name) {
  if (key.substr(0, kKey.size()) != kKey) return false;
  key.remove_prefix(kKey.size());
  if (key.empty()) {
    *name = key;
    return true;
  }
  *name = key.substr(1);
  return key[0] == '.' && !name->empty();
}

std::string KeyOf(absl::string_view name) {
  return name.empty() ? std::string(kKey) : absl::StrCat(kKey, ".", name);
}

// What a fault of the model's own template is to the host.
absl::Status FaultOfModel(absl::string_view name, const absl::Status& status) {
  const ErrorCode code = CodeOf(status);
  const bool broken = code == ErrorCode::kInvalidArgument || code == ErrorCode::kInvalidUtf8;
  return Error(broken ? ErrorCode::kCorrupt : code, KeyOf(name), status.message());
}

RenderedChat TakeOut(const jinja::Text& text) {
  RenderedChat rendered;
  rendered.text.assign(text.data, text.size);
  if (text.marks == nullptr) {
    if (text.from_host && text.size > 0) rendered.from_host.push_back({0, text.size});
    return rendered;
  }
  for (size_t begin = 0; begin < text.size;) {
    size_t end = begin + 1;
    while (end < text.size && text.marks[end] == text.marks[begin]) ++end;
    if (text.marks[begin] != 0) rendered.from_host.push_back({begin, end});
    begin = end;
  }
  return rendered;
}

}  // namespace

std::unique_ptr<const ChatTemplates> ChatTemplates::Read(const GgufFile& file, const Tokenizer& tokenizer) {
  auto templates = std::make_unique<ChatTemplates>();
  for (const auto& [key, value] : file.metadata()) {
    absl::string_view name;
    if (!TemplateName(key, &name) || value.is_array || value.type != GgufType::kString) continue;
    Named entry;
    entry.name = std::string(name);
    auto parsed = jinja::Template::Parse(value.strings[0]);
    entry.status = parsed.status();
    if (parsed.ok()) entry.parsed = *std::move(parsed);
    templates->templates_.push_back(std::move(entry));
  }
  for (const SpecialToken& token : kSpecialTokens) {
    const auto id = file.GetInt(token.key);
    if (!id.ok() || *id < 0 || *id >= tokenizer.vocabulary_size()) continue;
    const absl::string_view text = tokenizer.TokenBytes(static_cast<int32_t>(*id), true);
    if (FirstInvalidUtf8(text) != text.size()) continue;
    templates->special_tokens_.emplace_back(token.name, text);
  }
  return templates;
}

absl::StatusOr<const jinja::Template*> ChatTemplates::Choose(const ChatRequest& request) const {
  const auto find = [this](absl::string_view name) {
    const auto named = [name](const Named& entry) { return entry.name == name; };
    const auto found = std::find_if(templates_.begin(), templates_.end(), named);
    return found == templates_.end() ? nullptr : &*found;
  };
  const Named* chosen = nullptr;
  if (!request.template_name.empty()) {
    chosen = find(request.template_name == "default" ? absl::string_view() : request.template_name);
  } else {
    if (!request.tools.empty()) chosen = find("tool_use");
    if (chosen == nullptr) chosen = find("");
    if (chosen == nullptr) chosen = find("default");
  }
  if (chosen != nullptr) {
    if (!chosen->status.ok()) return FaultOfModel(chosen->name, chosen->status);
    return chosen->parsed.get();
  }
  if (!request.template_name.empty() || !templates_.empty()) {
    std::string names;
    for (const Named& entry : templates_)
      absl::StrAppend(&names, names.empty() ? "" : ", ", KeyOf(entry.name));
    return NotFound(KeyOf(request.template_name), names.empty() ? "the model has no chat template"
                                                                : absl::StrCat("the model has only ", names));
  }
  return NotFound(kKey, "the model has no chat template; give one as chat.template");
}

absl::Status ChatTemplates::Define(jinja::Run* run, const ChatRequest& request) const {
  const auto define = [run](absl::string_view name, const Value& value) -> absl::Status {
    if (value.failed() || !run->Define(name, value)) return run->status();
    return absl::OkStatus();
  };
  for (const auto& [name, text] : special_tokens_) TSR_RETURN_IF_ERROR(define(name, run->MakeText(text)));
  TSR_RETURN_IF_ERROR(define("documents", Value::None()));
  if (!request.variables.empty()) {
    const absl::string_view place = "setting 'chat.variables'";
    TSR_ASSIGN_OR_RETURN(const Value variables, JsonToValue(*run, request.variables, place));
    if (!variables.is(Kind::kDict)) return InvalidArgument(place, "it is no JSON object");
    for (size_t i = 0; i < variables.dict->size; ++i) {
      TSR_RETURN_IF_ERROR(define(variables.dict->entries[i].key.view(), variables.dict->entries[i].value));
    }
  }
  Value tools = Value::None();
  if (!request.tools.empty()) {
    const absl::string_view place = "setting 'chat.tools'";
    TSR_ASSIGN_OR_RETURN(tools, JsonToValue(*run, request.tools, place));
    if (!tools.is(Kind::kList)) return InvalidArgument(place, "it is no JSON array");
  }
  TSR_RETURN_IF_ERROR(define("tools", tools));
  TSR_ASSIGN_OR_RETURN(const Value messages, JsonToValue(*run, request.messages, "messages"));
  TSR_ASSIGN_OR_RETURN(const Value normalised, NormaliseMessages(*run, messages));
  TSR_RETURN_IF_ERROR(define("messages", normalised));
  return define("add_generation_prompt", Value::Bool(request.add_generation_prompt));
}

absl::StatusOr<RenderedChat> ChatTemplates::Render(const ChatRequest& request) const {
  std::unique_ptr<const jinja::Template> given;
  const jinja::Template* chosen = nullptr;
  if (!request.template_source.empty()) {
    TSR_ASSIGN_OR_RETURN(given, jinja::Template::Parse(request.template_source));
    chosen = given.get();
  } else {
    TSR_ASSIGN_OR_RETURN(chosen, Choose(request));
  }
  const LocalTime now = request.local_time_s ? LocalTimeOf(*request.local_time_s) : LocalTimeNow();
  jinja::Run run(request.limits, now);
  TSR_RETURN_IF_ERROR(Define(&run, request));
  const jinja::Text* text = run.Render(chosen->body());
  if (text == nullptr) return run.status();
  return TakeOut(*text);
}

}  // namespace tessera
