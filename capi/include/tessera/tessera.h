/**
 * @file tessera.h
 * @brief Tessera: transformer inference inside other people's programs.
 *
 * The whole contract of libtessera.so, in the order in which a program meets it: status and errors, options,
 * the runtime, models, engines, sessions, queues and their events. C99 to C17 and C++11 to C++20 compile it.
 *
 * @par What holds everywhere
 * - A call that can fail returns a ::tsr_status and takes a last `tsr_error**`. That pointer may be NULL;
 * otherwise it is always written: NULL on success, an error that the caller releases on failure. No call
 * aborts, exits, throws or keeps anything in thread-local storage.
 * - Strings and bytes are a pointer and a length; text is UTF-8 and needs no final NUL. A length of 0 allows
 * a NULL pointer. Everything passed in is copied during the call unless the function says otherwise.
 * - Handles are opaque. `tsr_*_release` drops the caller's reference: any order, any thread, NULL is fine. A
 * child keeps its parents alive. After the last release a handle must not be used.
 * - Out-parameters are written on success only, unless the function says otherwise. Structures that the
 * library fills begin with `struct_size`, which the caller sets to `sizeof` its own version; fields beyond it
 * are not touched.
 * - Times are nanoseconds of a monotonic clock; sizes are bytes unless the name says tokens.
 *
 * @par Thread classes
 * - @b any: any thread, at any time, several at once.
 * - @b session: one caller at a time for one session; a second one gets #TSR_STATUS_BUSY.
 * - @b poller: one caller at a time for one queue; a second one gets #TSR_STATUS_BUSY.
 * - @b stepper: one caller at a time for one engine; a second one gets #TSR_STATUS_BUSY.
 *
 * No handle belongs to a thread. Functions marked @b callback-safe may be called inside a callback of the
 * library; any other call there may deadlock and is an error of the caller's.
 *
 * @par Callback tables
 * A callback table begins with `struct_size`, and carries `user` and `drop`. The table is copied.
 * `drop(user)` is called exactly once, after the last use, on any thread, also when the call that took the
 * table fails. Callbacks come on any thread, while no lock of the library's is held, and must not let an
 * exception out.
 */
#ifndef TESSERA_TESSERA_H_
#define TESSERA_TESSERA_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @brief Marks what libtessera.so exports. */
#if defined(__GNUC__)
#define TSR_API __attribute__((visibility("default")))
#else
#define TSR_API
#endif

/** @name Version
 * @{ */
#define TSR_VERSION_MAJOR 0 /**< Changes when programs must be rebuilt. */
#define TSR_VERSION_MINOR 1 /**< Changes when functions, settings or fields are added. */
#define TSR_VERSION_PATCH 0 /**< Changes otherwise. */

/** @brief The version of the library in use, such as "0.1.0": static and NUL-terminated. Any thread;
 * callback-safe. */
TSR_API const char* tsr_version_string(void);

/** @brief The version in use as major * 1000000 + minor * 1000 + patch. Any thread; callback-safe. */
TSR_API int32_t tsr_version_number(void);

/**
 * @brief The ABI of the library in use as JSON: every function with its parameters and thread classes,
 * constant, structure with its layout, and the version that brought each. Static and NUL-terminated, ASCII.
 * @param size gets the bytes without the NUL; may be NULL.
 * Any thread; callback-safe.
 */
TSR_API const char* tsr_abi_describe(size_t* size);
/** @} */

/** @name Status and errors
 * @{ */

/** @brief What became of a call: one of the TSR_STATUS_ constants. New ones may be added. */
typedef int32_t tsr_status;

/** @brief The values of ::tsr_status. */
enum {
  TSR_STATUS_OK = 0,                /**< Done. */
  TSR_STATUS_CANCELLED = 1,         /**< The host asked to stop. */
  TSR_STATUS_INVALID_ARGUMENT = 3,  /**< A pointer, size, key or value that cannot be meant. */
  TSR_STATUS_DEADLINE_EXCEEDED = 4, /**< The time given has passed. */
  TSR_STATUS_NOT_FOUND = 5,         /**< No such file, key or tensor. */
  TSR_STATUS_LIMIT_EXCEEDED = 8,    /**< A limit that the host set or the system imposes is reached. */
  TSR_STATUS_WRONG_STATE = 9,  /**< The call is right, but not now: the message says what must come first. */
  TSR_STATUS_UNSUPPORTED = 12, /**< Valid, but this build cannot do it; the message names what is missing. */
  TSR_STATUS_INTERNAL = 13,    /**< A defect of the library. */
  TSR_STATUS_BUSY = 14,        /**< Another caller is inside, or a request is running. */
  TSR_STATUS_CORRUPT = 15, /**< A file or saved state that breaks its own format; the message says where. */
  TSR_STATUS_OUT_OF_MEMORY = 32,    /**< Memory could not be had; nothing was changed. */
  TSR_STATUS_BUFFER_TOO_SMALL = 33, /**< The caller's buffer; the size needed is written. */
  TSR_STATUS_IO_ERROR = 34,         /**< Reading failed or fell short. */
  TSR_STATUS_INVALID_UTF8 = 35,     /**< Text that is not UTF-8; the message gives the byte offset. */
  TSR_STATUS_CLOSED = 36,           /**< The engine, queue or runtime was closed. */
  TSR_STATUS_NUMERIC_FAULT = 37,    /**< The model produced NaN or infinity. */
  TSR_STATUS_LOST = 38,             /**< The device or a rank is gone. */
  TSR_STATUS_FORKED = 39,  /**< This process is a child of fork; the library works in its parent only. */
  TSR_STATUS_MISMATCH = 40 /**< A saved state of another model, tokenizer or cache; the message says which. */
};

/** @brief The constant's name, such as "TSR_STATUS_BUSY", or "unknown status": static. Any thread;
 * callback-safe. */
TSR_API const char* tsr_status_name(tsr_status status);

/** @brief An error: a code, a message for people, and the place it speaks of. Immutable. */
typedef struct tsr_error tsr_error;

/** @brief The error's status; #TSR_STATUS_OK for NULL. Any thread; callback-safe. */
TSR_API tsr_status tsr_error_code(const tsr_error* error);

/**
 * @brief The message: what was wrong, where, what was expected. UTF-8 and NUL-terminated, valid until
 * release.
 * @param error may be NULL, which gives "".
 * @param size gets the bytes without the NUL; may be NULL.
 * Any thread; callback-safe.
 */
TSR_API const char* tsr_error_message(const tsr_error* error, size_t* size);

/**
 * @brief The place alone (a file, tensor, key, setting or argument), or "". Valid until release.
 * @param error may be NULL, which gives "".
 * @param size gets the bytes without the NUL; may be NULL.
 * Any thread; callback-safe.
 */
TSR_API const char* tsr_error_place(const tsr_error* error, size_t* size);

