// The C++ binding of libtessera: header only, C++17, over the C header alone. Handles own and move, results
// are values, arguments are views. Needs no exceptions; where there are some, none gets into the C library.
// Ownership, thread classes and settings are those of <tessera/tessera.h>, which names the errors too.
#ifndef TESSERA_TESSERA_HPP_
#define TESSERA_TESSERA_HPP_

#include <tessera/tessera.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tessera {

// The values of tsr_status; later libraries may add some.
enum class status : int32_t {
  ok = TSR_STATUS_OK,
  cancelled = TSR_STATUS_CANCELLED,
  invalid_argument = TSR_STATUS_INVALID_ARGUMENT,
  deadline_exceeded = TSR_STATUS_DEADLINE_EXCEEDED,
  not_found = TSR_STATUS_NOT_FOUND,
  limit_exceeded = TSR_STATUS_LIMIT_EXCEEDED,
  wrong_state = TSR_STATUS_WRONG_STATE,
  unsupported = TSR_STATUS_UNSUPPORTED,
  internal = TSR_STATUS_INTERNAL,
  busy = TSR_STATUS_BUSY,
  corrupt = TSR_STATUS_CORRUPT,
  out_of_memory = TSR_STATUS_OUT_OF_MEMORY,
  buffer_too_small = TSR_STATUS_BUFFER_TOO_SMALL,
  io_error = TSR_STATUS_IO_ERROR,
  invalid_utf8 = TSR_STATUS_INVALID_UTF8,
  closed = TSR_STATUS_CLOSED,
  numeric_fault = TSR_STATUS_NUMERIC_FAULT,
  lost = TSR_STATUS_LOST,
  forked = TSR_STATUS_FORKED,
  mismatch = TSR_STATUS_MISMATCH
};
inline const char* to_string(status s) noexcept { return tsr_status_name(static_cast<tsr_status>(s)); }

// A view of contiguous elements, as std::span is from C++20 on.
template <typename T>
class span {
 public:
  constexpr span() noexcept = default;
  constexpr span(T* data, size_t size) noexcept : data_(data), size_(size) {}
  template <typename C,
            typename = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C&>().data()), T*> &&
                                        std::is_convertible_v<decltype(std::declval<C&>().size()), size_t>>>
  constexpr span(C&& container) noexcept : data_(container.data()), size_(container.size()) {}  // NOLINT
  // A braced list lives to the end of the expression that it stands in: for arguments.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winit-list-lifetime"
#endif
  template <typename U = T, typename = std::enable_if_t<std::is_const_v<U>>>
  constexpr span(const std::initializer_list<std::remove_const_t<T>>& list) noexcept
      : data_(list.begin()), size_(list.size()) {}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
  constexpr T* data() const noexcept { return data_; }
  constexpr size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }
  constexpr T& operator[](size_t i) const noexcept { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};
using token_span = span<const int32_t>;
using byte_span = span<const std::byte>;

namespace detail {

template <auto Function>
struct calls {
  template <typename T>
  void operator()(T* p) const noexcept {
    Function(p);
  }
};
template <typename T, auto Release>
using owned = std::unique_ptr<T, calls<Release>>;

// Runs what the host wrote; what it throws ends here, and the answer is `otherwise`.
template <typename R, typename F>
R guarded(R otherwise, F&& call) noexcept {
#if defined(__cpp_exceptions)
  try {
    return call();
  } catch (...) {
    return otherwise;
  }
#else
  static_cast<void>(otherwise);
  return call();
#endif
}

// A callback table whose `user` is a copy of the host's function, on the heap until it is dropped.
template <typename Table, typename F>
Table table_of(F&& function) {
  using held = std::decay_t<F>;
  Table table = {};
  table.struct_size = sizeof(Table);
  table.user = new held(std::forward<F>(function));
  table.drop = [](void* user) { delete static_cast<held*>(user); };
  return table;
}

}  // namespace detail

