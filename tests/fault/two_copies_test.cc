// Two copies of libtessera.so in one process, and one that the host closes while it works. The program links
// none: it knows the library by dlopen. See docs/process.md.
//   two_copies_test LIBRARY
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/doubles/tiny_model.h"
#include "tests/fault/api.h"

namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::exit(1);
}

// A library that was loaded, with its functions.
struct Copy {
  Copy(void* loaded, const char* what) : handle(loaded) {
    if (handle == nullptr) Fail(std::string(what) + ": " + dlerror());
#define FAULT_FIND(name)                                       \
  do {                                                         \
    void* const found = dlsym(handle, #name);                  \
    if (found == nullptr) Fail(std::string(what) + " " #name); \
    std::memcpy(&api.name, &found, sizeof found);              \
  } while (0);
    FAULT_FUNCTIONS(FAULT_FIND)
#undef FAULT_FIND
  }
  void* handle;
  Api api = {};
};

// Greedy tokens of the tiny model.
std::vector<int32_t> Generate(const Api& api, const std::vector<uint8_t>& bytes, int64_t count) {
  tsr_runtime* runtime = nullptr;
  tsr_model* model = nullptr;
  tsr_engine* engine = nullptr;
  tsr_session* session = nullptr;
  tsr_queue* queue = nullptr;
  tsr_options* options = nullptr;
  tsr_error* error = nullptr;
  const bool started = !api.tsr_runtime_create(nullptr, &runtime, &error) &&
                       !api.tsr_model_load_memory(runtime, bytes.data(), bytes.size(), TSR_MEMORY_COPY,
                                                  nullptr, &model, &error) &&
                       !api.tsr_engine_create(model, nullptr, &engine, &error) &&
                       !api.tsr_session_create(engine, nullptr, &session, &error) &&
                       !api.tsr_queue_create(runtime, nullptr, &queue, &error) &&
                       !api.tsr_options_create(&options, &error) &&
                       !api.tsr_options_set_int(options, "request.max_tokens", 18, count, &error) &&
                       !api.tsr_options_set_bool(options, "request.ignore_end", 18, 1, &error) &&
                       !api.tsr_session_append_text(session, "the other hello", 15, 0, &error) &&
                       !api.tsr_session_generate(session, options, queue, 1, nullptr, &error);
  if (!started) Fail(api.tsr_error_message(error, nullptr));
  std::vector<int32_t> tokens;
  for (bool finished = false; !finished;) {
    uint64_t buffer[2048];
    size_t used = 0;
    if (api.tsr_queue_poll(queue, -1, buffer, sizeof buffer, &used, &error)) Fail("poll");
    const char* const data = reinterpret_cast<const char*>(buffer);
    for (size_t at = 0; at < used;) {
      tsr_event_tokens event;
      std::memcpy(&event, data + at, sizeof event);
      if (event.head.kind == TSR_EVENT_FINISHED) finished = true;
      for (uint32_t i = 0; event.head.kind == TSR_EVENT_TOKENS && i < event.token_count; ++i) {
        int32_t token;
        std::memcpy(&token, data + at + event.token_offset + i * sizeof token, sizeof token);
        tokens.push_back(token);
      }
      at += event.head.size;
    }
  }
  api.tsr_options_release(options);
  api.tsr_session_release(session);
  api.tsr_queue_release(queue);
  api.tsr_engine_release(engine);
  api.tsr_model_release(model);
  api.tsr_runtime_release(runtime);
  return tokens;
}

std::string CopyOf(const std::string& library) {
  char path[] = "/tmp/libtessera_twin_XXXXXX";
  const int descriptor = mkstemp(path);
  if (descriptor < 0) Fail("no temporary file");
  close(descriptor);
  std::ofstream(path, std::ios::binary) << std::ifstream(library, std::ios::binary).rdbuf();
  return path;
}

// An engine that works while the host closes the library, and is used after.
void CloseWhileItWorks(const Copy& copy, const std::vector<uint8_t>& model,
                       const std::vector<int32_t>& right) {
  std::vector<int32_t> tokens;
  std::thread host([&] { tokens = Generate(copy.api, model, 100); });
  if (dlclose(copy.handle) != 0) Fail("dlclose");
  host.join();
  if (tokens != right) Fail("an engine computed something else when the library was closed");
  if (Generate(copy.api, model, 100) != right) Fail("the library was unloaded");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::vector<uint8_t> model = tessera::MakeTinyModel();
  const Copy first(dlopen(argv[1], RTLD_NOW | RTLD_LOCAL), "the first copy");
  const std::string twin = CopyOf(argv[1]);
  const Copy second(dlopen(twin.c_str(), RTLD_NOW | RTLD_LOCAL), "the second copy");
  // With a C++ runtime, and all else, of its own.
  const Copy third(dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW), "a copy in another namespace");
  unlink(twin.c_str());
  const Copy* const copies[] = {&first, &second, &third};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < i; ++j) {
      if (copies[i]->api.tsr_engine_create == copies[j]->api.tsr_engine_create) Fail("two copies are one");
    }
  }

  const std::vector<int32_t> right = Generate(first.api, model, 100);
  if (right.size() != 100) Fail("too few tokens");
  std::vector<int32_t> found[3];
  std::vector<std::thread> hosts;  // all at the same time
  for (int i = 0; i < 3; ++i) hosts.emplace_back([&, i] { found[i] = Generate(copies[i]->api, model, 100); });
  for (std::thread& host : hosts) host.join();
  for (int i = 0; i < 3; ++i) {
    if (found[i] != right) Fail("copy " + std::to_string(i) + " computed something else");
  }
  // An error of one copy is no error of another's, but code and text may be read through its own functions.
  tsr_error* error = nullptr;
  tsr_runtime* runtime = nullptr;
  if (second.api.tsr_runtime_create(nullptr, &runtime, nullptr) != TSR_STATUS_OK) Fail("runtime");
  tsr_model* loaded = nullptr;
  if (second.api.tsr_model_load_file(runtime, "/none", 5, nullptr, &loaded, &error) != TSR_STATUS_NOT_FOUND ||
      second.api.tsr_error_code(error) != TSR_STATUS_NOT_FOUND) {
    Fail("an error of the second copy");
  }
  second.api.tsr_error_release(error);
  second.api.tsr_runtime_release(runtime);
  CloseWhileItWorks(second, model, right);
  return 0;
}
