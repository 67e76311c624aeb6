#include "capi/src/settings.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "core/base/status.h"
#include "core/env/local_time.h"
#include "core/ranks/rank_layout.h"
#include "core/request/request_params.h"
#include "tessera/tessera.h"

namespace tessera::capi {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kInt32Max = std::numeric_limits<int32_t>::max();
constexpr double kInt64Max = 9223372036854775808.0;  // what the largest int64_t becomes as a double

// Sorted by the call that takes them, then by name.
constexpr Setting kSettings[] = {
    {"runtime.log", SettingType::kCallbacks, "none", 0, 0, "tsr_log_callbacks", sizeof(tsr_log_callbacks),
     "Where log lines go. Without it nothing is written anywhere."},
    {"runtime.log_level", SettingType::kString, "warning", 0, 0, "debug|info|warning|error", 0,
     "The least level that is logged."},
    {"runtime.threads", SettingType::kInt, "0", 0, 1024, "", 0,
     "Most threads that compute in one engine. 0: as many as the process may use at once (affinity, cgroup "
     "quota)."},

    {"model.device", SettingType::kString, "cpu", 0, 0, "cpu|reference|auto|cuda|cuda:N|GPU-UUID", 0,
     "Where the model lies and its engines compute: `cpu`; a GPU, the first usable one (`cuda`), by its "
     "number "
     "or by its UUID as nvidia-smi prints it; `auto`: a usable GPU, else the CPU, and the log says which "
     "(level "
     "info); or `reference`, plain loops in single precision to compare with. Where the GPU that is named "
     "cannot "
     "be had, the load fails with #TSR_STATUS_UNSUPPORTED and the reason."},
    {"model.load_threads", SettingType::kInt, "0", 0, 1024, "", 0,
     "Threads that read and lay out weights at once. 0: one for the CPU, up to 8 for a GPU."},
    {"model.pipeline", SettingType::kInt, "1", 1, kMostStages, "", 0,
     "Loads the part that one rank needs of so many stages: see `model.rank`."},
    {"model.progress", SettingType::kCallbacks, "none", 0, 0, "tsr_progress_callbacks",
     sizeof(tsr_progress_callbacks), "Watches the load and may end it."},
    {"model.rank", SettingType::kInt, "0", 0, kMostStages* kMostTensorRanks - 1, "", 0,
     "Which rank's part to load where `model.tensor_parallel` or `model.pipeline` is above 1: for an engine "
     "with the "
     "same settings and `engine.rendezvous`. Engines whose ranks are threads need the whole model."},
    {"model.read_threads", SettingType::kInt, "1", 1, 1024, "", 0,
     "tsr_model_load_reader: most calls of `read_at` at once. The reader must allow as many."},
    {"model.tensor_parallel", SettingType::kInt, "1", 1, kMostTensorRanks, "", 0,
     "Loads the part that one rank needs of so many: see `model.rank`."},

    {"device.context", SettingType::kPointer, "none", 0, 0, "CUcontext", 0,
     "The host's CUDA context, which stays its own and outlives the model. Without it the GPU's primary one, "
     "which the CUDA runtime uses too."},
    {"device.low_priority", SettingType::kBool, "false", 0, 1, "", 0,
     "Compute on streams of the lowest priority, behind what the host renders."},
    {"device.memory", SettingType::kCallbacks, "none", 0, 0, "tsr_memory_callbacks",
     sizeof(tsr_memory_callbacks),
     "Where the GPU's memory comes from that weights, caches and working memory take."},
    {"device.pinned_memory", SettingType::kCallbacks, "none", 0, 0, "tsr_memory_callbacks",
     sizeof(tsr_memory_callbacks),
     "Where pinned memory of the host comes from, through which data goes to and "
     "from the GPU."},
    {"device.stream", SettingType::kPointer, "none", 0, 0, "CUstream", 0,
     "The host's stream, of `device.context`, on which all work is put. Without it streams of the library's "
     "own."},

    {"chat.add_generation_prompt", SettingType::kBool, "true", 0, 1, "", 0,
     "End with the beginning of the model's answer, for the template to write."},
    {"chat.local_time", SettingType::kInt, "-1", -1, static_cast<double>(kLatestSecond), "", 0,
     "The time that templates which write the date are told: seconds since 1970-01-01 00:00 on the local "
     "clock. -1: "
     "now, in the process's time zone."},
    {"chat.max_memory_bytes", SettingType::kInt, "268435456", 65536, kInt64Max, "", 0,
     "Most memory that rendering a template may take; then the call fails."},
    {"chat.max_output_bytes", SettingType::kInt, "67108864", 1, kInt64Max, "", 0,
     "The longest text that a template may give."},
    {"chat.max_steps", SettingType::kInt, "10000000", 1, kInt64Max, "", 0,
     "Most steps that a template may take: about a second's."},
    {"chat.parse_special", SettingType::kBool, "false", 0, 1, "", 0,
     "tsr_session_append_chat: special tokens that are written in messages become those tokens. Without it "
     "only "
     "those of the template do, so that nobody can end a turn by writing `<|im_end|>`."},
    {"chat.template", SettingType::kString, "the model's", 0, 0, "", 0,
     "A Jinja2 template to use instead of the model's."},
    {"chat.template_name", SettingType::kString, "by rule", 0, 0, "", 0,
     "Which of the model's templates: NAME for `tokenizer.chat_template.NAME`, `default` for the main one. "
     "Without "
     "it: `tool_use` when there are tools and the model has it, else the main one."},
    {"chat.tools", SettingType::kString, "none", 0, 0, "", 0,
     "The tools that the model may call: a JSON array, in the form that the template expects (commonly "
     "OpenAI's)."},
    {"chat.variables", SettingType::kString, "none", 0, 0, "", 0,
     "Further variables for the template: a JSON object, such as `{\"enable_thinking\": false}`."},

    {"engine.activations", SettingType::kString, "int8", 0, 0, "int8|f32", 0,
     "How activations meet quantised weights on a CPU: as 8-bit groups of 32 (fast), or in single "
     "precision."},
    {"engine.batch_invariant", SettingType::kBool, "false", 0, 1, "", 0,
     "On a GPU: a session's results do not depend on which others are computed beside it, at a small cost. "
     "On a "
     "CPU they never do."},
    {"engine.batch_sequences", SettingType::kInt, "64", 1, 4096, "", 0, "Most sessions in one batch."},
    {"engine.batch_tokens", SettingType::kInt, "256", 1, 65536, "", 0,
     "Most tokens in one batch; longer prompts are computed in chunks. Working memory grows with it."},
    {"engine.cache_tokens", SettingType::kInt, "0", 0, kInt32Max, "", 0,
     "Tokens that the cache holds for all sessions together. 0: one session's context."},
    {"engine.cache_type", SettingType::kString, "f16; on a GPU the weights'", 0, 0, "f32|f16|bf16|int8", 0,
     "The type that keys and values are stored in. `int8`: about half of `f16`'s memory, one scale for each "
     "32 elements of a token's head. Without it `f16`, but on a GPU `bf16` where the weights are not F16. "
     "`f32` "
     "is for the CPU only."},
    {"engine.context_tokens", SettingType::kInt, "0", 0, kInt32Max, "", 0,
     "The longest session. 0: the context that the model was trained for."},
    {"engine.max_requests", SettingType::kInt, "256", 1, 65536, "", 0,
     "Most requests that wait or run; another is refused."},
    {"engine.max_running", SettingType::kInt, "0", 0, 65536, "", 0,
     "Most requests that are computed by turns; the others wait. 0: as many as `engine.batch_sequences`."},
    {"engine.max_sessions", SettingType::kInt, "1024", 1, 1048576, "", 0, "Most open sessions."},
    {"engine.pipeline", SettingType::kInt, "1", 1, kMostStages, "", 0,
     "Stages that the layers are divided into, one after the other; as many batches are in flight."},
    {"engine.prefault", SettingType::kBool, "as engine.stepped", 0, 1, "", 0,
     "All pages of the cache and of the working memory are there when the engine is made, so that no step "
     "waits for the "
     "system to find them. Without it memory that is never used is never taken."},
    {"engine.rank", SettingType::kInt, "0", 0, kMostStages* kMostTensorRanks - 1, "", 0,
     "Which of the ranks this process is, with `engine.rendezvous`. Stage by stage; 0 leads."},
    {"engine.rank_interface", SettingType::kString, "", 0, 0, "", 0,
     "Where ranks of other processes reach this one: a network interface, or this machine's name or address "
     "there. "
     "Empty: the loopback, for ranks on one machine. Connections are neither authenticated nor encrypted."},
    {"engine.rank_timeout_ns", SettingType::kInt, "10000000000", 1e6, 1e15, "", 0,
     "A rank that does not come to a step's operation for so long is late, and one that gives no sign of "
     "life for half of it is lost: the engine's requests end with an error. Ranks meet within half of it. "
     "Idle ranks wait without end."},
    {"engine.rendezvous", SettingType::kCallbacks, "none", 0, 0, "tsr_rendezvous_callbacks",
     sizeof(tsr_rendezvous_callbacks),
     "How ranks in other processes are found. Without it all ranks are threads of this process."},
    {"engine.share_prefixes", SettingType::kBool, "true", 0, 1, "", 0,
     "Sessions that begin with the same tokens compute and keep them once."},
    {"engine.stepped", SettingType::kBool, "false", 0, 1, "", 0,
     "The engine has no thread of its own and computes in tsr_engine_step only."},
    {"engine.tensor_parallel", SettingType::kInt, "1", 1, kMostTensorRanks, "", 0,
     "Ranks that share the heads, feed-forward columns and vocabulary of each layer."},
    {"engine.threads", SettingType::kInt, "0", 0, 1024, "", 0,
     "Threads that compute, the stepping one included, of all ranks in this process together (at least one "
     "each). 0: "
     "as many as `runtime.threads` allows."},
    {"engine.time_regions", SettingType::kBool, "false", 0, 1, "", 0,
     "On a GPU: metrics say how long each kind of region took. Costs some speed."},

    {"plan.device_bytes", SettingType::kInt, "0", 0, kInt64Max, "", 0,
     "A budget of a GPU's memory: the plan says how many cache tokens fit in it. 0: none."},
    {"plan.host_bytes", SettingType::kInt, "0", 0, kInt64Max, "", 0,
     "A budget of host memory: the plan says how many cache tokens fit in it. 0: none."},
    {"plan.probe", SettingType::kBool, "false", 0, 1, "", 0,
     "Measure this machine's rates for a tenth of a second, where `plan.read_bandwidth` and "
     "`plan.products_per_second` do not say them. Takes the engine's threads, and for that long memory of "
     "twice "
     "the last cache."},
    {"plan.products_per_second", SettingType::kInt, "0", 0, kInt64Max, "", 0,
     "Multiply-adds of 8-bit weights that the engine's threads do in a second together, many rows at a time. "
     "0: "
     "not known."},
    {"plan.read_bandwidth", SettingType::kInt, "0", 0, kInt64Max, "", 0,
     "Bytes that the engine's threads read from memory in a second together. 0: not known."},

    {"session.logits", SettingType::kBool, "false", 0, 1, "", 0,
     "Keep the last logits for tsr_session_get_logits; costs 4 bytes for each token of the vocabulary."},

    {"state.cache", SettingType::kBool, "true", 0, 1, "", 0,
     "Save, or restore, keys and values beside the tokens. Without them a session computes its tokens again "
     "when it goes on."},

    {"queue.on_ready", SettingType::kCallbacks, "none", 0, 0, "tsr_ready_callbacks",
     sizeof(tsr_ready_callbacks), "Called when the queue becomes ready."},

    {"request.deadline_ns", SettingType::kInt, "0", 0, kInt64Max, "", 0,
     "Time from submission after which the request ends with #TSR_FINISH_DEADLINE. 0: none."},
    {"request.ignore_end", SettingType::kBool, "false", 0, 1, "", 0, "Go on after the model's end tokens."},
    {"request.max_tokens", SettingType::kInt, "256", -1, kInt32Max, "", 0,
     "Most tokens to generate. 0: only compute what was appended. -1: until the context is full."},
    {"request.priority", SettingType::kInt, "0", -100, 100, "", 0,
     "Higher goes first. One step is worth a fixed number of batches of waiting, so that nobody starves."},
    {"request.stop", SettingType::kStringList, "none", 1, kLongestStopBytes, "", 0,
     "Strings that end the text before them: at most 64, of 1 to 1024 bytes each."},
    {"request.stop_tokens", SettingType::kIntList, "none", 0, kInt32Max, "", 0,
     "Tokens that end the text, beside the model's own."},
    {"request.top_logprobs", SettingType::kInt, "-1", -1, kMaxTopLogprobs, "", 0,
     "-1: no log-probabilities. Otherwise that of each token, and of so many alternatives."},

    {"sampling.frequency_penalty", SettingType::kFloat, "0", -100, 100, "", 0,
     "Subtracted from a token's logit for each time it stands in the window."},
    {"sampling.logit_bias_tokens", SettingType::kIntList, "none", 0, kInt32Max, "", 0,
     "Tokens whose logits are changed, at most 4096 and each once; goes with `sampling.logit_bias_values`."},
    {"sampling.logit_bias_values", SettingType::kFloatList, "none", -kInfinity, 1e9, "", 0,
     "What is added to those logits; -infinity forbids a token."},
    {"sampling.min_p", SettingType::kFloat, "0", 0, 1, "", 0,
     "Tokens less probable than this share of the most probable one are left out. 0: off."},
    {"sampling.penalty_window", SettingType::kInt, "64", 0, 65536, "", 0,
     "How many of the session's last tokens penalties look at."},
    {"sampling.presence_penalty", SettingType::kFloat, "0", -100, 100, "", 0,
     "Subtracted from a token's logit once when it stands in the window."},
    {"sampling.repetition_penalty", SettingType::kFloat, "1", 0.01, 100, "", 0,
     "Divides the positive and multiplies the negative logits of tokens in the window. 1: off."},
    {"sampling.seed", SettingType::kInt, "0", -9.3e18, kInt64Max, "", 0,
     "With one seed, one session draws the same tokens again."},
    {"sampling.temperature", SettingType::kFloat, "0", 0, 100, "", 0,
     "Divides the logits. 0: always the most probable token (greedy)."},
    {"sampling.top_k", SettingType::kInt, "0", 0, kInt32Max, "", 0,
     "Only so many most probable tokens. 0: off."},
    {"sampling.top_p", SettingType::kFloat, "1", 0, 1, "", 0,
     "The fewest most probable tokens whose probabilities reach this sum. 1: off."},
};

// Edits (insert, remove, replace) from one key to another: for "did you mean".
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string PlaceOf(absl::string_view key) { return absl::StrCat("setting '", key, "'"); }

absl::Status CheckNumber(const Setting& setting, double value) {
  if (value >= setting.least && value <= setting.most) return absl::OkStatus();
  return InvalidArgument(PlaceOf(setting.key),
                         absl::StrCat(value, " is outside ", setting.least, " to ", setting.most));
}

bool Matches(absl::string_view choice, absl::string_view value) {
  for (const auto& [stands, allowed] : {std::pair<absl::string_view, const char*>{":N", "0123456789"},
                                        {"-UUID", "0123456789abcdefABCDEF-"}}) {
    const size_t word = stands.size() - 1;
    if (!absl::EndsWith(choice, stands)) continue;
    const absl::string_view head = choice.substr(0, choice.size() - word);
    return absl::StartsWith(value, head) && value.size() > head.size() && value.size() < head.size() + 48 &&
           value.substr(head.size()).find_first_not_of(allowed) == absl::string_view::npos;
  }
  return choice == value;
}

absl::Status CheckChoice(const Setting& setting, absl::string_view value) {
  absl::string_view left = setting.choices;
  if (left.empty()) return absl::OkStatus();
  for (;;) {
    const size_t bar = left.find('|');
    if (Matches(left.substr(0, bar), value)) return absl::OkStatus();
    if (bar == absl::string_view::npos) break;
    left.remove_prefix(bar + 1);
  }
  return InvalidArgument(PlaceOf(setting.key), absl::StrCat("'", value, "' is none of ", setting.choices));
}

absl::Status CheckValue(const Setting& setting, const SettingValue& value) {
  switch (setting.type) {
    case SettingType::kInt:
      return CheckNumber(setting, static_cast<double>(std::get<int64_t>(value)));
    case SettingType::kFloat:
      return CheckNumber(setting, std::get<double>(value));  // NaN is in no range
    case SettingType::kBool:
    case SettingType::kCallbacks:
    case SettingType::kPointer:
      return absl::OkStatus();
    case SettingType::kString:
      return CheckChoice(setting, std::get<std::string>(value));
    case SettingType::kIntList:
      for (const int64_t element : std::get<std::vector<int64_t>>(value)) {
        TSR_RETURN_IF_ERROR(CheckNumber(setting, static_cast<double>(element)));
      }
      return absl::OkStatus();
    case SettingType::kFloatList:
      for (const double element : std::get<std::vector<double>>(value)) {
        TSR_RETURN_IF_ERROR(CheckNumber(setting, element));
      }
      return absl::OkStatus();
    case SettingType::kStringList:
      for (const std::string& element : std::get<std::vector<std::string>>(value)) {
        const double size = static_cast<double>(element.size());
        if (size < setting.least || size > setting.most) {
          return InvalidArgument(PlaceOf(setting.key),
                                 absl::StrCat("a string of ", element.size(), " bytes; ", setting.least,
                                              " to ", setting.most, " are allowed"));
        }
      }
      return absl::OkStatus();
  }
  return Internal(PlaceOf(setting.key), "unknown type");
}

}  // namespace