/** @brief Releases an error; NULL is fine. Any thread; callback-safe. */
TSR_API void tsr_error_release(tsr_error* error);
/** @} */

/** @name Options
 * Typed settings for the calls that create things. `docs/settings.md` lists every key with its type, range,
 * default and the call that takes it; keys are part of the ABI, but for those that begin with "x.".
 * @{ */

/** @brief A set of settings. One caller at a time; once filled it may be read by several calls at once. */
typedef struct tsr_options tsr_options;

/** @brief Creates an empty set: every setting at its default. Any thread. */
TSR_API tsr_status tsr_options_create(tsr_options** options, tsr_error** error);

/** @brief Releases a set; NULL is fine. What was created with it keeps its own copy. */
TSR_API void tsr_options_release(tsr_options* options);

/**
 * @brief Sets an integer.
 * @return #TSR_STATUS_INVALID_ARGUMENT, naming the key, when it is unknown, of another type, or `value` is
 * outside its range. The same holds for all tsr_options_set functions, and each replaces an earlier value.
 */
TSR_API tsr_status tsr_options_set_int(tsr_options* options, const char* key, size_t key_size, int64_t value,
                                       tsr_error** error);
/** @brief Sets a floating-point number. */
TSR_API tsr_status tsr_options_set_float(tsr_options* options, const char* key, size_t key_size, double value,
                                         tsr_error** error);
/** @brief Sets a boolean: 0 is false, anything else true. */
TSR_API tsr_status tsr_options_set_bool(tsr_options* options, const char* key, size_t key_size, int32_t value,
                                        tsr_error** error);
/** @brief Sets a string, UTF-8. */
TSR_API tsr_status tsr_options_set_string(tsr_options* options, const char* key, size_t key_size,
                                          const char* value, size_t value_size, tsr_error** error);
/** @brief Sets a list of integers, `count` of them. */
TSR_API tsr_status tsr_options_set_int_list(tsr_options* options, const char* key, size_t key_size,
                                            const int64_t* values, size_t count, tsr_error** error);
/** @brief Sets a list of floating-point numbers, `count` of them. */
TSR_API tsr_status tsr_options_set_float_list(tsr_options* options, const char* key, size_t key_size,
                                              const double* values, size_t count, tsr_error** error);
/** @brief Sets a list of strings, UTF-8: `count` pointers and as many sizes. */
TSR_API tsr_status tsr_options_set_string_list(tsr_options* options, const char* key, size_t key_size,
                                               const char* const* values, const size_t* value_sizes,
                                               size_t count, tsr_error** error);
/** @brief Sets a pointer to something of the host's, such as its CUcontext for "device.context". It is kept
 * as it is: what it points to stays the host's, and must live as long as what was created with it. */
TSR_API tsr_status tsr_options_set_pointer(tsr_options* options, const char* key, size_t key_size,
                                           void* value, tsr_error** error);
/**
 * @brief Sets a callback table, such as a ::tsr_log_callbacks for "runtime.log".
 * @param table is copied at once, its `struct_size` bytes; its `drop` is called as the file's head says, also
 * when this call fails. NULL is an error.
 */
TSR_API tsr_status tsr_options_set_callbacks(tsr_options* options, const char* key, size_t key_size,
                                             const void* table, tsr_error** error);
/** @} */

/** @name Runtime
 * @{ */

/** @brief Threads, memory and the log, shared by what is made from it. There is no global state; several may
 * coexist. */
typedef struct tsr_runtime tsr_runtime;

/** @brief How much a log line matters. */
enum {
  TSR_LOG_DEBUG = 0,   /**< For those who build the library. */
  TSR_LOG_INFO = 1,    /**< What was done. */
  TSR_LOG_WARNING = 2, /**< Something to look at. */
  TSR_LOG_ERROR = 3    /**< Something failed that no call could report. */
};

/** @brief Where the log goes: the setting "runtime.log". Without it nothing is written anywhere. */
typedef struct tsr_log_callbacks {
  size_t struct_size;       /**< sizeof(tsr_log_callbacks) */
  void* user;               /**< Handed to the functions. */
  void (*drop)(void* user); /**< After the last use; may be NULL. */
  /** @brief One line without its end. Several threads at once. `message` is valid during the call. */
  void (*write)(void* user, int32_t level, const char* message, size_t message_size);
} tsr_log_callbacks;

/**
 * @brief Creates a runtime.
 * @param options settings that begin with "runtime."; may be NULL.
 * @param runtime gets the handle; the caller releases it.
 * Any thread.
 */
TSR_API tsr_status tsr_runtime_create(const tsr_options* options, tsr_runtime** runtime, tsr_error** error);

/**
 * @brief Closes every engine and queue made from it, as tsr_engine_close does. Later calls on them answer
 * #TSR_STATUS_CLOSED. Models stay usable for reading. A second close does nothing, but waits for the end of
 * one that is under way. Any thread; #TSR_STATUS_WRONG_STATE in a callback.
 */
TSR_API tsr_status tsr_runtime_close(tsr_runtime* runtime, tsr_error** error);

/** @brief Drops the caller's reference. Any thread; callback-safe. */
TSR_API void tsr_runtime_release(tsr_runtime* runtime);
/** @} */

/** @name Model
 * A model file (GGUF v2 or v3) that was read, checked and laid out for a device. Immutable: any thread may
 * call any of these functions on one model, several at once, and any number of engines share its weights.
 * @{ */

/** @brief A loaded model. */
typedef struct tsr_model tsr_model;

/** @brief Watches a load and may end it: the setting "model.progress". */
typedef struct tsr_progress_callbacks {
  size_t struct_size;       /**< sizeof(tsr_progress_callbacks) */
  void* user;               /**< Handed to the functions. */
  void (*drop)(void* user); /**< After the last use; may be NULL. */
  /** @brief Called about every 64 MiB and once at the end, one call at a time. Non-zero ends the load with
   * #TSR_STATUS_CANCELLED. */
  int32_t (*progress)(void* user, uint64_t done_bytes, uint64_t total_bytes);
} tsr_progress_callbacks;

/** @brief A host's own way of reading a model's bytes. */
typedef struct tsr_reader {
  size_t struct_size;       /**< sizeof(tsr_reader) */
  void* user;               /**< Handed to the functions. */
  void (*drop)(void* user); /**< After the last use; may be NULL. */
  uint64_t size_bytes;      /**< Of the whole file. */
  /**
   * @brief Fills buffer[0, size) from `offset` on and returns `size`. Anything less is an error, a negative
   * value the host's own error number. The range lies inside the file. One call at a time, or, on any
   * thread, as many at once as "model.read_threads" allows.
   */
  int64_t (*read_at)(void* user, uint64_t offset, void* buffer, size_t size);
} tsr_reader;

