// What the benchmarks need as hosts of the library: errors that end the program, settings, a model from a
// file or of a shape, events. Stands on the C header alone.
#ifndef TESSERA_BENCH_HOST_H_
#define TESSERA_BENCH_HOST_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/shaped_model.h"
#include "tessera/tessera.h"

namespace tessera_bench {

[[noreturn]] inline void Fail(const char* program, const char* what, const char* message) {
  std::fprintf(stderr, "%s: %s: %s\n", program, what, message);
  std::exit(1);
}

// Ends the program with the error's message unless the call went well.
class Must {
 public:
  explicit Must(const char* what) : what_(what) {}
  // As if it were the pointer that every call takes last.
  operator tsr_error**() { return &error_; }  // NOLINT(google-explicit-constructor)
  void operator=(tsr_status status) {
    if (status != TSR_STATUS_OK) Fail("benchmark", what_, tsr_error_message(error_, nullptr));
  }

 private:
  const char* what_;
  tsr_error* error_ = nullptr;
};

inline void SetInt(tsr_options* options, const char* key, int64_t value) {
  Must must(key);
  must = tsr_options_set_int(options, key, std::strlen(key), value, must);
}

inline void SetBool(tsr_options* options, const char* key, bool value) {
  Must must(key);
  must = tsr_options_set_bool(options, key, std::strlen(key), value ? 1 : 0, must);
}

inline void SetFloat(tsr_options* options, const char* key, double value) {
  Must must(key);
  must = tsr_options_set_float(options, key, std::strlen(key), value, must);
}

inline void SetString(tsr_options* options, const char* key, const std::string& value) {
  Must must(key);
  must = tsr_options_set_string(options, key, std::strlen(key), value.data(), value.size(), must);
}

inline tsr_options* NewOptions() {
  tsr_options* options = nullptr;
  Must must("options");
  must = tsr_options_create(&options, must);
  return options;
}

// "--model FILE" or "--shape 1b/q4_0": a name that FindShape knows, and a type.
struct ModelChoice {
  std::string file;
  std::string shape;
  std::string name() const { return shape.empty() ? file.substr(file.rfind('/') + 1) : shape; }
  ModelShape Shape() const {
    ModelShape made;
    const size_t slash = std::min(shape.find('/'), shape.size());
    const bool known = FindShape(shape.substr(0, slash), &made);
    if (slash < shape.size()) made.type = shape.substr(slash + 1);
    if (!known || (made.type != "q4_0" && made.type != "q8_0" && made.type != "bf16" && made.type != "f16")) {
      Fail("benchmark", "--shape", "1b, 8b or tiny, a slash, and q4_0, q8_0, bf16 or f16");
    }
    return made;
  }
};

inline tsr_model* LoadModel(tsr_runtime* runtime, const ModelChoice& choice) {
  tsr_model* model = nullptr;
  Must must("model");
  if (choice.shape.empty()) {
    must = tsr_model_load_file(runtime, choice.file.data(), choice.file.size(), nullptr, &model, must);
  } else {
    ShapedModel shaped(choice.Shape());
    const tsr_reader reader = shaped.Reader();
    must = tsr_model_load_reader(runtime, &reader, nullptr, &model, must);
  }
  return model;
}

inline std::vector<int32_t> RandomTokens(size_t count, int32_t vocabulary, uint64_t seed) {
  std::vector<int32_t> tokens(count);
  uint64_t random = seed * 2 + 1;
  for (int32_t& token : tokens) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    token = static_cast<int32_t>((random >> 33) % static_cast<uint64_t>(vocabulary));
  }
  return tokens;
}

// Calls visit(head, record) for each record of a polled buffer.
template <typename Visit>
void ForEachEvent(const void* buffer, size_t used, Visit&& visit) {
  const char* const bytes = static_cast<const char*>(buffer);
  for (size_t at = 0; at < used;) {
    tsr_event head;
    std::memcpy(&head, bytes + at, sizeof head);
    visit(head, bytes + at);
    at += head.size;
  }
}

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_HOST_H_
