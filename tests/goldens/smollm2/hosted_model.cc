#include "tests/goldens/smollm2/hosted_model.h"

#include <cstring>
#include <stdexcept>

namespace tessera::goldens {
namespace {

// Must must; must = tsr_call(..., must);
class Must {
 public:
  // As if it were the pointer that every call takes last.
  operator tsr_error**() { return &error_; }  // NOLINT(google-explicit-constructor)
  void operator=(tsr_status status) {
    if (status == TSR_STATUS_OK) return;
    const std::string message =
        std::string(tsr_status_name(status)) + ": " + tsr_error_message(error_, nullptr);
    tsr_error_release(error_);
    throw std::runtime_error(message);
  }

 private:
  tsr_error* error_ = nullptr;
};

Owned<tsr_options> NewOptions() {
  Must must;
  tsr_options* options = nullptr;
  must = tsr_options_create(&options, must);
  return Owned<tsr_options>(options);
}

void SetString(tsr_options* options, const char* key, const std::string& value) {
  Must must;
  must = tsr_options_set_string(options, key, std::strlen(key), value.data(), value.size(), must);
}

}  // namespace

HostedModel::HostedModel(const std::string& path, const Computing& computing) {
  Must must;
  tsr_runtime* runtime = nullptr;
  must = tsr_runtime_create(nullptr, &runtime, must);
  runtime_.reset(runtime);

  const Owned<tsr_options> of_model = NewOptions();
  SetString(of_model.get(), "model.device", computing.device);
  tsr_model* model = nullptr;
  must = tsr_model_load_file(runtime, path.data(), path.size(), of_model.get(), &model, must);
  model_.reset(model);

  const Owned<tsr_options> of_engine = NewOptions();
  SetString(of_engine.get(), "engine.activations", computing.activations);
  SetString(of_engine.get(), "engine.cache_type", computing.cache_type);
  must = tsr_options_set_int(of_engine.get(), "engine.context_tokens", 21, 1024, must);
  tsr_engine* engine = nullptr;
  must = tsr_engine_create(model, of_engine.get(), &engine, must);
  engine_.reset(engine);

  tsr_queue* queue = nullptr;
  must = tsr_queue_create(runtime, nullptr, &queue, must);
  queue_.reset(queue);
}

std::vector<int32_t> HostedModel::Tokenize(const std::string& text) const {
  std::vector<int32_t> tokens(text.size() + 1);
  size_t count = 0;
  Must must;
  must = tsr_model_tokenize(model_.get(), text.data(), text.size(), TSR_TEXT_PARSE_SPECIAL, tokens.data(),
                            tokens.size(), &count, must);
  tokens.resize(count);
  return tokens;
}

std::string HostedModel::Detokenize(const std::vector<int32_t>& tokens) const {
  std::string text(tokens.size() * 256, '\0');
  size_t size = 0;
  Must must;
  must = tsr_model_detokenize(model_.get(), tokens.data(), tokens.size(), TSR_TEXT_PARSE_SPECIAL, text.data(),
                              text.size(), &size, must);
  text.resize(size);
  return text;
}

Owned<tsr_session> HostedModel::NewSession(bool logits) {
  const Owned<tsr_options> options = NewOptions();
  Must must;
  must = tsr_options_set_bool(options.get(), "session.logits", 14, logits ? 1 : 0, must);
  tsr_session* session = nullptr;
  must = tsr_session_create(engine_.get(), options.get(), &session, must);
  return Owned<tsr_session>(session);
}

tsr_event_finished HostedModel::Generate(tsr_session* session, int64_t max_tokens) {
  const Owned<tsr_options> options = NewOptions();
  Must must;
  must = tsr_options_set_int(options.get(), "request.max_tokens", 18, max_tokens, must);
  must = tsr_options_set_bool(options.get(), "request.ignore_end", 18, 1, must);
  must = tsr_session_generate(session, options.get(), queue_.get(), 0, nullptr, must);
  for (;;) {
    alignas(8) char events[4096];
    size_t used = 0;
    must = tsr_queue_poll(queue_.get(), -1, events, sizeof events, &used, must);
    for (size_t at = 0; at < used;) {
      tsr_event head;
      std::memcpy(&head, events + at, sizeof head);
      if (head.kind == TSR_EVENT_FINISHED) {
        tsr_event_finished finished;
        std::memcpy(&finished, events + at, sizeof finished);
        if (finished.status != TSR_STATUS_OK) {
          throw std::runtime_error(std::string(events + at + finished.message_offset, finished.message_size));
        }
        return finished;
      }
      at += head.size;
    }
  }
}

std::vector<int32_t> HostedModel::Greedy(const std::vector<int32_t>& prompt, int64_t count) {
  const Owned<tsr_session> session = NewSession(false);
  Must must;
  must = tsr_session_append_tokens(session.get(), prompt.data(), prompt.size(), must);
  Generate(session.get(), count);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  size_t copied = 0;
  must = tsr_session_get_tokens(session.get(), prompt.size(), tokens.data(), tokens.size(), &copied, must);
  tokens.resize(copied);
  return tokens;
}

std::vector<std::vector<float>> HostedModel::TeacherForced(const std::vector<int32_t>& prompt,
                                                           const std::vector<int32_t>& tokens) {
  const Owned<tsr_session> session = NewSession(true);
  tsr_model_info info;
  info.struct_size = sizeof info;
  Must must;
  must = tsr_model_get_info(model_.get(), &info, must);
  must = tsr_session_append_tokens(session.get(), prompt.data(), prompt.size(), must);
  std::vector<std::vector<float>> logits;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Generate(session.get(), 0);
    std::vector<float> row(static_cast<size_t>(info.vocabulary_size), -1e30f);
    size_t count = 0;
    must = tsr_session_get_logits(session.get(), row.data(), row.size(), &count, must);
    logits.push_back(std::move(row));
    must = tsr_session_append_tokens(session.get(), &tokens[i], 1, must);
  }
  return logits;
}

}  // namespace tessera::goldens
