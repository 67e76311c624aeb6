// A model behind the public C API, for tests: an error of the library is thrown as std::runtime_error with
// its message.
#ifndef TESSERA_TESTS_GOLDENS_SMOLLM2_HOSTED_MODEL_H_
#define TESSERA_TESTS_GOLDENS_SMOLLM2_HOSTED_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tessera/tessera.h"

namespace tessera::goldens {

struct Release {
  void operator()(tsr_runtime* handle) const { tsr_runtime_release(handle); }
  void operator()(tsr_model* handle) const { tsr_model_release(handle); }
  void operator()(tsr_engine* handle) const { tsr_engine_release(handle); }
  void operator()(tsr_queue* handle) const { tsr_queue_release(handle); }
  void operator()(tsr_session* handle) const { tsr_session_release(handle); }
  void operator()(tsr_options* handle) const { tsr_options_release(handle); }
};
template <typename Handle>
using Owned = std::unique_ptr<Handle, Release>;

// How to compute: values of the settings of the same names.
struct Computing {
  std::string device = "cpu";
  std::string activations = "int8";
  std::string cache_type = "f16";
};

class HostedModel {
 public:
  HostedModel(const std::string& path, const Computing& computing);

  std::vector<int32_t> Tokenize(const std::string& text) const;      // special tokens are parsed
  std::string Detokenize(const std::vector<int32_t>& tokens) const;  // special tokens are shown

  // `count` greedy tokens after the prompt; end tokens do not end it.
  std::vector<int32_t> Greedy(const std::vector<int32_t>& prompt, int64_t count);

  // Logits after the prompt and after each of the tokens but the last: [tokens.size()][vocabulary].
  std::vector<std::vector<float>> TeacherForced(const std::vector<int32_t>& prompt,
                                                const std::vector<int32_t>& tokens);

 private:
  Owned<tsr_session> NewSession(bool logits);
  // Runs a request to its end and returns its terminal event.
  tsr_event_finished Generate(tsr_session* session, int64_t max_tokens);

  Owned<tsr_runtime> runtime_;
  Owned<tsr_model> model_;
  Owned<tsr_engine> engine_;
  Owned<tsr_queue> queue_;
};

}  // namespace tessera::goldens

#endif  // TESSERA_TESTS_GOLDENS_SMOLLM2_HOSTED_MODEL_H_