absl::Span<const Setting> AllSettings() { return kSettings; }

const char* TypeName(SettingType type) {
  switch (type) {
    case SettingType::kInt:
      return "int";
    case SettingType::kFloat:
      return "float";
    case SettingType::kBool:
      return "bool";
    case SettingType::kString:
      return "string";
    case SettingType::kIntList:
      return "int list";
    case SettingType::kFloatList:
      return "float list";
    case SettingType::kStringList:
      return "string list";
    case SettingType::kCallbacks:
      return "callbacks";
    case SettingType::kPointer:
      return "pointer";
  }
  return "unknown";
}

absl::StatusOr<const Setting*> FindSetting(absl::string_view key) {
  for (const Setting& setting : kSettings) {
    if (key == setting.key) return &setting;
  }
  if (key.size() > 256)
    return InvalidArgument("key", absl::StrCat("no setting has a name of ", key.size(), " bytes"));
  const Setting* nearest = nullptr;
  size_t least = key.size();
  for (const Setting& setting : kSettings) {
    const size_t distance = Distance(key, setting.key);
    if (distance < least) {
      least = distance;
      nearest = &setting;
    }
  }
  std::string message = "there is no such setting";
  if (nearest != nullptr && least <= key.size() / 3)
    absl::StrAppend(&message, "; did you mean '", nearest->key, "'?");
  return InvalidArgument(PlaceOf(key), message);
}