// What a call answered when it failed; `ok` where none did. Copies are cheap.
class error {
 public:
  error() noexcept = default;
  error(tessera::status code, tsr_error* owned) : code_(code), error_(owned, tsr_error_release) {}
  tessera::status code() const noexcept { return code_; }
  // What was wrong, where, and what was expected; the place alone. Valid as long as this object.
  std::string_view message() const noexcept { return text(tsr_error_message); }
  std::string_view place() const noexcept { return text(tsr_error_place); }
  std::string what() const {
    std::string all = to_string(code_);
    if (!message().empty()) all.append(": ").append(message());
    return all;
  }

 private:
  std::string_view text(const char* (*get)(const tsr_error*, size_t*)) const noexcept {
    size_t size = 0;
    const char* const data = get(error_.get(), &size);
    return {data, size};
  }
  tessera::status code_ = tessera::status::ok;
  std::shared_ptr<tsr_error> error_;  // immutable, so copies share it
};

// A T, or the error that came instead. Looking at the wrong one of the two is the caller's error, as with
// std::optional.
template <typename T>
class [[nodiscard]] result {
 public:
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}                // NOLINT
  result(tessera::error e) noexcept : state_(std::in_place_index<1>, std::move(e)) {}  // NOLINT
  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  T& value() & noexcept { return *std::get_if<0>(&state_); }
  const T& value() const& noexcept { return *std::get_if<0>(&state_); }
  T&& value() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & noexcept { return value(); }
  const T& operator*() const& noexcept { return value(); }
  T&& operator*() && noexcept { return std::move(*this).value(); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  const tessera::error& error() const& noexcept { return *std::get_if<1>(&state_); }
  tessera::error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }
  tessera::status code() const noexcept { return ok() ? tessera::status::ok : error().code(); }

 private:
  std::variant<T, tessera::error> state_;
};
template <>
class [[nodiscard]] result<void> {
 public:
  result() noexcept = default;
  result(tessera::error e) noexcept : error_(std::move(e)) {}  // NOLINT
  bool ok() const noexcept { return error_.code() == tessera::status::ok; }
  explicit operator bool() const noexcept { return ok(); }
  const tessera::error& error() const& noexcept { return error_; }
  tessera::error&& error() && noexcept { return std::move(error_); }
  tessera::status code() const noexcept { return error_.code(); }

 private:
  tessera::error error_;
};

namespace detail {

// Calls call(&error) and makes a result of it, with value() where it succeeded.
template <typename Call>
result<void> attempt(Call&& call) {
  tsr_error* problem = nullptr;
  const tsr_status code = call(&problem);
  if (code == TSR_STATUS_OK) return {};
  return error(static_cast<status>(code), problem);
}

// A structure that the library fills.
template <typename Struct, typename Call>
result<Struct> filled(Call&& call) {
  Struct out = {};
  out.struct_size = sizeof(out);
  if (result<void> done = attempt([&](tsr_error** e) { return call(&out, e); }); !done)
    return std::move(done).error();
  return out;
}

// What a call writes to a buffer: call(data, capacity, &size, &error), first with none.
template <typename Buffer, typename Call>
result<Buffer> sized(Call&& call) {
  Buffer buffer;
  for (size_t size = 0;;) {
    result<void> done = attempt([&](tsr_error** e) { return call(buffer.data(), buffer.size(), &size, e); });
    if (!done && done.code() != status::buffer_too_small) return std::move(done).error();
    buffer.resize(size);
    if (done) return buffer;
  }
}

}  // namespace detail

enum class log_level : int32_t {
  debug = TSR_LOG_DEBUG,
  info = TSR_LOG_INFO,
  warning = TSR_LOG_WARNING,
  error = TSR_LOG_ERROR
};

