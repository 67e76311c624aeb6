#include "tests/capi/api/host.h"

#include <gtest/gtest.h>

#include <cstring>

namespace tessera::host {
namespace {

void Must(tsr_status status, tsr_error* error) {
  EXPECT_EQ(status, TSR_STATUS_OK) << tsr_error_message(error, nullptr);
  tsr_error_release(error);
}

}  // namespace

Options::Options() {
  tsr_options* options = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_options_create(&options, &error), error);
  options_.reset(options, tsr_options_release);
}

Options& Options::Int(const std::string& key, int64_t value) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_int(options_.get(), key.data(), key.size(), value, &error), error);
  return *this;
}

Options& Options::Float(const std::string& key, double value) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_float(options_.get(), key.data(), key.size(), value, &error), error);
  return *this;
}

Options& Options::Bool(const std::string& key, bool value) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_bool(options_.get(), key.data(), key.size(), value ? 1 : 0, &error), error);
  return *this;
}

Options& Options::String(const std::string& key, const std::string& value) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_string(options_.get(), key.data(), key.size(), value.data(), value.size(), &error),
       error);
  return *this;
}

Options& Options::Strings(const std::string& key, const std::vector<std::string>& values) {
  std::vector<const char*> data;
  std::vector<size_t> sizes;
  for (const std::string& value : values) {
    data.push_back(value.data());
    sizes.push_back(value.size());
  }
  tsr_error* error = nullptr;
  Must(tsr_options_set_string_list(options_.get(), key.data(), key.size(), data.data(), sizes.data(),
                                   values.size(), &error),
       error);
  return *this;
}

Options& Options::Ints(const std::string& key, const std::vector<int64_t>& values) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_int_list(options_.get(), key.data(), key.size(), values.data(), values.size(), &error),
       error);
  return *this;
}

Options& Options::Floats(const std::string& key, const std::vector<double>& values) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_float_list(options_.get(), key.data(), key.size(), values.data(), values.size(),
                                  &error),
       error);
  return *this;
}

Options& Options::Callbacks(const std::string& key, const void* table) {
  tsr_error* error = nullptr;
  Must(tsr_options_set_callbacks(options_.get(), key.data(), key.size(), table, &error), error);
  return *this;
}

Host::Host() {
  tsr_runtime* runtime = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_runtime_create(nullptr, &runtime, &error), error);
  runtime_.reset(runtime);
}

Host::Host(const std::vector<uint8_t>& model_bytes, const Options& model_options) : Host() {
  tsr_model* model = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_model_load_memory(runtime_.get(), model_bytes.data(), model_bytes.size(), TSR_MEMORY_COPY,
                             model_options.get(), &model, &error),
       error);
  model_.reset(model);
}

std::unique_ptr<Host> Host::FromFile(const std::string& path, const Options& model_options) {
  std::unique_ptr<Host> host(new Host);
  tsr_model* model = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_model_load_file(host->runtime_.get(), path.data(), path.size(), model_options.get(), &model,
                           &error),
       error);
  host->model_.reset(model);
  return host;
}

Handle<tsr_engine> Host::Engine(const Options& options) const {
  tsr_engine* engine = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_engine_create(model_.get(), options.get(), &engine, &error), error);
  return Handle<tsr_engine>(engine);
}

Handle<tsr_queue> Host::Queue() const {
  tsr_queue* queue = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_queue_create(runtime_.get(), nullptr, &queue, &error), error);
  return Handle<tsr_queue>(queue);
}

std::vector<int32_t> Host::Tokenize(const std::string& text, int32_t flags) const {
  size_t count = 0;
  tsr_status status =
      tsr_model_tokenize(model_.get(), text.data(), text.size(), flags, nullptr, 0, &count, nullptr);
  if (status == TSR_STATUS_OK) return {};
  std::vector<int32_t> tokens(count);
  tsr_error* error = nullptr;
  Must(
      tsr_model_tokenize(model_.get(), text.data(), text.size(), flags, tokens.data(), count, &count, &error),
      error);
  return tokens;
}