/** @brief What memory is for. */
enum {
  TSR_MEMORY_CLASS_WEIGHTS = 0, /**< Weights: one region a model, kept as long as it. */
  TSR_MEMORY_CLASS_CACHE = 1,   /**< Keys and values: as long as an engine. */
  TSR_MEMORY_CLASS_SCRATCH = 2  /**< Working memory: as long as an engine, or a load. */
};

/** @brief The host's own memory for a GPU: the settings "device.memory" and "device.pinned_memory". */
typedef struct tsr_memory_callbacks {
  size_t struct_size;       /**< sizeof(tsr_memory_callbacks) */
  void* user;               /**< Handed to the functions. */
  void (*drop)(void* user); /**< After the last use; may be NULL. */
  /**
   * @brief Memory of `size` bytes, aligned to 256, for "device.memory" of the GPU in the context that the
   * model is loaded with, for "device.pinned_memory" of the host, pinned. NULL: there is none, and the call
   * that needed it answers #TSR_STATUS_OUT_OF_MEMORY. Several threads at once; only while something is
   * created or loaded.
   * @param memory_class a TSR_MEMORY_CLASS_ constant.
   */
  void* (*allocate)(void* user, int32_t memory_class, size_t size);
  /** @brief Takes back what `allocate` gave, with the same class and size. Nothing uses it any more. */
  void (*free)(void* user, int32_t memory_class, void* data, size_t size);
} tsr_memory_callbacks;

/** @brief What becomes of memory that a model is loaded from. */
enum {
  TSR_MEMORY_COPY = 0,  /**< Not touched after the call. */
  TSR_MEMORY_BORROW = 1 /**< Stays valid and unchanged until the last reference to the model is gone. */
};

/**
 * @brief Loads a model from a file.
 * @param runtime stays alive as long as the model.
 * @param path as the system takes it, without NUL bytes.
 * @param path_size bytes of `path`.
 * @param options settings that begin with "model." or "device."; may be NULL. "model.device" says where the
 * weights go, and the model's engines compute there.
 * @param model gets the handle; the caller releases it.
 * @return #TSR_STATUS_NOT_FOUND, #TSR_STATUS_IO_ERROR, #TSR_STATUS_CORRUPT with the byte offset, key or
 * tensor, #TSR_STATUS_UNSUPPORTED with the name of what is unknown, #TSR_STATUS_OUT_OF_MEMORY,
 * #TSR_STATUS_CANCELLED. Any thread; blocks until the model is loaded. The file is read, not mapped; it may
 * change or vanish afterwards.
 */
TSR_API tsr_status tsr_model_load_file(tsr_runtime* runtime, const char* path, size_t path_size,
                                       const tsr_options* options, tsr_model** model, tsr_error** error);

/**
 * @brief Loads a model from an open descriptor (a regular file), which the caller keeps and may close
 * afterwards.
 * @param offset where the model begins in the file.
 * @param size_bytes how long it is; 0: to the file's end.
 * Otherwise as tsr_model_load_file.
 */
TSR_API tsr_status tsr_model_load_descriptor(tsr_runtime* runtime, int descriptor, uint64_t offset,
                                             uint64_t size_bytes, const tsr_options* options,
                                             tsr_model** model, tsr_error** error);

/**
 * @brief Loads a model from memory.
 * @param mode #TSR_MEMORY_COPY or #TSR_MEMORY_BORROW.
 * Otherwise as tsr_model_load_file.
 */
TSR_API tsr_status tsr_model_load_memory(tsr_runtime* runtime, const void* data, size_t size_bytes,
                                         int32_t mode, const tsr_options* options, tsr_model** model,
                                         tsr_error** error);

/** @brief Loads a model through the host's own reader. Otherwise as tsr_model_load_file. */
TSR_API tsr_status tsr_model_load_reader(tsr_runtime* runtime, const tsr_reader* reader,
                                         const tsr_options* options, tsr_model** model, tsr_error** error);

/** @brief Drops the caller's reference. Any thread; callback-safe. */
TSR_API void tsr_model_release(tsr_model* model);

/** @brief What a model is. */
typedef struct tsr_model_info {
  size_t struct_size;       /**< Set by the caller: sizeof(tsr_model_info). */
  int64_t parameters;       /**< Weights, a shared table counted once. */
  uint64_t weight_bytes;    /**< Memory that its weights take, where it lies. */
  uint64_t bytes_per_token; /**< Stored weight bytes that one decoded token must read. */
  int32_t vocabulary_size;  /**< Token ids are 0 to vocabulary_size - 1. */
  int32_t context_tokens;   /**< The context it was trained for. */
  int32_t layers;           /**< Decoder layers. */
  int32_t hidden_size;      /**< Width of the residual stream. */
  int32_t bos_token;        /**< Begin-of-text, -1: none. */
  int32_t end_token;        /**< The token that ends a turn, -1: none. */
  uint8_t hash[16]; /**< Of its shape and all its weights, as the file has them; names play no part. */
  uint8_t tokenizer_hash[16];   /**< Of its tokenizer; chat templates play no part. */
  char device[128];             /**< Where it lies: "cpu", "reference" or a GPU's name. NUL-terminated. */
  char device_uuid[48];         /**< The GPU's, as "GPU-..."; "" for others. NUL-terminated. */
  uint64_t device_memory_bytes; /**< All memory of that GPU; 0 for others. */
} tsr_model_info;

/** @brief Fills `info`. */
TSR_API tsr_status tsr_model_get_info(const tsr_model* model, tsr_model_info* info, tsr_error** error);

/** @brief Kinds of metadata values. */
enum {
  TSR_METADATA_INT = 1,   /**< All integer types and booleans. */
  TSR_METADATA_FLOAT = 2, /**< Floating-point numbers. */
  TSR_METADATA_STRING = 3 /**< Bytes as the file has them, usually UTF-8. */
};

/** @brief How many metadata entries the file has. 0 for NULL. */
TSR_API size_t tsr_model_metadata_count(const tsr_model* model);

/**
 * @brief The entry's key, in file order; NULL when `index` is out of range. Valid as long as the model.
 * @param size gets the bytes; may be NULL.
 */
TSR_API const char* tsr_model_metadata_key(const tsr_model* model, size_t index, size_t* size);

/**
 * @brief An entry's kind and number of elements (1 for a scalar).
 * @return #TSR_STATUS_NOT_FOUND when the file has no such key.
 */
TSR_API tsr_status tsr_model_metadata_kind(const tsr_model* model, const char* key, size_t key_size,
                                           int32_t* kind, size_t* count, tsr_error** error);

/** @brief Element `index` of an entry of kind #TSR_METADATA_INT. */
TSR_API tsr_status tsr_model_metadata_int(const tsr_model* model, const char* key, size_t key_size,
                                          size_t index, int64_t* value, tsr_error** error);
/** @brief Element `index` of an entry of kind #TSR_METADATA_FLOAT. */
TSR_API tsr_status tsr_model_metadata_float(const tsr_model* model, const char* key, size_t key_size,
                                            size_t index, double* value, tsr_error** error);