// Settings, one after the other: options().set("engine.threads", 2).set("engine.stepped", true). The first
// one that is refused is remembered; the call that these are for then answers that error and does nothing
// else.
class options {
 public:
  options() {
    record(detail::attempt([&](tsr_error** e) {
      tsr_options* made = nullptr;
      const tsr_status code = tsr_options_create(&made, e);
      set_.reset(made);
      return code;
    }));
  }
  template <typename N, std::enable_if_t<std::is_integral_v<N> && !std::is_same_v<N, bool>, int> = 0>
  options& set(std::string_view key, N value) {
    return put(key, tsr_options_set_int, static_cast<int64_t>(value));
  }
  options& set(std::string_view key, bool value) { return put(key, tsr_options_set_bool, int32_t{value}); }
  options& set(std::string_view key, double value) { return put(key, tsr_options_set_float, value); }
  options& set(std::string_view key, std::string_view value) {
    return put(key, tsr_options_set_string, value.data(), value.size());
  }
  options& set(std::string_view key, const char* value) { return set(key, std::string_view(value)); }
  options& set(std::string_view key, const std::string& value) { return set(key, std::string_view(value)); }
  options& set(std::string_view key, std::chrono::nanoseconds value) {
    return set(key, int64_t{value.count()});
  }
  options& set_ints(std::string_view key, span<const int64_t> values) {
    return put(key, tsr_options_set_int_list, values.data(), values.size());
  }
  options& set_floats(std::string_view key, span<const double> values) {
    return put(key, tsr_options_set_float_list, values.data(), values.size());
  }
  options& set_strings(std::string_view key, span<const std::string_view> values) {
    std::vector<const char*> data;
    std::vector<size_t> sizes;
    for (std::string_view value : values) {
      data.push_back(value.data());
      sizes.push_back(value.size());
    }
    return put(key, tsr_options_set_string_list, data.data(), sizes.data(), data.size());
  }
  options& set_pointer(std::string_view key, void* value) { return put(key, tsr_options_set_pointer, value); }
  // Any callback table of the C header: its `drop` is called also when it is refused.
  options& set_callbacks(std::string_view key, const void* table) {
    // After a refusal it must still reach the library, which drops it.
    result<void> done = detail::attempt([&](tsr_error** e) {
      return tsr_options_set_callbacks(set_.get(), key.data(), key.size(), table, e);
    });
    return error_.code() == tessera::status::ok ? record(std::move(done)) : *this;
  }
  // Setting "runtime.log". On any thread, several at once.
  options& on_log(std::function<void(log_level, std::string_view)> write) {
    auto table = detail::table_of<tsr_log_callbacks>(std::move(write));
    table.write = [](void* user, int32_t level, const char* message, size_t size) {
      detail::guarded(0, [&] {
        (*static_cast<std::function<void(log_level, std::string_view)>*>(user))(static_cast<log_level>(level),
                                                                                {message, size});
        return 0;
      });
    };
    return set_callbacks("runtime.log", &table);
  }
  // Setting "model.progress": bytes done and in all. False, or an exception, ends the load.
  options& on_progress(std::function<bool(uint64_t, uint64_t)> progress) {
    auto table = detail::table_of<tsr_progress_callbacks>(std::move(progress));
    table.progress = [](void* user, uint64_t done, uint64_t total) -> int32_t {
      return detail::guarded(
                 false,
                 [&] { return (*static_cast<std::function<bool(uint64_t, uint64_t)>*>(user))(done, total); })
                 ? 0
                 : 1;
    };
    return set_callbacks("model.progress", &table);
  }
  // Setting "queue.on_ready": the queue was empty and is not any more. Must not block.
  options& on_ready(std::function<void()> ready) {
    auto table = detail::table_of<tsr_ready_callbacks>(std::move(ready));
    table.on_ready = [](void* user) {
      detail::guarded(0, [&] {
        (*static_cast<std::function<void()>*>(user))();
        return 0;
      });
    };
    return set_callbacks("queue.on_ready", &table);
  }

  const tsr_options* get() const noexcept { return set_.get(); }
  const tessera::error& error() const noexcept { return error_; }

 private:
  template <typename F, typename... Values>
  options& put(std::string_view key, F function, Values... values) {
    if (error_.code() != tessera::status::ok) return *this;
    return record(detail::attempt(
        [&](tsr_error** e) { return function(set_.get(), key.data(), key.size(), values..., e); }));
  }
  options& record(result<void> done) {
    if (!done) error_ = std::move(done).error();
    return *this;
  }
  detail::owned<tsr_options, tsr_options_release> set_;
  tessera::error error_;
};

