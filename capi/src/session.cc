// tsr_session: append, generate, cancel, read back, save and restore.
#include <algorithm>
#include <utility>

#include "capi/src/chat.h"
#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "core/base/float_control.h"

namespace tessera::capi {
namespace {

static_assert(static_cast<int>(CancelEffect::kKeep) == TSR_CANCEL_KEEP);
static_assert(static_cast<int>(CancelEffect::kDrop) == TSR_CANCEL_DROP);

static_assert(kNoCacheType == TSR_CACHE_NONE && kStateHeaderBytes == TSR_STATE_HEADER_BYTES);
static_assert(static_cast<int>(CacheType::kF32) == TSR_CACHE_F32);
static_assert(static_cast<int>(CacheType::kF16) == TSR_CACHE_F16);
static_assert(static_cast<int>(CacheType::kBF16) == TSR_CACHE_BF16);
static_assert(static_cast<int>(CacheType::kInt8) == TSR_CACHE_INT8);

// One caller at a time: a second one is turned away instead of waiting.
class Entry {
 public:
  explicit Entry(tsr_session* session) : session_(session) {
    entered_ = !session->inside.exchange(true, std::memory_order_acquire);
  }
  ~Entry() {
    if (entered_) session_->inside.store(false, std::memory_order_release);
  }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  bool entered() const { return entered_; }

 private:
  tsr_session* session_;
  bool entered_;
};

template <typename Function>
tsr_status GuardSession(tsr_session* session, tsr_error** error, Function&& function) noexcept {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(session, "session"));
    const Entry entry(session);
    if (!entry.entered()) return Busy("session", "another thread uses it");
    return function();
  });
}

absl::StatusOr<SamplingParams> SamplingOf(const Settings& s) {
  SamplingParams sampling;
  sampling.temperature = static_cast<float>(s.Float("sampling.temperature", 0));
  sampling.top_k = static_cast<int32_t>(s.Int("sampling.top_k", 0));
  sampling.top_p = static_cast<float>(s.Float("sampling.top_p", 1));
  sampling.min_p = static_cast<float>(s.Float("sampling.min_p", 0));
  sampling.repetition_penalty = static_cast<float>(s.Float("sampling.repetition_penalty", 1));
  sampling.frequency_penalty = static_cast<float>(s.Float("sampling.frequency_penalty", 0));
  sampling.presence_penalty = static_cast<float>(s.Float("sampling.presence_penalty", 0));
  sampling.penalty_window_tokens = static_cast<int32_t>(s.Int("sampling.penalty_window", 64));
  sampling.seed = static_cast<uint64_t>(s.Int("sampling.seed", 0));
  sampling.top_logprobs = static_cast<int32_t>(s.Int("request.top_logprobs", -1));

  const std::vector<int64_t>* tokens = s.IntList("sampling.logit_bias_tokens");
  const std::vector<double>* values = s.FloatList("sampling.logit_bias_values");
  const size_t token_count = tokens == nullptr ? 0 : tokens->size();
  const size_t value_count = values == nullptr ? 0 : values->size();
  if (token_count != value_count) {
    return InvalidArgument("setting 'sampling.logit_bias_tokens'",
                           absl::StrCat(token_count, " tokens, but ", value_count, " values"));
  }
  for (size_t i = 0; i < token_count; ++i) {
    sampling.logit_bias.emplace_back(static_cast<int32_t>((*tokens)[i]), static_cast<float>((*values)[i]));
  }
  std::sort(sampling.logit_bias.begin(), sampling.logit_bias.end());
  for (size_t i = 1; i < token_count; ++i) {
    if (sampling.logit_bias[i].first == sampling.logit_bias[i - 1].first) {
      return InvalidArgument("setting 'sampling.logit_bias_tokens'",
                             absl::StrCat("token ", sampling.logit_bias[i].first, " stands there twice"));
    }
  }
  return sampling;
}

absl::StatusOr<RequestParams> ParamsOf(const Settings* settings) {
  RequestParams params;
  if (settings == nullptr) return params;
  const Settings& s = *settings;
  TSR_ASSIGN_OR_RETURN(params.sampling, SamplingOf(s));
  params.max_tokens = s.Int("request.max_tokens", params.max_tokens);
  params.deadline_ns = s.Int("request.deadline_ns", 0);
  params.priority = static_cast<int32_t>(s.Int("request.priority", 0));
  params.ignore_end = s.Bool("request.ignore_end", false);
  if (const auto* stop = s.StringList("request.stop"); stop != nullptr) params.stop = *stop;
  if (const auto* tokens = s.IntList("request.stop_tokens"); tokens != nullptr) {
    params.stop_tokens.assign(tokens->begin(), tokens->end());
  }
  return params;
}