/** @brief Element `index` of an entry of kind #TSR_METADATA_STRING; the bytes are valid as long as the model.
 */
TSR_API tsr_status tsr_model_metadata_string(const tsr_model* model, const char* key, size_t key_size,
                                             size_t index, const char** value, size_t* value_size,
                                             tsr_error** error);

/** @brief Flags for text. */
enum {
  TSR_TEXT_PLAIN = 0, /**< Text is text: "<|im_end|>" is ten characters. For what users typed. */
  TSR_TEXT_PARSE_SPECIAL =
      1, /**< Special tokens written in the text become those tokens; rendered, they show. */
  TSR_TEXT_ADD_SPECIAL = 2 /**< Begin- and end-of-text tokens are added where the file asks for them. */
};

/**
 * @brief Text to tokens.
 * @param text UTF-8; #TSR_STATUS_INVALID_UTF8 names the first bad byte otherwise.
 * @param flags TSR_TEXT_ constants, or-ed.
 * @param tokens [capacity] may be NULL when capacity is 0.
 * @param count gets how many there are, also with #TSR_STATUS_BUFFER_TOO_SMALL, when nothing is written to
 * `tokens`.
 */
TSR_API tsr_status tsr_model_tokenize(const tsr_model* model, const char* text, size_t text_size,
                                      int32_t flags, int32_t* tokens, size_t capacity, size_t* count,
                                      tsr_error** error);

/**
 * @brief Tokens to bytes, exactly: detokenizing what tokenize gave returns the text. Any token list is
 * allowed, and one that was cut inside a code point gives invalid UTF-8.
 * @param flags #TSR_TEXT_PARSE_SPECIAL shows special tokens; otherwise they are left out.
 * @param buffer [capacity] may be NULL when capacity is 0. No NUL is added.
 * @param size gets the bytes, also with #TSR_STATUS_BUFFER_TOO_SMALL, when nothing is written to `buffer`.
 */
TSR_API tsr_status tsr_model_detokenize(const tsr_model* model, const int32_t* tokens, size_t count,
                                        int32_t flags, char* buffer, size_t capacity, size_t* size,
                                        tsr_error** error);

/**
 * @brief Turns a conversation into the text that the model was trained on, by the template in its file: what
 * transformers' apply_chat_template gives. The template (Jinja2) is run in a sandbox: it reaches nothing but
 * what it is given here, and is stopped by limits on steps, memory and output.
 * @param messages JSON, UTF-8: an array of objects such as `{"role": "user", "content": "Hello"}`, in order.
 * Which fields there may be, and whether there may be a system message or tool calls, is for the template to
 * say. Fields that are null are left out.
 * @param options settings that begin with "chat."; may be NULL.
 * @param buffer [capacity] may be NULL when capacity is 0. No NUL is added.
 * @param size gets the bytes, also with #TSR_STATUS_BUFFER_TOO_SMALL, when nothing is written to `buffer`.
 * @return #TSR_STATUS_NOT_FOUND when the model has no such template; #TSR_STATUS_CORRUPT when it does not
 * parse; #TSR_STATUS_INVALID_ARGUMENT when `messages` are no JSON, or the template refuses them: the message
 * gives its line and its reason; #TSR_STATUS_LIMIT_EXCEEDED when a limit is reached;
 * #TSR_STATUS_UNSUPPORTED for a part of Jinja2 that chat templates do not use.
 * To make tokens of the text, use #TSR_TEXT_PARSE_SPECIAL without #TSR_TEXT_ADD_SPECIAL; then special tokens
 * that stand in messages count too, which tsr_session_append_chat avoids.
 */
TSR_API tsr_status tsr_model_apply_chat_template(const tsr_model* model, const char* messages,
                                                 size_t messages_size, const tsr_options* options,
                                                 char* buffer, size_t capacity, size_t* size,
                                                 tsr_error** error);
/** @} */

/** @name Queue
 * Events of any number of requests, polled by the host.
 * @{ */

/** @brief A queue of events. It outlives the engines that post to it. */
typedef struct tsr_queue tsr_queue;

/** @brief An engine: threads, a cache and a schedule. */
typedef struct tsr_engine tsr_engine;

/** @brief Tells an event loop that a queue became ready: the setting "queue.on_ready". */
typedef struct tsr_ready_callbacks {
  size_t struct_size;           /**< sizeof(tsr_ready_callbacks) */
  void* user;                   /**< Handed to the functions. */
  void (*drop)(void* user);     /**< After the last use; may be NULL. */
  void (*on_ready)(void* user); /**< The queue was empty and is not any more, or was woken. Must not block. */
} tsr_ready_callbacks;

/** @brief Kinds of events. Skip kinds that you do not know. */
enum {
  TSR_EVENT_TOKENS = 1,  /**< A ::tsr_event_tokens. */
  TSR_EVENT_FINISHED = 2 /**< A ::tsr_event_finished: the last one of its request, exactly one for each. */
};

/**
 * @brief The head of every record that tsr_queue_poll writes. Records are aligned to 8 bytes and hold no
 * pointers: offsets count from the record's own first byte. Later versions may append fields: go on by
 * `size`.
 */
typedef struct tsr_event {
  uint32_t size; /**< Of the whole record, a multiple of 8. */
  uint32_t kind; /**< A TSR_EVENT_ constant. */
  uint64_t tag;  /**< The host's, from tsr_session_generate. */
} tsr_event;

/** @brief A token and its log-probability. */
typedef struct tsr_token_logprob {
  int32_t token; /**< Token id. */
  float logprob; /**< Natural logarithm of its probability. */
} tsr_token_logprob;

/** @brief Generated tokens and text. Text comes in whole code points and may lag behind the tokens. */
typedef struct tsr_event_tokens {
  tsr_event head;        /**< kind is #TSR_EVENT_TOKENS. */
  uint64_t request;      /**< As tsr_session_generate returned it. */
  uint32_t token_count;  /**< May be 0 in the last record, which brings text that was held back. */
  uint32_t token_offset; /**< To int32_t ids [token_count]. */
  uint32_t text_size;    /**< Bytes of UTF-8; 0 while a code point or a possible stop string is incomplete. */
  uint32_t text_offset;  /**< To the bytes; no NUL. */
  uint32_t logprob_offset; /**< To float [token_count], of the model's own distribution; 0: not asked for. */
  uint32_t top_count;      /**< Alternatives per token, from "request.top_logprobs". */
  uint32_t top_offset; /**< To tsr_token_logprob [token_count][top_count], most probable first; 0: none. */
  uint32_t reserved;   /**< 0. */
} tsr_event_tokens;