absl::Status Settings::Set(absl::string_view key, SettingType type, SettingValue value) {
  TSR_ASSIGN_OR_RETURN(const Setting* setting, FindSetting(key));
  if (setting->type != type) {
    return InvalidArgument(PlaceOf(key), absl::StrCat("it is a setting of type ", TypeName(setting->type),
                                                      ", not ", TypeName(type)));
  }
  TSR_RETURN_IF_ERROR(CheckValue(*setting, value));
  for (auto& entry : values_) {
    if (entry.first == setting) {
      entry.second.swap(value);
      return absl::OkStatus();
    }
  }
  values_.emplace_back(setting, std::move(value));
  return absl::OkStatus();
}

absl::Status Settings::CheckScope(absl::Span<const absl::string_view> prefixes,
                                  absl::string_view call) const {
  for (const auto& entry : values_) {
    const absl::string_view key = entry.first->key;
    const bool fits = std::any_of(prefixes.begin(), prefixes.end(), [&](absl::string_view prefix) {
      return key.substr(0, prefix.size()) == prefix;
    });
    if (!fits) return InvalidArgument(PlaceOf(key), absl::StrCat(call, " does not take it"));
  }
  return absl::OkStatus();
}

const SettingValue* Settings::Find(absl::string_view key) const {
  for (const auto& entry : values_) {
    if (key == entry.first->key) return &entry.second;
  }
  return nullptr;
}