absl::StatusOr<tsr_state_info> Probe(absl::Span<const uint8_t> state) {
  tsr_state_info info = {};
  TSR_ASSIGN_OR_RETURN(const StateDescription found, ReadStateHeader(state, &info.size_bytes));
  info.complete = state.size() < info.size_bytes ? 0 : 1;
  if (info.complete != 0) TSR_RETURN_IF_ERROR(ReadState(state).status());
  info.version = static_cast<int32_t>(kStateVersion);
  info.token_count = found.token_count;
  info.cached_tokens = found.cached_tokens;
  info.cache_type = found.cache_type;
  std::copy(found.model.bytes.begin(), found.model.bytes.end(), info.model_hash);
  std::copy(found.tokenizer.bytes.begin(), found.tokenizer.bytes.end(), info.tokenizer_hash);
  return info;
}

}  // namespace
}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_session_create(tsr_engine* engine, const tsr_options* options, tsr_session** session,
                              tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    TSR_RETURN_IF_ERROR(CheckPointer(session, "session"));
    TSR_ASSIGN_OR_RETURN(const Settings* settings,
                         ScopedSettings(options, {"session."}, "tsr_session_create"));
    auto handle = std::make_unique<tsr_session>();
    handle->owner = engine->owner;
    const bool logits = settings != nullptr && settings->Bool("session.logits", false);
    TSR_ASSIGN_OR_RETURN(handle->session, engine->owner->engine->CreateSession(logits));
    *session = handle.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_session_fork(tsr_session* session, const tsr_options* options, tsr_session** fork,
                            tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(session, "session"));
    TSR_RETURN_IF_ERROR(CheckPointer(fork, "fork"));
    TSR_ASSIGN_OR_RETURN(const Settings* settings, ScopedSettings(options, {"session."}, "tsr_session_fork"));
    auto handle = std::make_unique<tsr_session>();
    handle->owner = session->owner;
    const bool logits = settings != nullptr && settings->Bool("session.logits", false);
    TSR_ASSIGN_OR_RETURN(handle->session, session->owner->engine->Fork(*session->session, logits));
    *fork = handle.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_session_rewind(tsr_session* session, size_t token_count, tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    return session->owner->engine->Rewind(*session->session, token_count);
  });
}

tsr_status tsr_session_append_text(tsr_session* session, const char* text, size_t text_size, int32_t flags,
                                   tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    std::vector<int32_t> tokens;
    tessera::Engine& engine = *session->owner->engine;
    TSR_RETURN_IF_ERROR(TokenizeText(*engine.model().tokenizer, text, text_size, flags, &tokens));
    return engine.Append(*session->session, tokens);
  });
}

tsr_status tsr_session_append_chat(tsr_session* session, const char* messages, size_t messages_size,
                                   const tsr_options* options, tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(const tessera::ChatRequest request,
                         ChatRequestOf(messages, messages_size, options, "tsr_session_append_chat"));
    const Settings* settings = SettingsOf(options);
    const bool parse_special = settings != nullptr && settings->Bool("chat.parse_special", false);
    tessera::Engine& engine = *session->owner->engine;
    const bool follows = engine.TokenCount(*session->session) > 0;
    std::vector<int32_t> tokens;
    TSR_RETURN_IF_ERROR(TokenizeChat(engine.model(), request, parse_special, follows, &tokens));
    return engine.Append(*session->session, tokens);
  });
}

tsr_status tsr_session_append_tokens(tsr_session* session, const int32_t* tokens, size_t count,
                                     tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(tokens, count, "tokens"));
    return session->owner->engine->Append(*session->session, {tokens, count});
  });
}

tsr_status tsr_session_generate(tsr_session* session, const tsr_options* options, tsr_queue* queue,
                                uint64_t tag, uint64_t* request, tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(queue, "queue"));
    if (queue->runtime != session->owner->model->runtime) {
      return tessera::InvalidArgument("queue", "it belongs to another runtime");
    }
    TSR_ASSIGN_OR_RETURN(const Settings* settings,
                         ScopedSettings(options, {"request.", "sampling."}, "tsr_session_generate"));
    const tessera::ScopedFloatControl float_control;  // settings are rounded to single precision
    TSR_ASSIGN_OR_RETURN(tessera::RequestParams params, ParamsOf(settings));
    TSR_ASSIGN_OR_RETURN(const uint64_t id, session->owner->engine->Generate(
                                                session->session, std::move(params), queue->queue, tag));
    if (request != nullptr) *request = id;
    return absl::OkStatus();
  });
}