/** @brief Why a request ended. */
enum {
  TSR_FINISH_END = 1, /**< The model ended its turn. The end token is part of the session, not of the text. */
  TSR_FINISH_STOP = 2,      /**< A stop string or stop token; the text ends before it. */
  TSR_FINISH_LENGTH = 3,    /**< "request.max_tokens" were generated. */
  TSR_FINISH_CONTEXT = 4,   /**< The context is full. */
  TSR_FINISH_CANCELLED = 5, /**< tsr_session_cancel, or the session was released. */
  TSR_FINISH_DEADLINE = 6,  /**< "request.deadline_ns" has passed. */
  TSR_FINISH_ERROR = 7,     /**< `status` says what failed. */
  TSR_FINISH_CLOSED = 8     /**< The engine was closed. */
};

/** @brief A request's terminal event. */
typedef struct tsr_event_finished {
  tsr_event head;         /**< kind is #TSR_EVENT_FINISHED. */
  uint64_t request;       /**< As tsr_session_generate returned it. */
  int32_t reason;         /**< A TSR_FINISH_ constant. */
  tsr_status status;      /**< #TSR_STATUS_OK for END, STOP, LENGTH and CONTEXT. */
  uint32_t prompt_tokens; /**< Tokens that were computed before the first new one. */
  uint32_t
      generated_tokens;    /**< Tokens that were generated and kept in the session, the end token included. */
  int32_t last_token;      /**< The last one generated, -1: none. */
  uint32_t message_size;   /**< Bytes of a message for people, UTF-8, when reason is ERROR. */
  uint32_t message_offset; /**< To the message; 0: none. */
  uint32_t reserved;       /**< 0. */
  int64_t queued_ns;       /**< From submission to the first computation. */
  int64_t prompt_ns;       /**< From there to the first token. */
  int64_t decode_ns;       /**< From there to the end. */
} tsr_event_finished;

/**
 * @brief Creates a queue.
 * @param options settings that begin with "queue."; may be NULL.
 * Any thread.
 */
TSR_API tsr_status tsr_queue_create(tsr_runtime* runtime, const tsr_options* options, tsr_queue** queue,
                                    tsr_error** error);

/**
 * @brief Writes waiting events into the caller's buffer, whole records only; the others stay queued.
 * @param timeout_ns how long to wait for the first: 0 does not wait, negative waits without end. On a stepped
 * engine nobody computes while this waits: use tsr_queue_wait there.
 * @param buffer [capacity], aligned to 8 bytes.
 * @param used gets the bytes written, always: 0 after the timeout or a wake-up.
 * @return #TSR_STATUS_OK also with no event; #TSR_STATUS_BUFFER_TOO_SMALL when the first record alone is
 * larger than the buffer (its size is in `used`, and it stays queued); #TSR_STATUS_CLOSED once the runtime
 * was closed and every event was delivered; #TSR_STATUS_BUSY when another thread polls. Poller. Allocates
 * nothing on success.
 */
TSR_API tsr_status tsr_queue_poll(tsr_queue* queue, int64_t timeout_ns, void* buffer, size_t capacity,
                                  size_t* used, tsr_error** error);

/**
 * @brief As tsr_queue_poll, for programs without an event loop: when `engine` is stepped, this thread steps
 * it until an event is ready, and sleeps while there is nothing to compute. With a timeout of 0 it computes
 * one region at the most.
 * @return besides: #TSR_STATUS_BUSY when another thread steps the engine; #TSR_STATUS_CLOSED once the engine
 * was closed and the queue is empty, since nothing of it will come any more. Poller and, for a stepped
 * engine, stepper.
 */
TSR_API tsr_status tsr_queue_wait(tsr_queue* queue, tsr_engine* engine, int64_t timeout_ns, void* buffer,
                                  size_t capacity, size_t* used, tsr_error** error);

/** @brief Makes the poll that waits now, or else the next one, return at once. Any thread; callback-safe. */
TSR_API tsr_status tsr_queue_wake(tsr_queue* queue, tsr_error** error);

/**
 * @brief A descriptor that is readable as long as events wait or a wake-up is pending: for epoll, poll and
 * select. It belongs to the queue: never read, write or close it; duplicate it where a wrapper wants to own
 * one. Any thread.
 */
TSR_API tsr_status tsr_queue_descriptor(tsr_queue* queue, int* descriptor, tsr_error** error);

/** @brief Drops the caller's reference. Requests that still run go on; their events are thrown away. Any
 * thread; callback-safe. */
TSR_API void tsr_queue_release(tsr_queue* queue);
/** @} */

/** @name Engine
 * Runs the requests of many sessions together, in batches, over one model.
 * @{ */

/**
 * @brief How ranks of different processes find each other: the setting "engine.rendezvous". MPI, Slurm,
 * Kubernetes or a database: whatever started the processes can gather a few kilobytes from each.
 */
typedef struct tsr_rendezvous_callbacks {
  size_t struct_size;       /**< sizeof(tsr_rendezvous_callbacks) */
  void* user;               /**< Handed to the functions. */
  void (*drop)(void* user); /**< After the last use; may be NULL. */
  /**
   * @brief Collective over all ranks: each brings `size` bytes, everywhere as many, and gets
   * everybody's, in rank order. Called a few times while an engine is created, on the thread that creates it,
   * one call at a time and in the same order on all ranks; never again afterwards. Calls of one (tag, epoch)
   * belong together.
   * @param tag a short name, [tag_size], of letters, digits and '-'.
   * @param in [size] this rank's bytes.
   * @param out [ranks * size]
   * @param timeout_ns how long to wait for the others.
   * @return 0, or the host's own error number: creating the engine then fails with #TSR_STATUS_LOST. A rank
   * that does not come must make the others fail when the time is up.
   */
  int32_t (*all_gather)(void* user, const char* tag, size_t tag_size, uint64_t epoch, const void* in,
                        size_t size, void* out, int64_t timeout_ns);
} tsr_rendezvous_callbacks;

/**
 * @brief Creates an engine. With "engine.stepped" it has no thread of its own and computes in tsr_engine_step
 * only.
 *
 * With "engine.tensor_parallel" and "engine.pipeline" the model is divided over several ranks (DeepSpeed
 * Inference, section IV), whose number is their product: on threads of this process, or, with
 * "engine.rendezvous", each in a process of its own, which creates its engine with the same settings but for
 * "engine.rank". Rank 0 leads: sessions and requests are there. The others call tsr_engine_serve. Results are
 * the same bits as with one rank. While a stepped engine of several ranks waits for the others, its step can
 * exceed the budget; and ranks of other processes wait for it no longer than "engine.rank_timeout_ns" in the
 * middle of a batch. docs/ranks.md has the rest.
 * @param options settings that begin with "engine."; may be NULL.
 * @return besides: #TSR_STATUS_LOST when the ranks could not meet. Any thread; with other processes it blocks
 * until all ranks have come, or the time is up.
 */
TSR_API tsr_status tsr_engine_create(tsr_model* model, const tsr_options* options, tsr_engine** engine,
                                     tsr_error** error);