int64_t Settings::Int(absl::string_view key, int64_t otherwise) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? otherwise : std::get<int64_t>(*value);
}

double Settings::Float(absl::string_view key, double otherwise) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? otherwise : std::get<double>(*value);
}

bool Settings::Bool(absl::string_view key, bool otherwise) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? otherwise : std::get<bool>(*value);
}

absl::string_view Settings::String(absl::string_view key, absl::string_view otherwise) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? otherwise : absl::string_view(std::get<std::string>(*value));
}

const std::vector<int64_t>* Settings::IntList(absl::string_view key) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? nullptr : &std::get<std::vector<int64_t>>(*value);
}

const std::vector<double>* Settings::FloatList(absl::string_view key) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? nullptr : &std::get<std::vector<double>>(*value);
}

const std::vector<std::string>* Settings::StringList(absl::string_view key) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? nullptr : &std::get<std::vector<std::string>>(*value);
}

std::shared_ptr<const CallbackTable> Settings::Callbacks(absl::string_view key) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? nullptr : std::get<std::shared_ptr<const CallbackTable>>(*value);
}

void* Settings::Pointer(absl::string_view key) const {
  const SettingValue* value = Find(key);
  return value == nullptr ? nullptr : std::get<void*>(*value);
}

}  // namespace tessera::capi