namespace detail {

// Calls call(options, &handle, &error) and makes an H of the handle.
template <typename H, typename Call>
result<H> make(const options& o, Call&& call) {
  if (o.error().code() != status::ok) return o.error();
  typename H::c_type* handle = nullptr;
  if (result<void> done = attempt([&](tsr_error** e) { return call(o.get(), &handle, e); }); !done) {
    return std::move(done).error();
  }
  return H(handle);
}

// What all handles have: they move, and release on destruction, in any order.
template <typename T, auto Release>
class handle {
 public:
  using c_type = T;
  explicit handle(T* owned) noexcept : handle_(owned) {}
  T* get() const noexcept { return handle_.get(); }
  // Gives the reference up; the handle must not be used afterwards.
  void release() noexcept { handle_.reset(); }

 private:
  owned<T, Release> handle_;
};

}  // namespace detail

// Threads, memory and the log. Everything made from it keeps it alive.
class runtime : public detail::handle<tsr_runtime, tsr_runtime_release> {
 public:
  using handle::handle;
  static result<runtime> create(const options& o = {}) {
    return detail::make<runtime>(o, tsr_runtime_create);
  }
  result<void> close() const {
    return detail::attempt([&](tsr_error** e) { return tsr_runtime_close(get(), e); });
  }
};

enum class text_flags : int32_t {
  plain = TSR_TEXT_PLAIN,
  parse_special = TSR_TEXT_PARSE_SPECIAL,
  add_special = TSR_TEXT_ADD_SPECIAL
};
constexpr text_flags operator|(text_flags a, text_flags b) noexcept {
  return static_cast<text_flags>(static_cast<int32_t>(a) | static_cast<int32_t>(b));
}

enum class memory_mode : int32_t { copy = TSR_MEMORY_COPY, borrow = TSR_MEMORY_BORROW };

using model_info = tsr_model_info;
using metadata_values = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;
// Fills [buffer, buffer + size) from `offset` on and returns `size`, or a negative error number.
using read_function = std::function<int64_t(uint64_t offset, void* buffer, size_t size)>;

namespace detail {

inline tsr_reader reader_of(uint64_t size_bytes, read_function read) {
  auto reader = table_of<tsr_reader>(std::move(read));
  reader.size_bytes = size_bytes;
  reader.read_at = [](void* user, uint64_t offset, void* buffer, size_t size) -> int64_t {
    return guarded(int64_t{-1}, [&] { return (*static_cast<read_function*>(user))(offset, buffer, size); });
  };
  return reader;
}

}  // namespace detail

// A loaded model: immutable, for any thread.
class model : public detail::handle<tsr_model, tsr_model_release> {
 public:
  using handle::handle;
  static result<model> load(const runtime& r, std::string_view path, const options& o = {}) {
    return detail::make<model>(o, [&](const tsr_options* set, tsr_model** out, tsr_error** e) {
      return tsr_model_load_file(r.get(), path.data(), path.size(), set, out, e);
    });
  }
  static result<model> load_descriptor(const runtime& r, int descriptor, uint64_t offset = 0,
                                       uint64_t size_bytes = 0, const options& o = {}) {
    return detail::make<model>(o, [&](const tsr_options* set, tsr_model** out, tsr_error** e) {
      return tsr_model_load_descriptor(r.get(), descriptor, offset, size_bytes, set, out, e);
    });
  }
  static result<model> load_memory(const runtime& r, byte_span data, memory_mode mode = memory_mode::copy,
                                   const options& o = {}) {
    return detail::make<model>(o, [&](const tsr_options* set, tsr_model** out, tsr_error** e) {
      return tsr_model_load_memory(r.get(), data.data(), data.size(), static_cast<int32_t>(mode), set, out,
                                   e);
    });
  }
  static result<model> load_reader(const runtime& r, uint64_t size_bytes, read_function read,
                                   const options& o = {}) {
    return detail::make<model>(o, [&](const tsr_options* set, tsr_model** out, tsr_error** e) {
      const tsr_reader reader = detail::reader_of(size_bytes, std::move(read));
      return tsr_model_load_reader(r.get(), &reader, set, out, e);
    });
  }