/** @brief What a step did. */
typedef struct tsr_step_stats {
  size_t struct_size;        /**< Set by the caller: sizeof(tsr_step_stats). */
  int64_t elapsed_ns;        /**< Time spent in the call. */
  uint64_t prompt_tokens;    /**< Prompt tokens committed. */
  uint64_t generated_tokens; /**< Tokens generated. */
  /** 1: another step would compute. 0: nothing to do until something is submitted or cancelled, the events
   * of a request that paused are polled, or a deadline passes. */
  int32_t work_left;
  int32_t reserved; /**< 0. */
} tsr_step_stats;

/**
 * @brief Computes for `budget_ns` on the calling thread (and the engine's workers) and returns, commonly
 * within half a millisecond of the budget's end. What is not done then, be it in the middle of a layer, goes
 * on in the next call; results do not depend on where it was left. When there is work, some of it is done.
 * @param budget_ns 0: the least that can be done, commonly well below a millisecond; negative: until one
 * batch is done.
 * @param stats may be NULL.
 * @return #TSR_STATUS_WRONG_STATE on a threaded engine. Stepper.
 */
TSR_API tsr_status tsr_engine_step(tsr_engine* engine, int64_t budget_ns, tsr_step_stats* stats,
                                   tsr_error** error);

/**
 * @brief The work of a rank other than 0: carries out what rank 0 tells, on the calling thread and the
 * engine's workers, until rank 0 closes its engine.
 * @return #TSR_STATUS_OK then; #TSR_STATUS_LOST when a rank was lost, was late for "engine.rank_timeout_ns",
 * or this engine was closed; #TSR_STATUS_WRONG_STATE on an engine that has sessions. Stepper.
 */
TSR_API tsr_status tsr_engine_serve(tsr_engine* engine, tsr_error** error);

/** @brief Kinds of regions: the parts of a step whose times a GPU's metrics tell. */
enum {
  TSR_REGION_EMBED = 0,        /**< Tokens to the hidden state. */
  TSR_REGION_NORM_QKV = 1,     /**< Norm, query, key and value, rotary position, cache append. */
  TSR_REGION_ATTENTION = 2,    /**< Attention over the cache. */
  TSR_REGION_OUTPUT = 3,       /**< Attention's output projection. */
  TSR_REGION_NORM_GATE_UP = 4, /**< Norm, gate and up projections, activation. */
  TSR_REGION_DOWN = 5,         /**< Down projection. */
  TSR_REGION_HEAD = 6,         /**< Final norm and logits. */
  TSR_REGION_SAMPLE = 7        /**< Logits to tokens. */
};

/** @brief An engine's counters since it was created, and what it holds now. */
typedef struct tsr_engine_metrics {
  size_t struct_size;         /**< Set by the caller: sizeof(tsr_engine_metrics). */
  uint64_t batches;           /**< Batches committed. */
  uint64_t prompt_tokens;     /**< Prompt tokens computed. */
  uint64_t generated_tokens;  /**< Tokens generated. */
  uint64_t requests_accepted; /**< By tsr_session_generate. */
  uint64_t requests_finished; /**< With their terminal event posted. */
  uint64_t batches_failed;    /**< Rolled back. */
  uint64_t evictions;         /**< Idle sessions whose cache was taken; they recompute when they go on. */
  uint64_t compute_ns;        /**< Time in regions. */
  uint64_t cache_bytes;       /**< Memory of the cache. */
  uint64_t scratch_bytes;     /**< Working memory, of the GPU where one computes. */
  int32_t sessions;           /**< Open now. */
  int32_t requests_running;   /**< Being computed. */
  int32_t requests_queued;    /**< Waiting to begin. */
  int32_t threads;            /**< That compute, the caller's or the engine's own included. */
  int64_t blocks_total;       /**< Cache blocks. */
  int64_t blocks_free;        /**< Of these, not held by any session. */
  int32_t block_tokens;       /**< Tokens in a block. */
  int32_t reserved;           /**< 0. */
  uint64_t preemptions;       /**< Requests that lost their cache to others and computed it again. */
  uint64_t shared_tokens;     /**< Tokens that were not computed because another session had. */
  uint64_t copied_blocks;     /**< Shared blocks that were copied before they were written. */
  uint64_t device_steps;      /**< Steps that a GPU finished; 0 on a CPU, likewise below. */
  uint64_t device_ns;         /**< Its time in them. */
  uint64_t device_idle_ns;    /**< Its time between steps of which the next was already there. */
  uint64_t region_ns[16];     /**< Its time by TSR_REGION_; 0 without "engine.time_regions". */
} tsr_engine_metrics;

/** @brief Fills `metrics`. Any thread; callback-safe. */
TSR_API tsr_status tsr_engine_get_metrics(tsr_engine* engine, tsr_engine_metrics* metrics, tsr_error** error);

/**
 * @brief Ends every request with #TSR_FINISH_CLOSED, joins the engine's threads, frees its cache. Later calls
 * on it and its sessions answer #TSR_STATUS_CLOSED; counts and metrics can still be read, and a cancel does
 * nothing. A second close does nothing. Any thread; #TSR_STATUS_WRONG_STATE in a callback.
 */
TSR_API tsr_status tsr_engine_close(tsr_engine* engine, tsr_error** error);

/** @brief Drops the caller's reference; the last one of it and its sessions closes it. In a callback it
 * waits for nobody: the thread that computes finishes the close. Any thread; callback-safe. */
TSR_API void tsr_engine_release(tsr_engine* engine);
/** @} */

/** @name Plan
 * What a model would take and how fast it should run, before it is loaded.
 * @{ */

/** @brief What an engine over a model would take, by tier, and how fast it should run. */
typedef struct tsr_plan {
  size_t struct_size;         /**< Set by the caller: sizeof(tsr_plan). */
  uint64_t host_bytes;        /**< Host memory, the sum of the next four. Sessions and requests add little. */
  uint64_t host_weight_bytes; /**< As tsr_model_info says it of the loaded model. */
  uint64_t host_cache_bytes;  /**< As tsr_engine_metrics says it of the engine. */
  uint64_t host_scratch_bytes;  /**< Likewise. */
  uint64_t host_object_bytes;   /**< Tokenizer, metadata, lists of blocks and the like, about. */
  uint64_t device_bytes;        /**< Of the GPU: weights, cache and working memory; the host then has the
                                     pinned part of the working memory alone. 0: on a CPU. */
  uint64_t nvme_bytes;          /**< On disk: 0, this build keeps all in memory. */
  int64_t cache_tokens;         /**< Tokens that the cache holds, in whole blocks. */
  int64_t fitting_cache_tokens; /**< The largest "engine.cache_tokens" with which the engine stays within
                                     "plan.host_bytes" and "plan.device_bytes", in whole blocks; 0: none
                                     does. Without a budget the most that the setting takes. */
  int32_t context_tokens;       /**< The longest session. */
  int32_t fits; /**< 1: within "plan.host_bytes" and "plan.device_bytes", where there are such budgets. */
  uint64_t weight_bytes_per_token; /**< Stored weight bytes that decoding one token reads. */
  uint64_t cache_bytes_per_token;  /**< Cache bytes for each token of a session, read for each decoded one. */
  /** Expected for one session, its context being empty. 0 where "plan.read_bandwidth" is not given and
   * "plan.probe" is off; likewise below. */
  double decode_tokens_per_second;
  double decode_tokens_per_second_full; /**< The same with a session of context_tokens. */
  double prompt_tokens_per_second;      /**< Of a prompt of "engine.batch_tokens"; needs "plan.probe", or
                                             "plan.products_per_second" too. */
  double read_bandwidth;                /**< Bytes a second that this reckons with, given or probed. */
  double products_per_second;           /**< Likewise: multiply-adds a second. */
} tsr_plan;