std::string Host::Detokenize(const std::vector<int32_t>& tokens, int32_t flags) const {
  size_t size = 0;
  tsr_model_detokenize(model_.get(), tokens.data(), tokens.size(), flags, nullptr, 0, &size, nullptr);
  std::string text(size, '?');
  tsr_error* error = nullptr;
  Must(tsr_model_detokenize(model_.get(), tokens.data(), tokens.size(), flags, text.data(), size, &size,
                            &error),
       error);
  return text;
}

Handle<tsr_session> NewSession(tsr_engine* engine, bool logits) {
  tsr_session* session = nullptr;
  tsr_error* error = nullptr;
  Must(tsr_session_create(engine, Options().Bool("session.logits", logits).get(), &session, &error), error);
  return Handle<tsr_session>(session);
}

void Append(tsr_session* session, const std::string& text, int32_t flags) {
  tsr_error* error = nullptr;
  Must(tsr_session_append_text(session, text.data(), text.size(), flags, &error), error);
}

void Append(tsr_session* session, const std::vector<int32_t>& tokens) {
  tsr_error* error = nullptr;
  Must(tsr_session_append_tokens(session, tokens.data(), tokens.size(), &error), error);
}

void Collect(const void* data, size_t size, std::map<uint64_t, Answer>* answers) {
  const char* at = static_cast<const char*>(data);
  for (const char* end = at + size; at < end;) {
    tsr_event head;
    std::memcpy(&head, at, sizeof(head));
    Answer& answer = (*answers)[head.tag];
    if (head.kind == TSR_EVENT_TOKENS) {
      tsr_event_tokens event;
      std::memcpy(&event, at, sizeof(event));
      answer.text.append(at + event.text_offset, event.text_size);
      for (uint32_t i = 0; i < event.token_count; ++i) {
        int32_t token;
        std::memcpy(&token, at + event.token_offset + i * sizeof(token), sizeof(token));
        answer.tokens.push_back(token);
        if (event.logprob_offset == 0) continue;
        float logprob;
        std::memcpy(&logprob, at + event.logprob_offset + i * sizeof(logprob), sizeof(logprob));
        answer.logprobs.push_back(logprob);
        std::vector<tsr_token_logprob> top(event.top_count);
        if (!top.empty()) {
          std::memcpy(top.data(), at + event.top_offset + i * top.size() * sizeof(top[0]),
                      top.size() * sizeof(top[0]));
        }
        answer.top.push_back(std::move(top));
      }
    } else if (head.kind == TSR_EVENT_FINISHED) {
      ++answer.finished;
      std::memcpy(&answer.end, at, sizeof(answer.end));
      answer.message.assign(at + answer.end.message_offset, answer.end.message_size);
    }
    at += head.size;
  }
}

std::map<uint64_t, Answer> Finish(tsr_queue* queue, tsr_engine* engine, size_t count) {
  std::map<uint64_t, Answer> answers;
  std::vector<uint64_t> buffer(8192);
  constexpr int64_t kPatienceNs = 120'000'000'000;
  for (;;) {
    size_t ended = 0;
    for (const auto& entry : answers) ended += static_cast<size_t>(entry.second.finished);
    if (ended >= count) return answers;
    size_t used = 0;
    tsr_error* error = nullptr;
    Must(tsr_queue_wait(queue, engine, kPatienceNs, buffer.data(), buffer.size() * 8, &used, &error), error);
    if (used == 0) {
      ADD_FAILURE() << "no event came, " << ended << " of " << count << " requests have ended";
      return answers;
    }
    Collect(buffer.data(), used, &answers);
  }
}

Answer Generate(tsr_session* session, tsr_engine* engine, tsr_queue* queue, const Options& options) {
  tsr_error* error = nullptr;
  Must(tsr_session_generate(session, options.get(), queue, 1, nullptr, &error), error);
  return Finish(queue, engine, 1)[1];
}

std::vector<float> Logits(tsr_session* session) {
  size_t count = 0;
  tsr_session_get_logits(session, nullptr, 0, &count, nullptr);
  std::vector<float> logits(count);
  tsr_error* error = nullptr;
  Must(tsr_session_get_logits(session, logits.data(), count, &count, &error), error);
  return logits;
}

}  // namespace tessera::host