tsr_status tsr_session_cancel(tsr_session* session, int32_t effect, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(session, "session"));
    if (effect != TSR_CANCEL_KEEP && effect != TSR_CANCEL_DROP) {
      return tessera::InvalidArgument("effect", absl::StrCat(effect, " is no TSR_CANCEL_ constant"));
    }
    // The terminal event may call the host back, which may release everything there.
    const std::shared_ptr<EngineOwner> owner = session->owner;
    const std::shared_ptr<tessera::Session> cancelled = session->session;
    owner->engine->Cancel(*cancelled, static_cast<tessera::CancelEffect>(effect));
    return absl::OkStatus();
  });
}

tsr_status tsr_session_token_count(tsr_session* session, size_t* count, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(session, "session"));
    TSR_RETURN_IF_ERROR(CheckPointer(count, "count"));
    *count = session->owner->engine->TokenCount(*session->session);
    return absl::OkStatus();
  });
}

tsr_status tsr_session_get_tokens(tsr_session* session, size_t first, int32_t* tokens, size_t capacity,
                                  size_t* count, tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(tokens, capacity, "tokens"));
    TSR_RETURN_IF_ERROR(CheckPointer(count, "count"));
    TSR_ASSIGN_OR_RETURN(*count,
                         session->owner->engine->CopyTokens(*session->session, first, tokens, capacity));
    return absl::OkStatus();
  });
}

tsr_status tsr_session_get_logits(tsr_session* session, float* logits, size_t capacity, size_t* count,
                                  tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(logits, capacity, "logits"));
    TSR_RETURN_IF_ERROR(CheckPointer(count, "count"));
    return session->owner->engine->CopyLogits(*session->session, logits, capacity, count);
  });
}

tsr_status tsr_session_park(tsr_session* session, tsr_error** error) {
  return GuardSession(session, error,
                      [&]() -> absl::Status { return session->owner->engine->Park(*session->session); });
}

tsr_status tsr_session_save(tsr_session* session, const tsr_options* options, void* buffer, size_t capacity,
                            size_t* size, tsr_error** error) {
  return GuardSession(session, error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(buffer, capacity, "buffer"));
    TSR_RETURN_IF_ERROR(CheckPointer(size, "size"));
    TSR_ASSIGN_OR_RETURN(const Settings* settings, ScopedSettings(options, {"state."}, "tsr_session_save"));
    const bool cache = settings == nullptr || settings->Bool("state.cache", true);
    return session->owner->engine->Save(*session->session, cache, {static_cast<uint8_t*>(buffer), capacity},
                                        size);
  });
}

tsr_status tsr_session_restore(tsr_engine* engine, const void* state, size_t state_size,
                               const tsr_options* options, tsr_session** session, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(engine, "engine"));
    TSR_RETURN_IF_ERROR(CheckRange(state, state_size, "state"));
    TSR_RETURN_IF_ERROR(CheckPointer(session, "session"));
    TSR_ASSIGN_OR_RETURN(const Settings* settings,
                         ScopedSettings(options, {"session.", "state."}, "tsr_session_restore"));
    auto handle = std::make_unique<tsr_session>();
    handle->owner = engine->owner;
    const bool cache = settings == nullptr || settings->Bool("state.cache", true);
    const bool logits = settings != nullptr && settings->Bool("session.logits", false);
    const absl::Span<const uint8_t> bytes(static_cast<const uint8_t*>(state), state_size);
    TSR_ASSIGN_OR_RETURN(handle->session, engine->owner->engine->Restore(bytes, cache, logits));
    *session = handle.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_state_probe(const void* state, size_t state_size, tsr_state_info* info, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(state, state_size, "state"));
    TSR_RETURN_IF_ERROR(CheckPointer(info, "info"));
    TSR_ASSIGN_OR_RETURN(tsr_state_info full, Probe({static_cast<const uint8_t*>(state), state_size}));
    return FillStruct(full, info);
  });
}

void tsr_session_release(tsr_session* session) {
  if (session == nullptr || Forked()) return;
  session->owner->engine->ReleaseSession(*session->session);
  delete session;
}