/**
 * @brief Plans an engine over a model file: reads its header and none of its weights, and allocates nothing
 * that stays.
 * @param options settings that begin with "model.", "device.", "engine." or "plan.": those that the load and
 * the engine would be given, and what is to be planned; may be NULL.
 * @param plan is filled. Memory is what the library will ask the system for, to the byte but for
 * host_object_bytes; rates are estimates.
 * @return what tsr_model_load_file and tsr_engine_create would answer to the header and the settings.
 * Any thread; takes as long as reading the header, and a tenth of a second with "plan.probe".
 */
TSR_API tsr_status tsr_plan_file(tsr_runtime* runtime, const char* path, size_t path_size,
                                 const tsr_options* options, tsr_plan* plan, tsr_error** error);

/** @brief Plans for an open descriptor, as tsr_model_load_descriptor takes it. Otherwise as tsr_plan_file. */
TSR_API tsr_status tsr_plan_descriptor(tsr_runtime* runtime, int descriptor, uint64_t offset,
                                       uint64_t size_bytes, const tsr_options* options, tsr_plan* plan,
                                       tsr_error** error);

/** @brief Plans for a model in memory, which is not touched after the call. Otherwise as tsr_plan_file. */
TSR_API tsr_status tsr_plan_memory(tsr_runtime* runtime, const void* data, size_t size_bytes,
                                   const tsr_options* options, tsr_plan* plan, tsr_error** error);

/** @brief Plans through the host's own reader, which is dropped before this returns. Otherwise as
 * tsr_plan_file. */
TSR_API tsr_status tsr_plan_reader(tsr_runtime* runtime, const tsr_reader* reader, const tsr_options* options,
                                   tsr_plan* plan, tsr_error** error);
/** @} */

/** @name Session
 * One conversation: a sequence of tokens whose keys and values the engine keeps.
 * @{ */

/** @brief A session. */
typedef struct tsr_session tsr_session;

/**
 * @brief Creates an empty session.
 * @param options settings that begin with "session."; may be NULL.
 * @return #TSR_STATUS_LIMIT_EXCEEDED when "engine.max_sessions" are open.
 * Any thread.
 */
TSR_API tsr_status tsr_session_create(tsr_engine* engine, const tsr_options* options, tsr_session** session,
                                      tsr_error** error);

/**
 * @brief Appends text; nothing is computed yet. All of it or, with an error, none.
 * @param flags TSR_TEXT_ constants, or-ed.
 * @return #TSR_STATUS_BUSY while a request of this session runs; #TSR_STATUS_LIMIT_EXCEEDED when the context
 * would be too long; #TSR_STATUS_INVALID_UTF8 with the place of the first bad byte. Session.
 */
TSR_API tsr_status tsr_session_append_text(tsr_session* session, const char* text, size_t text_size,
                                           int32_t flags, tsr_error** error);

/**
 * @brief Appends a conversation through the model's chat template, ready to generate the answer; nothing is
 * computed yet. All of it or, with an error, none. Special tokens that the template writes become those
 * tokens; in messages they stay text unless "chat.parse_special" says otherwise. Nothing is added to what the
 * template writes, and where the session already holds tokens, a begin-of-text token at the start is left
 * out.
 *
 * A template writes whole conversations. To go on after an answer, either rewind the session to 0 and append
 * all messages again (what is the same at the beginning is found in the cache), or append the next turn with
 * tsr_session_append_text in the model's own form.
 * @param messages as in tsr_model_apply_chat_template, whose errors it has too.
 * @param options settings that begin with "chat."; may be NULL.
 * @return besides: as tsr_session_append_text. Session.
 */
TSR_API tsr_status tsr_session_append_chat(tsr_session* session, const char* messages, size_t messages_size,
                                           const tsr_options* options, tsr_error** error);

/** @brief Appends tokens, [count]; ids are checked. Otherwise as tsr_session_append_text. */
TSR_API tsr_status tsr_session_append_tokens(tsr_session* session, const int32_t* tokens, size_t count,
                                             tsr_error** error);

/**
 * @brief Asks the engine to compute what was appended and to generate. Returns at once.
 * @param options settings that begin with "request." or "sampling."; may be NULL.
 * @param queue gets the request's events: any number of #TSR_EVENT_TOKENS, then exactly one
 * #TSR_EVENT_FINISHED. The terminal event's place is reserved here, so it cannot be lost. A request whose
 * events are not polled pauses.
 * @param tag comes back in every event.
 * @param request gets an id, unique within the engine; may be NULL.
 * @return #TSR_STATUS_BUSY while another request of this session runs; #TSR_STATUS_LIMIT_EXCEEDED when
 * "engine.max_requests" wait or run, when the session fills its context or the request could outgrow the
 * cache, and when thousands of ended requests of this queue wait to be polled; #TSR_STATUS_INVALID_ARGUMENT
 * for a queue of another runtime; #TSR_STATUS_WRONG_STATE for an empty session. With "request.max_tokens"
 * 0 the appended tokens are computed and nothing is generated. Session.
 */
TSR_API tsr_status tsr_session_generate(tsr_session* session, const tsr_options* options, tsr_queue* queue,
                                        uint64_t tag, uint64_t* request, tsr_error** error);

/**
 * @brief A new session with the same tokens, and the same cache as far as it is computed: blocks are shared,
 * and copied when one of the two writes there. While a request runs it sees the last batch's end.
 * @param options as in tsr_session_create.
 * @param fork gets the handle; the caller releases it.
 * @return #TSR_STATUS_LIMIT_EXCEEDED when "engine.max_sessions" are open. Any thread.
 */
TSR_API tsr_status tsr_session_fork(tsr_session* session, const tsr_options* options, tsr_session** fork,
                                    tsr_error** error);

/**
 * @brief Cuts the session to its first `token_count` tokens. What they need of the cache is kept.
 * @return #TSR_STATUS_INVALID_ARGUMENT when it holds fewer; #TSR_STATUS_BUSY while a request runs. Session.
 */
