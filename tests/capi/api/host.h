// A host for tests of the public API: owns handles, sets options, collects a request's events.
#ifndef TESSERA_TESTS_CAPI_API_HOST_H_
#define TESSERA_TESTS_CAPI_API_HOST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tessera/tessera.h"

namespace tessera::host {

struct Release {
  void operator()(tsr_error* p) const { tsr_error_release(p); }
  void operator()(tsr_options* p) const { tsr_options_release(p); }
  void operator()(tsr_runtime* p) const { tsr_runtime_release(p); }
  void operator()(tsr_model* p) const { tsr_model_release(p); }
  void operator()(tsr_engine* p) const { tsr_engine_release(p); }
  void operator()(tsr_session* p) const { tsr_session_release(p); }
  void operator()(tsr_queue* p) const { tsr_queue_release(p); }
};
template <typename T>
using Handle = std::unique_ptr<T, Release>;

// A call's outcome; the error is released.
struct Outcome {
  tsr_status code = TSR_STATUS_OK;
  std::string message;
  std::string place;
};

// Calls call(&error), checks that the error object agrees with the status, and takes it apart.
template <typename Call>
Outcome Try(Call&& call) {
  tsr_error* error = reinterpret_cast<tsr_error*>(1);  // must be overwritten
  Outcome outcome;
  outcome.code = call(&error);
  if ((error == nullptr) != (outcome.code == TSR_STATUS_OK) || tsr_error_code(error) != outcome.code) {
    outcome.message = "the error object disagrees with the status";
    return outcome;
  }
  outcome.message = tsr_error_message(error, nullptr);
  outcome.place = tsr_error_place(error, nullptr);
  tsr_error_release(error);
  return outcome;
}

// Options set one after the other; copies share one set.
class Options {
 public:
  Options();
  Options& Int(const std::string& key, int64_t value);
  Options& Float(const std::string& key, double value);
  Options& Bool(const std::string& key, bool value);
  Options& String(const std::string& key, const std::string& value);
  Options& Strings(const std::string& key, const std::vector<std::string>& values);
  Options& Ints(const std::string& key, const std::vector<int64_t>& values);
  Options& Floats(const std::string& key, const std::vector<double>& values);
  // A structure that begins with its struct_size; copied.
  Options& Callbacks(const std::string& key, const void* table);
  const tsr_options* get() const { return options_.get(); }

 private:
  std::shared_ptr<tsr_options> options_;
};

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<tsr_token_logprob>> top;
  int finished = 0;  // terminal events seen
  tsr_event_finished end = {};
  std::string message;
};

// One runtime and one model.
class Host {
 public:
  explicit Host(const std::vector<uint8_t>& model_bytes, const Options& model_options = {});
  static std::unique_ptr<Host> FromFile(const std::string& path, const Options& model_options = {});

  tsr_runtime* runtime() const { return runtime_.get(); }
  tsr_model* model() const { return model_.get(); }
  void ReleaseAll() {
    model_.reset();
    runtime_.reset();
  }
  Handle<tsr_engine> Engine(const Options& options = {}) const;
  Handle<tsr_queue> Queue() const;
  std::vector<int32_t> Tokenize(const std::string& text, int32_t flags = TSR_TEXT_PLAIN) const;
  std::string Detokenize(const std::vector<int32_t>& tokens, int32_t flags = TSR_TEXT_PARSE_SPECIAL) const;

 private:
  Host();
  Handle<tsr_runtime> runtime_;
  Handle<tsr_model> model_;
};

Handle<tsr_session> NewSession(tsr_engine* engine, bool logits = false);
void Append(tsr_session* session, const std::string& text, int32_t flags = TSR_TEXT_PLAIN);
void Append(tsr_session* session, const std::vector<int32_t>& tokens);

// Adds the records in [data, data + size) to answers by tag.
void Collect(const void* data, size_t size, std::map<uint64_t, Answer>* answers);
// Waits until `count` requests have ended; works for threaded and stepped engines.
std::map<uint64_t, Answer> Finish(tsr_queue* queue, tsr_engine* engine, size_t count);
// One request from submission to its end.
Answer Generate(tsr_session* session, tsr_engine* engine, tsr_queue* queue, const Options& options);
// The last position's logits.
std::vector<float> Logits(tsr_session* session);

}  // namespace tessera::host

#endif  // TESSERA_TESTS_CAPI_API_HOST_H_