  result<model_info> info() const {
    return detail::filled<model_info>(
        [&](model_info* out, tsr_error** e) { return tsr_model_get_info(get(), out, e); });
  }
  size_t metadata_count() const noexcept { return tsr_model_metadata_count(get()); }
  // In file order; empty where there is no such index. Valid as long as the model.
  std::string_view metadata_key(size_t index) const noexcept {
    size_t size = 0;
    const char* const key = tsr_model_metadata_key(get(), index, &size);
    return key == nullptr ? std::string_view() : std::string_view(key, size);
  }
  result<metadata_values> metadata(std::string_view key) const;

  result<std::vector<int32_t>> tokenize(std::string_view text, text_flags flags = text_flags::plain) const {
    return detail::sized<std::vector<int32_t>>(
        [&](int32_t* data, size_t capacity, size_t* size, tsr_error** e) {
          return tsr_model_tokenize(get(), text.data(), text.size(), static_cast<int32_t>(flags), data,
                                    capacity, size, e);
        });
  }
  // Bytes, which are invalid UTF-8 where the tokens were cut inside a code point.
  result<std::string> detokenize(token_span tokens, text_flags flags = text_flags::plain) const {
    return detail::sized<std::string>([&](char* data, size_t capacity, size_t* size, tsr_error** e) {
      return tsr_model_detokenize(get(), tokens.data(), tokens.size(), static_cast<int32_t>(flags), data,
                                  capacity, size, e);
    });
  }
  // `messages` is a JSON array of objects.
  result<std::string> apply_chat_template(std::string_view messages, const options& o = {}) const {
    if (o.error().code() != status::ok) return o.error();
    return detail::sized<std::string>([&](char* data, size_t capacity, size_t* size, tsr_error** e) {
      return tsr_model_apply_chat_template(get(), messages.data(), messages.size(), o.get(), data, capacity,
                                           size, e);
    });
  }
};

inline result<metadata_values> model::metadata(std::string_view key) const {
  int32_t kind = 0;
  size_t count = 0;
  result<void> done = detail::attempt([&](tsr_error** e) {
    return tsr_model_metadata_kind(get(), key.data(), key.size(), &kind, &count, e);
  });
  const auto each = [&](auto values, auto&& read) {
    values.resize(count);
    for (size_t i = 0; done && i < count; ++i) {
      done = detail::attempt([&](tsr_error** e) { return read(i, &values[i], e); });
    }
    return metadata_values(std::move(values));
  };
  metadata_values values;
  if (done && kind == TSR_METADATA_INT) {
    values = each(std::vector<int64_t>(), [&](size_t i, int64_t* value, tsr_error** e) {
      return tsr_model_metadata_int(get(), key.data(), key.size(), i, value, e);
    });
  } else if (done && kind == TSR_METADATA_FLOAT) {
    values = each(std::vector<double>(), [&](size_t i, double* value, tsr_error** e) {
      return tsr_model_metadata_float(get(), key.data(), key.size(), i, value, e);
    });
  } else if (done) {
    values = each(std::vector<std::string>(), [&](size_t i, std::string* value, tsr_error** e) {
      const char* data = nullptr;
      size_t size = 0;
      const tsr_status code = tsr_model_metadata_string(get(), key.data(), key.size(), i, &data, &size, e);
      if (code == TSR_STATUS_OK) value->assign(data, size);
      return code;
    });
  }
  if (!done) return std::move(done).error();
  return values;
}

using engine_metrics = tsr_engine_metrics;
using step_stats = tsr_step_stats;

class engine : public detail::handle<tsr_engine, tsr_engine_release> {
 public:
  using handle::handle;
  static result<engine> create(const model& m, const options& o = {}) {
    return detail::make<engine>(o, [&](const tsr_options* set, tsr_engine** out, tsr_error** e) {
      return tsr_engine_create(m.get(), set, out, e);
    });
  }
  // Negative: until one batch is done.
  result<step_stats> step(std::chrono::nanoseconds budget) const {
    return detail::filled<step_stats>(
        [&](step_stats* out, tsr_error** e) { return tsr_engine_step(get(), budget.count(), out, e); });
  }
  result<void> serve() const {
    return detail::attempt([&](tsr_error** e) { return tsr_engine_serve(get(), e); });
  }
  result<engine_metrics> metrics() const {
    return detail::filled<engine_metrics>(
        [&](engine_metrics* out, tsr_error** e) { return tsr_engine_get_metrics(get(), out, e); });
  }
  result<void> close() const {
    return detail::attempt([&](tsr_error** e) { return tsr_engine_close(get(), e); });
  }
};

