/* The library's functions as pointers, so that one scenario runs in a host that links the library and in one
 * that loads it with dlopen and has no C++ runtime of its own before that. */
#ifndef TESSERA_TESTS_FAULT_API_H_
#define TESSERA_TESTS_FAULT_API_H_

#include <tessera/tessera.h>

// clang-format off
#define FAULT_FUNCTIONS(X)                                                                               \
  X(tsr_abi_describe) X(tsr_error_code) X(tsr_error_message) X(tsr_error_place) X(tsr_error_release) X(tsr_options_create)   \
  X(tsr_options_release) X(tsr_options_set_int) X(tsr_options_set_float) X(tsr_options_set_bool)         \
  X(tsr_options_set_string) X(tsr_options_set_int_list) X(tsr_options_set_float_list)                    \
  X(tsr_options_set_string_list) X(tsr_options_set_pointer) X(tsr_options_set_callbacks) X(tsr_runtime_create) X(tsr_runtime_close) \
  X(tsr_runtime_release) X(tsr_model_load_file) X(tsr_model_load_memory) X(tsr_model_load_reader)        \
  X(tsr_model_load_descriptor) X(tsr_plan_file) X(tsr_model_release) X(tsr_model_get_info) X(tsr_model_tokenize)          \
  X(tsr_model_detokenize) X(tsr_model_apply_chat_template) X(tsr_queue_create) X(tsr_queue_poll) X(tsr_queue_wait) X(tsr_queue_wake)      \
  X(tsr_queue_release) X(tsr_engine_create) X(tsr_engine_step) X(tsr_engine_get_metrics)                 \
  X(tsr_engine_close) X(tsr_engine_release) X(tsr_session_create) X(tsr_session_append_text)             \
  X(tsr_session_append_tokens) X(tsr_session_append_chat) X(tsr_session_generate) X(tsr_session_fork) X(tsr_session_rewind)         \
  X(tsr_session_cancel) X(tsr_session_token_count) X(tsr_session_get_tokens) X(tsr_session_get_logits)   \
  X(tsr_session_save) X(tsr_session_restore) X(tsr_session_park) X(tsr_state_probe) X(tsr_session_release)
// clang-format on

#ifdef __cplusplus
#define FAULT_MEMBER(name) decltype(&::name) name;
#else
#define FAULT_MEMBER(name) __typeof__(&name) name;
#endif
struct Api {
  FAULT_FUNCTIONS(FAULT_MEMBER)
};
#undef FAULT_MEMBER

/* `library` is the file to load; a host that links ignores it. 0: could not. */
int GetApi(struct Api* api, const char* library);

#endif /* TESSERA_TESTS_FAULT_API_H_ */
