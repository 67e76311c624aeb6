#include "tests/capi/stress/every_call.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <utility>

namespace tessera::host {
namespace {

#define KEY(text) text, sizeof(text) - 1

const char* const kTexts[] = {"hello", "the other world of words", "<|im_start|>user\nin<|im_end|>\n",
                              "\xc3\xa4"};
constexpr int64_t kShortNs = 200'000;

void OnDrop(void* user) { static_cast<std::atomic<int64_t>*>(user)->fetch_add(1); }
void OnReady(void* user) { static_cast<std::atomic<int64_t>*>(user)->fetch_add(1); }
void OnLog(void* user, int32_t, const char* message, size_t size) {
  if (size > 0 && message[0] != 0) static_cast<std::atomic<int64_t>*>(user)->fetch_add(1);
}
std::atomic<int64_t> callbacks{0};

int64_t ReadAt(void* user, uint64_t offset, void* buffer, size_t size) {
  const auto* bytes = static_cast<const std::vector<uint8_t>*>(user);
  std::memcpy(buffer, bytes->data() + offset, size);
  return static_cast<int64_t>(size);
}

// Mostly the runtime that lives to the end.
size_t RuntimeSlot(Caller& c) { return c.random.OneIn(8) ? 1 : 0; }

// A set of this thread's own; filled, it is put where all may read it.
template <typename Set>
void SetOption(Caller& c, Set&& set) {
  tsr_options* options = nullptr;
  if (tsr_options_create(&options, nullptr) != TSR_STATUS_OK) return;
  c.Note(set(options));
  tsr_options_set_int(options, KEY("request.max_tokens"), 1 + c.random.Below(12), nullptr);
  c.world.options.Put(c.random, options);
}

// The handle goes where all threads find it; what was there is released.
template <typename T, size_t kCount>
void Keep(Caller& c, Shared<T, kCount>& shared, tsr_status status, T* handle) {
  c.Note(status);
  if (status == TSR_STATUS_OK) shared.Put(c.random, handle);
}
// By address: the call that writes it may be an argument too.
void KeepModel(Caller& c, tsr_status status, tsr_model* const* model) {
  c.Note(status);
  if (status == TSR_STATUS_OK) c.world.models.Put(1 + static_cast<size_t>(c.random.Below(2)), *model);
}

template <typename T, size_t kCount>
void DropAny(Caller& c, Shared<T, kCount>& shared) {
  shared.Put(c.random, nullptr);
  c.Done();
}

void PollOrWait(Caller& c, bool wait) {
  uint64_t buffer[256];
  size_t used = 0;
  const auto queue = c.world.queues.Any(c.random);
  const auto engine = c.world.engines.Any(c.random);
  const int64_t timeout = c.random.OneIn(2) ? 0 : c.random.Below(kShortNs);
  c.Note(wait ? tsr_queue_wait(queue.get(), engine.get(), timeout, buffer, sizeof buffer, &used, c.Error())
              : tsr_queue_poll(queue.get(), timeout, buffer, sizeof buffer, &used, c.Error()));
}

void Create(Caller& c, bool stepped) {
  const Options options = Options()
                              .Bool("engine.stepped", stepped)
                              .Int("engine.threads", 1 + c.random.Below(2))
                              .Int("engine.cache_tokens", 300)
                              .Int("engine.batch_tokens", 32)
                              .Int("engine.batch_sequences", 4)
                              .Int("engine.tensor_parallel", c.random.OneIn(4) ? 2 : 1)
                              .Int("engine.max_sessions", 24);
  tsr_engine* engine = nullptr;
  const tsr_status status =
      tsr_engine_create(c.world.models.Any(c.random).get(), options.get(), &engine, c.Error());
  Keep(c, c.world.engines, status, engine);
}

constexpr char kMessages[] = R"([{"role": "user", "content": "hello"}])";

tsr_plan Planned() {
  tsr_plan plan = {};
  plan.struct_size = sizeof plan;
  return plan;
}

// Any session's state, or nothing.
std::vector<uint8_t> Saved(Caller& c, tsr_status* status) {
  std::vector<uint8_t> state(size_t{1} << 20);
  size_t size = 0;
  *status = tsr_session_save(c.world.sessions.Any(c.random).get(), nullptr, state.data(), state.size(), &size,
                             nullptr);
  state.resize(*status == TSR_STATUS_OK ? size : 0);
  return state;
}

// Parts of one model's metadata.
std::string AnyKey(Caller& c, const tsr_model* model) {
  const size_t count = tsr_model_metadata_count(model);
  if (count == 0) return "none";
  size_t size = 0;
  const char* const key =
      tsr_model_metadata_key(model, static_cast<size_t>(c.random.Below(static_cast<int>(count))), &size);
  return std::string(key, size);
}

// clang-format off
#define CALL(name, weight)                     \
  {#name, weight, [](Caller& c) {              \
     [[maybe_unused]] World& w = c.world;      \
     [[maybe_unused]] RandomSource& r = c.random;
#define END }},
const std::vector<EveryCall> kEveryCall = {
  CALL(tsr_version_string, 1) EXPECT_NE(tsr_version_string(), nullptr); c.Done(); END
  CALL(tsr_version_number, 1) EXPECT_GT(tsr_version_number(), 0); c.Done(); END
  CALL(tsr_abi_describe, 1)
    size_t size = 0;
    const char* const json = tsr_abi_describe(&size);
    EXPECT_EQ(json[size], 0);
    c.Done();
  END
  CALL(tsr_status_name, 1) EXPECT_NE(tsr_status_name(r.Below(50)), nullptr); c.Done(); END
  CALL(tsr_error_code, 4) tsr_error_code(w.errors.Any(r).get()); c.Done(); END
  CALL(tsr_error_message, 4)
    const auto error = w.errors.Any(r);
    size_t size = 0;
    const char* const message = tsr_error_message(error.get(), &size);
    EXPECT_EQ(std::strlen(message), size);
    EXPECT_EQ(size > 0, error != nullptr);
    c.Done(); END
  CALL(tsr_error_place, 4) size_t size = 0; tsr_error_place(w.errors.Any(r).get(), &size); c.Done(); END
  CALL(tsr_error_release, 4) DropAny(c, w.errors); END
  CALL(tsr_options_create, 4)
    tsr_options* options = nullptr;
    const tsr_status status = tsr_options_create(&options, c.Error());
    Keep(c, w.options, status, options); END
  CALL(tsr_options_release, 2) DropAny(c, w.options); END
  CALL(tsr_options_set_int, 2)
    SetOption(c, [&](tsr_options* o) { return tsr_options_set_int(o, KEY("sampling.top_k"), r.Below(100),
        c.Error()); }); END
  CALL(tsr_options_set_float, 2)
    SetOption(c, [&](tsr_options* o) { return tsr_options_set_float(o, KEY("sampling.temperature"),
        r.Unit(), c.Error()); }); END
  CALL(tsr_options_set_bool, 2)
    SetOption(c, [&](tsr_options* o) { return tsr_options_set_bool(o, KEY("request.ignore_end"),
        r.Below(2), c.Error()); }); END
  CALL(tsr_options_set_string, 2)
    SetOption(c, [&](tsr_options* o) {
      return tsr_options_set_string(o, r.OneIn(2) ? "runtime.log_level" : "runtime.no_such_key", 17,
          KEY("debug"), c.Error());
    }); END
  CALL(tsr_options_set_int_list, 2)
    const int64_t tokens[] = {r.Below(300), r.Below(300)};
    SetOption(c, [&](tsr_options* o) { return tsr_options_set_int_list(o, KEY("request.stop_tokens"),
        tokens, 2, c.Error()); }); END
  CALL(tsr_options_set_float_list, 2)
    const double values[] = {r.Unit(), -1};
    SetOption(c, [&](tsr_options* o) {
      const int64_t tokens[] = {7, 9};
      tsr_options_set_int_list(o, KEY("sampling.logit_bias_tokens"), tokens, 2, nullptr);
      return tsr_options_set_float_list(o, KEY("sampling.logit_bias_values"), values, 2, c.Error());
    }); END
  CALL(tsr_options_set_string_list, 2)
    const char* const strings[] = {"the", "e"};
    const size_t sizes[] = {3, 1};
    SetOption(c, [&](tsr_options* o) { return tsr_options_set_string_list(o, KEY("request.stop"), strings,
        sizes, 2, c.Error()); }); END
  CALL(tsr_options_set_pointer, 2)
    SetOption(c, [&](tsr_options* o) { return tsr_options_set_pointer(o, KEY("device.stream"), &callbacks,
        c.Error()); }); END
  CALL(tsr_options_set_callbacks, 2)
    const tsr_ready_callbacks table = {sizeof table, &callbacks, OnDrop, OnReady};
    tsr_options* options = nullptr;
    if (tsr_options_create(&options, nullptr) != TSR_STATUS_OK) return;
    c.Note(tsr_options_set_callbacks(options, KEY("queue.on_ready"), &table, c.Error()));
    tsr_queue* queue = nullptr;
    if (tsr_queue_create(w.runtimes.At(0).get(), options, &queue,
        nullptr) == TSR_STATUS_OK) w.queues.Put(r, queue);
    tsr_options_release(options); END

  CALL(tsr_runtime_create, 1)
    tsr_options* options = nullptr;
    const tsr_log_callbacks table = {sizeof table, &callbacks, OnDrop, OnLog};
    if (tsr_options_create(&options, nullptr) != TSR_STATUS_OK) return;
    tsr_options_set_callbacks(options, KEY("runtime.log"), &table, nullptr);
    tsr_runtime* runtime = nullptr;
    c.Note(tsr_runtime_create(options, &runtime, c.Error()));
    tsr_options_release(options);
    w.runtimes.Put(1, runtime); END
  CALL(tsr_runtime_close, 1)  // beside the one that lives
    const auto runtime = w.runtimes.At(1);
    c.Note(tsr_runtime_close(runtime.get(), c.Error())); END
  CALL(tsr_runtime_release, 1) w.runtimes.Put(1, nullptr); c.Done(); END

  CALL(tsr_model_load_file, 1)
    tsr_model* model = nullptr;
    KeepModel(c, tsr_model_load_file(w.runtimes.At(RuntimeSlot(c)).get(), w.model_path.data(),
        w.model_path.size(), nullptr, &model, c.Error()), &model); END
  CALL(tsr_model_load_descriptor, 1)
    tsr_model* model = nullptr;
    const int file = open(w.model_path.c_str(), O_RDONLY | O_CLOEXEC);
    KeepModel(c, tsr_model_load_descriptor(w.runtimes.At(RuntimeSlot(c)).get(), file, 0, 0, nullptr,
        &model, c.Error()), &model);
    close(file); END
  CALL(tsr_model_load_memory, 1)
    tsr_model* model = nullptr;
    KeepModel(c, tsr_model_load_memory(w.runtimes.At(RuntimeSlot(c)).get(), w.model_bytes.data(),
        w.model_bytes.size(),
                                       r.OneIn(2) ? TSR_MEMORY_COPY : TSR_MEMORY_BORROW, nullptr, &model,
                                           c.Error()), &model); END
  CALL(tsr_model_load_reader, 1)
    tsr_model* model = nullptr;
    const tsr_reader reader = {sizeof reader, const_cast<std::vector<uint8_t>*>(&w.model_bytes), nullptr,
        w.model_bytes.size(), ReadAt};
    KeepModel(c, tsr_model_load_reader(w.runtimes.At(RuntimeSlot(c)).get(), &reader, nullptr, &model,
        c.Error()), &model); END
  CALL(tsr_model_release, 1) w.models.Put(1 + static_cast<size_t>(r.Below(2)), nullptr); c.Done(); END
  CALL(tsr_model_get_info, 4)
    tsr_model_info info = {};
    info.struct_size = sizeof info;
    c.Note(tsr_model_get_info(w.models.Any(r).get(), &info, c.Error())); END
  CALL(tsr_model_metadata_count, 4) tsr_model_metadata_count(w.models.Any(r).get()); c.Done(); END
  CALL(tsr_model_metadata_key, 4) AnyKey(c, w.models.At(0).get()); c.Done(); END
  CALL(tsr_model_metadata_kind, 4)
    const auto model = w.models.Any(r);
    const std::string key = AnyKey(c, model.get());
    int32_t kind = 0;
    size_t count = 0;
    c.Note(tsr_model_metadata_kind(model.get(), key.data(), key.size(), &kind, &count, c.Error())); END
  CALL(tsr_model_metadata_int, 8)
    const auto model = w.models.Any(r);
    const std::string key = AnyKey(c, model.get());
    int64_t value = 0;
    c.Note(tsr_model_metadata_int(model.get(), key.data(), key.size(), 0, &value, c.Error())); END
  CALL(tsr_model_metadata_float, 8)
    const auto model = w.models.Any(r);
    const std::string key = AnyKey(c, model.get());
    double value = 0;
    c.Note(tsr_model_metadata_float(model.get(), key.data(), key.size(), 0, &value, c.Error())); END
  CALL(tsr_model_metadata_string, 8)
    const auto model = w.models.Any(r);
    const std::string key = AnyKey(c, model.get());
    const char* value = nullptr;
    size_t size = 0;
    c.Note(tsr_model_metadata_string(model.get(), key.data(), key.size(), 0, &value, &size, c.Error())); END
  CALL(tsr_model_tokenize, 8)
    const std::string text = kTexts[r.Below(4)];
    int32_t tokens[64];
    size_t count = 0;
    c.Note(tsr_model_tokenize(w.models.Any(r).get(), text.data(), text.size(), r.Below(4), tokens,
        static_cast<size_t>(r.Below(65)), &count, c.Error())); END
  CALL(tsr_model_detokenize, 8)
    const int32_t tokens[] = {r.Below(300), r.Below(300), r.Below(301)};
    char text[64];
    size_t size = 0;
    c.Note(tsr_model_detokenize(w.models.Any(r).get(), tokens, 3, r.Below(2), text, sizeof text, &size,
        c.Error())); END

  CALL(tsr_model_apply_chat_template, 4)
    char text[512];
    size_t size = 0;
    c.Note(tsr_model_apply_chat_template(w.models.Any(r).get(), KEY(kMessages), nullptr, text, sizeof text, &size,
        c.Error())); END
  CALL(tsr_plan_file, 1)
    tsr_plan plan = Planned();
    c.Note(tsr_plan_file(w.runtimes.At(0).get(), w.model_path.data(), w.model_path.size(), nullptr, &plan,
        c.Error())); END
  CALL(tsr_plan_descriptor, 1)
    tsr_plan plan = Planned();
    const int file = open(w.model_path.c_str(), O_RDONLY | O_CLOEXEC);
    c.Note(tsr_plan_descriptor(w.runtimes.At(0).get(), file, 0, 0, nullptr, &plan, c.Error()));
    close(file); END
  CALL(tsr_plan_memory, 1)
    tsr_plan plan = Planned();
    c.Note(tsr_plan_memory(w.runtimes.At(RuntimeSlot(c)).get(), w.model_bytes.data(), w.model_bytes.size(), nullptr,
        &plan, c.Error())); END
  CALL(tsr_plan_reader, 1)
    tsr_plan plan = Planned();
    const tsr_reader reader = {sizeof reader, const_cast<std::vector<uint8_t>*>(&w.model_bytes), nullptr,
        w.model_bytes.size(), ReadAt};
    c.Note(tsr_plan_reader(w.runtimes.At(0).get(), &reader, nullptr, &plan, c.Error())); END

  CALL(tsr_queue_create, 2)
    tsr_queue* queue = nullptr;
    const tsr_status status = tsr_queue_create(w.runtimes.At(RuntimeSlot(c)).get(), nullptr, &queue,
        c.Error());
    Keep(c, w.queues, status, queue); END
  CALL(tsr_queue_poll, 40) PollOrWait(c, false); END
  CALL(tsr_queue_wait, 40) PollOrWait(c, true); END
  CALL(tsr_queue_wake, 8) c.Note(tsr_queue_wake(w.queues.Any(r).get(), c.Error())); END
  CALL(tsr_queue_descriptor, 4) int descriptor = -1; c.Note(tsr_queue_descriptor(w.queues.Any(r).get(),
      &descriptor, c.Error())); END
  CALL(tsr_queue_release, 1) DropAny(c, w.queues); END

  CALL(tsr_engine_create, 3) Create(c, c.random.OneIn(2)); END
  CALL(tsr_engine_step, 40)
    tsr_step_stats stats = {};
    stats.struct_size = sizeof stats;
    const int64_t budget = r.OneIn(3) ? -1 : r.Below(kShortNs);
    c.Note(tsr_engine_step(w.engines.Any(r).get(), budget, &stats, c.Error())); END
  CALL(tsr_engine_get_metrics, 8)
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof metrics;
    c.Note(tsr_engine_get_metrics(w.engines.Any(r).get(), &metrics, c.Error()));
    EXPECT_LE(metrics.blocks_free, metrics.blocks_total); END
  CALL(tsr_engine_serve, 1)  // none of these engines follows
    const tsr_status status = tsr_engine_serve(w.engines.Any(r).get(), nullptr);
    c.Note(status == TSR_STATUS_WRONG_STATE ? TSR_STATUS_OK : status); END
  CALL(tsr_engine_close, 1) c.Note(tsr_engine_close(w.engines.Any(r).get(), c.Error())); END
  CALL(tsr_engine_release, 1) DropAny(c, w.engines); END

  CALL(tsr_session_create, 12)
    const Options options = Options().Bool("session.logits", r.OneIn(2));
    tsr_session* session = nullptr;
    const tsr_status status = tsr_session_create(w.engines.Any(r).get(), options.get(), &session, c.Error());
    Keep(c, w.sessions, status, session); END
  CALL(tsr_session_append_text, 20)
    const std::string text = kTexts[r.Below(4)];
    c.Note(tsr_session_append_text(w.sessions.Any(r).get(), text.data(), text.size(), r.Below(4),
        c.Error())); END
  CALL(tsr_session_append_chat, 12)
    c.Note(tsr_session_append_chat(w.sessions.Any(r).get(), KEY(kMessages), nullptr, c.Error())); END
  CALL(tsr_session_append_tokens, 20)
    const int32_t tokens[] = {3 + r.Below(200), 3 + r.Below(200), 3 + r.Below(200)};
    c.Note(tsr_session_append_tokens(w.sessions.Any(r).get(), tokens, 3, c.Error())); END
  CALL(tsr_session_generate, 40)
    uint64_t request = 0;
    c.Note(tsr_session_generate(w.sessions.Any(r).get(), r.OneIn(3) ? nullptr : w.options.Any(r).get(),
        w.queues.Any(r).get(), r.Next(), &request, c.Error())); END
  CALL(tsr_session_fork, 6)
    tsr_session* fork = nullptr;
    const tsr_status status = tsr_session_fork(w.sessions.Any(r).get(), nullptr, &fork, c.Error());
    Keep(c, w.sessions, status, fork); END
  CALL(tsr_session_rewind, 8) c.Note(tsr_session_rewind(w.sessions.Any(r).get(),
      static_cast<size_t>(r.Below(20)), c.Error())); END
  CALL(tsr_session_cancel, 12) c.Note(tsr_session_cancel(w.sessions.Any(r).get(), r.Below(2), c.Error())); END
  CALL(tsr_session_token_count, 8) size_t count = 0;
      c.Note(tsr_session_token_count(w.sessions.Any(r).get(), &count, c.Error())); END
  CALL(tsr_session_get_tokens, 8)
    int32_t tokens[64];
    size_t count = 0;
    c.Note(tsr_session_get_tokens(w.sessions.Any(r).get(), 0, tokens, 64, &count, c.Error())); END
  CALL(tsr_session_get_logits, 40)
    float logits[512];
    size_t count = 0;
    c.Note(tsr_session_get_logits(w.sessions.Any(r).get(), logits, 512, &count, c.Error())); END
  CALL(tsr_session_save, 6) tsr_status status; Saved(c, &status); c.Note(status); END
  CALL(tsr_session_restore, 6)
    tsr_status status;
    const std::vector<uint8_t> state = Saved(c, &status);
    if (status != TSR_STATUS_OK) return;
    tsr_session* session = nullptr;
    status = tsr_session_restore(w.engines.Any(r).get(), state.data(), state.size(), nullptr, &session, c.Error());
    Keep(c, w.sessions, status, session); END
  CALL(tsr_session_park, 6) c.Note(tsr_session_park(w.sessions.Any(r).get(), c.Error())); END
  CALL(tsr_state_probe, 4)
    tsr_status status;
    const std::vector<uint8_t> state = Saved(c, &status);
    if (status != TSR_STATUS_OK) return;
    tsr_state_info info = {};
    info.struct_size = sizeof info;
    c.Note(tsr_state_probe(state.data(), state.size(), &info, c.Error())); END
  CALL(tsr_session_release, 2) DropAny(c, w.sessions); END
};
#undef CALL
#undef END
// clang-format on

// What no schedule of right calls may bring about.
bool Wrong(tsr_status status) {
  switch (status) {
    case TSR_STATUS_INTERNAL:
    case TSR_STATUS_CORRUPT:
    case TSR_STATUS_OUT_OF_MEMORY:
    case TSR_STATUS_UNSUPPORTED:
    case TSR_STATUS_IO_ERROR:
    case TSR_STATUS_INVALID_UTF8:
    case TSR_STATUS_NUMERIC_FAULT:
    case TSR_STATUS_LOST:
    case TSR_STATUS_FORKED:
      return true;
    default:
      return false;
  }
}

}  // namespace tessera::host

World::World(const std::vector<uint8_t>& model)
    : model_bytes(model),
      model_path(testing::TempDir() + "/every_call_" + std::to_string(getpid()) + ".gguf") {
  std::ofstream(model_path, std::ios::binary)
      .write(reinterpret_cast<const char*>(model.data()), static_cast<std::streamsize>(model.size()));
  tsr_runtime* runtime = nullptr;
  EXPECT_EQ(tsr_runtime_create(nullptr, &runtime, nullptr), TSR_STATUS_OK);
  runtimes.Put(0, runtime);
  tsr_model* loaded = nullptr;
  EXPECT_EQ(tsr_model_load_memory(runtime, model_bytes.data(), model_bytes.size(), TSR_MEMORY_BORROW, nullptr,
                                  &loaded, nullptr),
            TSR_STATUS_OK);
  models.Put(0, loaded);
}

World::~World() { unlink(model_path.c_str()); }

void Caller::Note(tsr_status status) {
  counts->calls.fetch_add(1);
  if (status == TSR_STATUS_OK) counts->done.fetch_add(1);
  if (status == TSR_STATUS_BUSY) counts->busy.fetch_add(1);
  if (Wrong(status)) {
    counts->wrong.fetch_add(1);
    counts->wrong_status.store(status);
  }
  tsr_error* const error = std::exchange(error_, nullptr);
  if (error == nullptr) return;
  EXPECT_EQ(tsr_error_code(error), status);
  if (random.OneIn(2)) {
    world.errors.Put(random, error);
  } else {
    tsr_error_release(error);
  }
}

const std::vector<EveryCall>& EveryCalls() { return kEveryCall; }

}  // namespace tessera::host