enum class finish_reason : int32_t {
  end = TSR_FINISH_END,
  stop = TSR_FINISH_STOP,
  length = TSR_FINISH_LENGTH,
  context = TSR_FINISH_CONTEXT,
  cancelled = TSR_FINISH_CANCELLED,
  deadline = TSR_FINISH_DEADLINE,
  error = TSR_FINISH_ERROR,
  closed = TSR_FINISH_CLOSED
};

// One record of a queue, looked at where it lies: valid until its buffer is used again. The accessors of
// tokens are for events of tokens (is_tokens), the others for terminal events (is_finished); other kinds are
// to be skipped.
class event {
 public:
  explicit event(const std::byte* at) noexcept : at_(at) {}
  uint64_t tag() const noexcept { return head()->tag; }
  bool is_tokens() const noexcept { return head()->kind == TSR_EVENT_TOKENS; }
  bool is_finished() const noexcept { return head()->kind == TSR_EVENT_FINISHED; }

  std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(at_) + as_tokens()->text_offset, as_tokens()->text_size};
  }
  token_span tokens() const noexcept {
    return part<int32_t>(as_tokens()->token_offset, as_tokens()->token_count);
  }
  // One for each token where they were asked for; else none.
  span<const float> logprobs() const noexcept {
    return part<float>(as_tokens()->logprob_offset,
                       as_tokens()->logprob_offset ? as_tokens()->token_count : 0);
  }
  // Alternatives to token `i`, most probable first.
  span<const tsr_token_logprob> top(size_t i) const noexcept {
    const size_t count = as_tokens()->top_offset ? as_tokens()->top_count : 0;
    return part<tsr_token_logprob>(as_tokens()->top_offset + i * count * sizeof(tsr_token_logprob), count);
  }

  finish_reason reason() const noexcept { return static_cast<finish_reason>(finished()->reason); }
  tessera::status status() const noexcept { return static_cast<tessera::status>(finished()->status); }
  std::string_view message() const noexcept {
    return {reinterpret_cast<const char*>(at_) + finished()->message_offset, finished()->message_size};
  }
  // Counts and times.
  const tsr_event_finished* finished() const noexcept {
    return reinterpret_cast<const tsr_event_finished*>(at_);
  }

  const tsr_event* head() const noexcept { return reinterpret_cast<const tsr_event*>(at_); }

 private:
  const tsr_event_tokens* as_tokens() const noexcept {
    return reinterpret_cast<const tsr_event_tokens*>(at_);
  }
  template <typename T>
  span<const T> part(size_t offset, size_t count) const noexcept {
    return {reinterpret_cast<const T*>(at_ + offset), count};
  }
  const std::byte* at_;
};

// Where a queue writes its events; to be kept and used again. Iterates over what the last poll brought.
class event_buffer {
 public:
  explicit event_buffer(size_t size_bytes = 16384) : words_(size_bytes / 8 + 1) {}
  class iterator {
   public:
    explicit iterator(const std::byte* at) noexcept : at_(at) {}
    event operator*() const noexcept { return event(at_); }
    iterator& operator++() noexcept {
      at_ += event(at_).head()->size;
      return *this;
    }
    bool operator!=(const iterator& other) const noexcept { return at_ != other.at_; }

   private:
    const std::byte* at_;
  };
  iterator begin() const noexcept { return iterator(bytes()); }
  iterator end() const noexcept { return iterator(bytes() + used_); }
  bool empty() const noexcept { return used_ == 0; }

