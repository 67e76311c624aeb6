// A host in C++ that links abseil of its own, the system's, and has its own operator new, beside the library,
// in whichever build. A block that one allocator gave and another is handed ends the program.
//   host_with_abseil_test MODEL
#include <absl/hash/hash.h>
#include <absl/status/status.h>
#include <absl/strings/cord.h>
#include <absl/strings/str_cat.h>
#include <dlfcn.h>
#include <tessera/tessera.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

// Before each block of the host's operator new.
struct alignas(16) Mark {
  uint64_t is_ours;
};
constexpr uint64_t kOurs = 0x6f75727321212121;
std::atomic<int64_t> blocks{0};

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::_Exit(1);
}

void* Allocate(size_t size) {
  auto* const mark = static_cast<Mark*>(std::malloc(sizeof(Mark) + size));
  if (mark == nullptr) throw std::bad_alloc();
  mark->is_ours = kOurs;
  blocks.fetch_add(1);
  return mark + 1;
}

void Free(void* block) {
  if (block == nullptr) return;
  Mark* const mark = static_cast<Mark*>(block) - 1;
  if (mark->is_ours != kOurs) Fail("operator delete was handed a block of another allocator");
  mark->is_ours = 0;
  blocks.fetch_sub(1);
  std::free(mark);
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void operator delete(void* block) noexcept { Free(block); }
void operator delete[](void* block) noexcept { Free(block); }
void operator delete(void* block, size_t) noexcept { Free(block); }
void operator delete[](void* block, size_t) noexcept { Free(block); }

namespace {

// The host's own abseil and exceptions at work: statuses with payloads, cords, hashes.
void UseAbseil() {
  for (int i = 0; i < 200; ++i) {
    absl::Status status = absl::InvalidArgumentError(absl::StrCat("number ", i, " of the host's"));
    status.SetPayload("host", absl::Cord(std::string(1000, 'x')));
    const absl::Status copy = status;
    if (copy.message() != absl::StrCat("number ", i, " of the host's") ||
        copy.GetPayload("host")->size() != 1000) {
      Fail("a status of the host's changed");
    }
    if (absl::HashOf(i, std::string("host")) != absl::HashOf(i, std::string("host")))
      Fail("a hash of the host's");
    try {
      throw std::runtime_error(std::string(copy.message()));
    } catch (const std::exception& error) {
      if (copy.message() != error.what()) Fail("an exception of the host's changed");
    }
  }
  if (std::uncaught_exceptions() != 0) Fail("the host's count of exceptions");
}

std::vector<int32_t> Generate(tsr_engine* engine, tsr_queue* queue) {
  tsr_session* session = nullptr;
  tsr_options* options = nullptr;
  tsr_error* error = nullptr;
  if (tsr_session_create(engine, nullptr, &session, &error) || tsr_options_create(&options, &error) ||
      tsr_options_set_int(options, "request.max_tokens", 18, 50, &error) ||
      tsr_options_set_bool(options, "request.ignore_end", 18, 1, &error) ||
      tsr_session_append_text(session, "the other hello", 15, 0, &error) ||
      tsr_session_generate(session, options, queue, 1, nullptr, &error)) {
    Fail(tsr_error_message(error, nullptr));
  }
  for (bool finished = false; !finished;) {
    uint64_t buffer[2048];
    size_t used = 0;
    if (tsr_queue_poll(queue, -1, buffer, sizeof buffer, &used, &error)) Fail("poll");
    const char* const data = reinterpret_cast<const char*>(buffer);
    for (size_t at = 0; at < used;) {
      tsr_event event;
      std::memcpy(&event, data + at, sizeof event);
      finished |= event.kind == TSR_EVENT_FINISHED;
      at += event.size;
    }
  }
  size_t count = 0;
  std::vector<int32_t> tokens(200);
  if (tsr_session_get_tokens(session, 0, tokens.data(), tokens.size(), &count, &error)) Fail("tokens");
  tokens.resize(count);
  tsr_options_release(options);
  tsr_session_release(session);
  return tokens;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Dl_info where = {};
  std::string (*const name)(absl::StatusCode) = &absl::StatusCodeToString;
  if (dladdr(reinterpret_cast<void*>(name), &where) == 0 ||
      std::strstr(where.dli_fname, "libabsl") == nullptr) {
    Fail("the host's abseil is not the system's shared one: this proves nothing");
  }
  tsr_runtime* runtime = nullptr;
  tsr_model* model = nullptr;
  tsr_engine* engine = nullptr;
  tsr_queue* queue = nullptr;
  tsr_error* error = nullptr;
  UseAbseil();
  if (tsr_runtime_create(nullptr, &runtime, &error)) Fail("runtime");
  if (tsr_model_load_file(runtime, "/none", 5, nullptr, &model, &error) != TSR_STATUS_NOT_FOUND)
    Fail("no error");
  if (std::strstr(tsr_error_message(error, nullptr), "/none") == nullptr) Fail("an error's text");
  tsr_error_release(error);
  if (tsr_model_load_file(runtime, argv[1], std::strlen(argv[1]), nullptr, &model, &error) ||
      tsr_engine_create(model, nullptr, &engine, &error) ||
      tsr_queue_create(runtime, nullptr, &queue, &error)) {
    Fail(tsr_error_message(error, nullptr));
  }
  const std::vector<int32_t> right = Generate(engine, queue);
  if (right.size() <= 50) Fail("too few tokens");
  std::vector<std::thread> threads;  // with the library's beside them
  for (int i = 0; i < 2; ++i) threads.emplace_back(UseAbseil);
  if (Generate(engine, queue) != right) Fail("other tokens beside the host's abseil");
  for (std::thread& thread : threads) thread.join();
  tsr_queue_release(queue);
  tsr_engine_release(engine);
  tsr_model_release(model);
  tsr_runtime_release(runtime);
  UseAbseil();
  if (blocks.load() == 0) Fail("the host's operator new was not used");
  return 0;
}