TSR_API tsr_status tsr_session_rewind(tsr_session* session, size_t token_count, tsr_error** error);

/** @brief What a cancelled request leaves in its session. */
enum {
  TSR_CANCEL_KEEP = 0, /**< The tokens generated so far. */
  TSR_CANCEL_DROP = 1  /**< Nothing: the session is as it was before tsr_session_generate. */
};

/**
 * @brief Ends the session's request, whatever it is doing; its terminal event is posted before this returns.
 * Does nothing when none runs. Cache blocks return when the batch in flight ends, on a stepped engine with
 * the next step. Never BUSY. Any thread; callback-safe.
 */
TSR_API tsr_status tsr_session_cancel(tsr_session* session, int32_t effect, tsr_error** error);

/** @brief How many tokens the session holds, appended and generated. While a request runs: as of the last
 * batch. Any thread. */
TSR_API tsr_status tsr_session_token_count(tsr_session* session, size_t* count, tsr_error** error);

/**
 * @brief Copies tokens [first, first + capacity) of the session, as far as there are any.
 * @param count gets how many were copied. #TSR_STATUS_BUSY while a request runs, #TSR_STATUS_INVALID_ARGUMENT
 * when `first` is behind the last. Session.
 */
TSR_API tsr_status tsr_session_get_tokens(tsr_session* session, size_t first, int32_t* tokens,
                                          size_t capacity, size_t* count, tsr_error** error);

/**
 * @brief Copies the logits from which the last request would choose, or chose, its last token: raw, one float
 * for each token id. The session must have been created with "session.logits".
 * @param count gets the vocabulary's size, also with #TSR_STATUS_BUFFER_TOO_SMALL.
 * @return #TSR_STATUS_WRONG_STATE before the first request, and after one that ended before its batch did
 * (cancelled, late or failed); #TSR_STATUS_BUSY while one runs. Session.
 */
TSR_API tsr_status tsr_session_get_logits(tsr_session* session, float* logits, size_t capacity, size_t* count,
                                          tsr_error** error);

/**
 * @brief Gives the session's cache back to the others; its tokens stay. It goes on as if nothing had been,
 * but computes again what nobody else has computed meanwhile. To keep what was computed, save it first.
 * @return #TSR_STATUS_BUSY while a request runs. Session.
 */
TSR_API tsr_status tsr_session_park(tsr_session* session, tsr_error** error);

/** @brief Cancels what runs and drops the caller's reference. Any thread; callback-safe. */
TSR_API void tsr_session_release(tsr_session* session);
/** @} */

/** @name Saved sessions
 * A session as bytes: its tokens and, unless they are left out, their keys and values. Restored, in this
 * process or another, with any number of threads, it goes on with the same bits. A state holds the hashes of
 * its model and tokenizer, and a hash of all its bytes. That finds accidents, not forgeries: a state from
 * hands that are not trusted is safe to restore, but its keys and values may be anything; they stay its
 * session's own. Engines of several ranks and engines on a GPU save and restore tokens alone.
 * @{ */

/**
 * @brief Writes the session into the caller's buffer. Other sessions compute meanwhile.
 * @param options settings that begin with "state."; may be NULL.
 * @param buffer [capacity] may be NULL when capacity is 0.
 * @param size gets the bytes of the state, also with #TSR_STATUS_BUFFER_TOO_SMALL, when nothing is written to
 * `buffer`. As long as the session is not used, a later call needs as many at the most: an idle session may
 * lose its cache to others.
 * @return #TSR_STATUS_BUSY while a request runs. Session.
 */
TSR_API tsr_status tsr_session_save(tsr_session* session, const tsr_options* options, void* buffer,
                                    size_t capacity, size_t* size, tsr_error** error);

/**
 * @brief A new session from a saved state. Where the cache has no room for its keys and values, even when
 * idle sessions give theirs up, it computes them again when it goes on.
 * @param state [state_size] is not needed after the call.
 * @param options settings that begin with "session." or "state."; may be NULL. Without "state.cache" only the
 * tokens are taken, and the cache that it was saved from need not be like the engine's.
 * @param session gets the handle; the caller releases it.
 * @return #TSR_STATUS_CORRUPT when any byte is not as it was written; #TSR_STATUS_UNSUPPORTED for another
 * version or byte order; #TSR_STATUS_MISMATCH when model, tokenizer, "engine.activations",
 * "engine.cache_type" or the cache's layout differ; #TSR_STATUS_LIMIT_EXCEEDED when its tokens exceed the
 * engine's context or "engine.max_sessions" are open. All that is checked before anything changes. Any
 * thread.
 */
TSR_API tsr_status tsr_session_restore(tsr_engine* engine, const void* state, size_t state_size,
                                       const tsr_options* options, tsr_session** session, tsr_error** error);

/** @brief Types of keys and values in a saved state. */
enum {
  TSR_CACHE_NONE = -1, /**< None: tokens only. */
  TSR_CACHE_F32 = 0,   /**< "f32". */
  TSR_CACHE_F16 = 1,   /**< "f16". */
  TSR_CACHE_BF16 = 2,  /**< "bf16". */
  TSR_CACHE_INT8 = 3   /**< "int8". */
};

/** @brief The bytes that tsr_state_probe needs at the least. */
#define TSR_STATE_HEADER_BYTES 128

/** @brief What a saved state says of itself. */
typedef struct tsr_state_info {
  size_t struct_size;     /**< Set by the caller: sizeof(tsr_state_info). */
  uint64_t size_bytes;    /**< Of the whole state. */
  uint64_t token_count;   /**< Tokens of the session. */
  uint64_t cached_tokens; /**< Of these, tokens whose keys and values are there. */
  int32_t version;        /**< Of the format. */
  int32_t cache_type;     /**< A TSR_CACHE_ constant. */
  int32_t complete; /**< 1: the whole state was given, and every byte of it is sound. 0: its beginning. */
  int32_t reserved; /**< 0. */
  uint8_t model_hash[16];     /**< tsr_model_info's `hash` of the model that it belongs to. */
  uint8_t tokenizer_hash[16]; /**< The same of the tokenizer. */
} tsr_state_info;

/**
 * @brief Looks at a saved state without a model.
 * @param state [state_size] the whole state, which is checked as tsr_session_restore does, or its first
 * #TSR_STATE_HEADER_BYTES or more, of which the header is checked: see `complete`.
 * @return #TSR_STATUS_CORRUPT or #TSR_STATUS_UNSUPPORTED as tsr_session_restore. Any thread; callback-safe.
 */
TSR_API tsr_status tsr_state_probe(const void* state, size_t state_size, tsr_state_info* info,
                                   tsr_error** error);
/** @} */

#ifdef __cplusplus
}
#endif

#endif /* TESSERA_TESSERA_H_ */