 private:
  friend class queue;
  const std::byte* bytes() const noexcept { return reinterpret_cast<const std::byte*>(words_.data()); }
  // poll(data, capacity, &used, &error); the buffer grows where one record is larger.
  template <typename Poll>
  result<void> fill(Poll&& poll) {
    for (;;) {
      used_ = 0;
      result<void> done =
          detail::attempt([&](tsr_error** e) { return poll(words_.data(), words_.size() * 8, &used_, e); });
      if (done.code() != tessera::status::buffer_too_small) {
        if (!done) used_ = 0;
        return done;
      }
      words_.resize(used_ / 8 + 1);
    }
  }
  std::vector<uint64_t> words_;  // 8-byte alignment
  size_t used_ = 0;
};

inline constexpr std::chrono::nanoseconds forever{-1};

class queue : public detail::handle<tsr_queue, tsr_queue_release> {
 public:
  using handle::handle;
  static result<queue> create(const runtime& r, const options& o = {}) {
    return detail::make<queue>(o, [&](const tsr_options* set, tsr_queue** out, tsr_error** e) {
      return tsr_queue_create(r.get(), set, out, e);
    });
  }
  // Succeeds with no event after the timeout or a wake-up.
  result<void> poll(event_buffer& events, std::chrono::nanoseconds timeout = forever) const {
    return events.fill([&](void* data, size_t capacity, size_t* used, tsr_error** e) {
      return tsr_queue_poll(get(), timeout.count(), data, capacity, used, e);
    });
  }
  // The same, and steps a stepped engine meanwhile.
  result<void> wait(const engine& on, event_buffer& events,
                    std::chrono::nanoseconds timeout = forever) const {
    return events.fill([&](void* data, size_t capacity, size_t* used, tsr_error** e) {
      return tsr_queue_wait(get(), on.get(), timeout.count(), data, capacity, used, e);
    });
  }
  result<void> wake() const {
    return detail::attempt([&](tsr_error** e) { return tsr_queue_wake(get(), e); });
  }
  // The queue's own: for epoll, poll and select only.
  result<int> descriptor() const {
    int found = -1;
    result<void> done =
        detail::attempt([&](tsr_error** e) { return tsr_queue_descriptor(get(), &found, e); });
    if (!done) return std::move(done).error();
    return found;
  }
};

enum class cancel_effect : int32_t { keep = TSR_CANCEL_KEEP, drop = TSR_CANCEL_DROP };
using state = std::vector<std::byte>;
using state_info = tsr_state_info;

// A conversation. One caller at a time, but for fork, cancel and token_count.
class session : public detail::handle<tsr_session, tsr_session_release> {
 public:
  using handle::handle;
  static result<session> create(const engine& on, const options& o = {}) {
    return detail::make<session>(o, [&](const tsr_options* set, tsr_session** out, tsr_error** e) {
      return tsr_session_create(on.get(), set, out, e);
    });
  }
  static result<session> restore(const engine& on, byte_span saved, const options& o = {}) {
    return detail::make<session>(o, [&](const tsr_options* set, tsr_session** out, tsr_error** e) {
      return tsr_session_restore(on.get(), saved.data(), saved.size(), set, out, e);
    });
  }
  result<session> fork(const options& o = {}) const {
    return detail::make<session>(o, [&](const tsr_options* set, tsr_session** out, tsr_error** e) {
      return tsr_session_fork(get(), set, out, e);
    });
  }

  result<void> append(std::string_view text, text_flags flags = text_flags::plain) const {
    return detail::attempt([&](tsr_error** e) {
      return tsr_session_append_text(get(), text.data(), text.size(), static_cast<int32_t>(flags), e);
    });
  }
  result<void> append(token_span tokens) const {
    return detail::attempt(
        [&](tsr_error** e) { return tsr_session_append_tokens(get(), tokens.data(), tokens.size(), e); });
  }
  // `messages` is a JSON array of objects.
  result<void> append_chat(std::string_view messages, const options& o = {}) const {
    if (o.error().code() != status::ok) return o.error();
    return detail::attempt([&](tsr_error** e) {
      return tsr_session_append_chat(get(), messages.data(), messages.size(), o.get(), e);
    });
  }

  // Begins a request whose events come to the queue with this tag; gives its id.
  result<uint64_t> generate(const queue& to, uint64_t tag = 0, const options& o = {}) const {
    if (o.error().code() != status::ok) return o.error();
    uint64_t request = 0;
    result<void> done = detail::attempt(
        [&](tsr_error** e) { return tsr_session_generate(get(), o.get(), to.get(), tag, &request, e); });
    if (!done) return std::move(done).error();
    return request;
  }
  result<void> cancel(cancel_effect effect = cancel_effect::keep) const {
    return detail::attempt(
        [&](tsr_error** e) { return tsr_session_cancel(get(), static_cast<int32_t>(effect), e); });
  }
  result<void> rewind(size_t token_count) const {
    return detail::attempt([&](tsr_error** e) { return tsr_session_rewind(get(), token_count, e); });
  }
  result<void> park() const {
    return detail::attempt([&](tsr_error** e) { return tsr_session_park(get(), e); });
  }

  result<size_t> token_count() const {
    size_t count = 0;
    result<void> done =
        detail::attempt([&](tsr_error** e) { return tsr_session_token_count(get(), &count, e); });
    if (!done) return std::move(done).error();
    return count;
  }
  result<std::vector<int32_t>> tokens() const {
    result<size_t> count = token_count();
    if (!count) return std::move(count).error();
    std::vector<int32_t> all(*count);
    size_t copied = 0;
    result<void> done = detail::attempt(
        [&](tsr_error** e) { return tsr_session_get_tokens(get(), 0, all.data(), all.size(), &copied, e); });
    if (!done) return std::move(done).error();
    all.resize(copied);
    return all;
  }
  result<std::vector<float>> logits() const {
    return detail::sized<std::vector<float>>([&](float* data, size_t capacity, size_t* size, tsr_error** e) {
      return tsr_session_get_logits(get(), data, capacity, size, e);
    });
  }
  result<state> save(const options& o = {}) const {
    if (o.error().code() != status::ok) return o.error();
    return detail::sized<state>([&](std::byte* data, size_t capacity, size_t* size, tsr_error** e) {
      return tsr_session_save(get(), o.get(), data, capacity, size, e);
    });
  }
};

inline result<state_info> probe(byte_span saved) {
  return detail::filled<state_info>(
      [&](state_info* out, tsr_error** e) { return tsr_state_probe(saved.data(), saved.size(), out, e); });
}

using plan = tsr_plan;
inline result<plan> plan_file(const runtime& r, std::string_view path, const options& o = {}) {
  if (o.error().code() != status::ok) return o.error();
  return detail::filled<plan>([&](plan* out, tsr_error** e) {
    return tsr_plan_file(r.get(), path.data(), path.size(), o.get(), out, e);
  });
}
inline result<plan> plan_descriptor(const runtime& r, int descriptor, uint64_t offset = 0,
                                    uint64_t size_bytes = 0, const options& o = {}) {
  if (o.error().code() != status::ok) return o.error();
  return detail::filled<plan>([&](plan* out, tsr_error** e) {
    return tsr_plan_descriptor(r.get(), descriptor, offset, size_bytes, o.get(), out, e);
  });
}
inline result<plan> plan_memory(const runtime& r, byte_span data, const options& o = {}) {
  if (o.error().code() != status::ok) return o.error();
  return detail::filled<plan>([&](plan* out, tsr_error** e) {
    return tsr_plan_memory(r.get(), data.data(), data.size(), o.get(), out, e);
  });
}
inline result<plan> plan_reader(const runtime& r, uint64_t size_bytes, read_function read,
                                const options& o = {}) {
  if (o.error().code() != status::ok) return o.error();
  return detail::filled<plan>([&](plan* out, tsr_error** e) {
    const tsr_reader reader = detail::reader_of(size_bytes, std::move(read));
    return tsr_plan_reader(r.get(), &reader, o.get(), out, e);
  });
}

inline std::string_view version() noexcept { return tsr_version_string(); }
// The ABI of the library in use, as JSON.
inline std::string_view abi() noexcept {
  size_t size = 0;
  const char* const json = tsr_abi_describe(&size);
  return {json, size};
}

}  // namespace tessera

#endif  // TESSERA_TESSERA_HPP_
