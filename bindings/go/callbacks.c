// Hands the library's callbacks to the functions that callbacks.go exports.
#include "callbacks.h"

#include "_cgo_export.h"

static void drop(void* user) { tesseraGoDrop((uintptr_t)user); }

static void write_line(void* user, int32_t level, const char* message, size_t message_size) {
  tesseraGoLog((uintptr_t)user, level, (char*)message, message_size);
}

static int32_t progress(void* user, uint64_t done_bytes, uint64_t total_bytes) {
  return tesseraGoProgress((uintptr_t)user, done_bytes, total_bytes);
}

static void* allocate(void* user, int32_t memory_class, size_t size) {
  return tesseraGoAllocate((uintptr_t)user, memory_class, size);
}

static void take_back(void* user, int32_t memory_class, void* data, size_t size) {
  tesseraGoFree((uintptr_t)user, memory_class, data, size);
}

static int32_t all_gather(void* user, const char* tag, size_t tag_size, uint64_t epoch, const void* in,
                          size_t size, void* out, int64_t timeout_ns) {
  return tesseraGoAllGather((uintptr_t)user, (char*)tag, tag_size, epoch, (void*)in, size, out, timeout_ns);
}

static void on_ready(void* user) { tesseraGoReady((uintptr_t)user); }

static int64_t read_at(void* user, uint64_t offset, void* buffer, size_t size) {
  return tesseraGoReadAt((uintptr_t)user, offset, buffer, size);
}

tsr_status tessera_go_set_log(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                              tsr_error** error) {
  const tsr_log_callbacks table = {sizeof table, (void*)handle, drop, write_line};
  return tsr_options_set_callbacks(options, key, key_size, &table, error);
}

tsr_status tessera_go_set_progress(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                   tsr_error** error) {
  const tsr_progress_callbacks table = {sizeof table, (void*)handle, drop, progress};
  return tsr_options_set_callbacks(options, key, key_size, &table, error);
}

tsr_status tessera_go_set_memory(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                 tsr_error** error) {
  const tsr_memory_callbacks table = {sizeof table, (void*)handle, drop, allocate, take_back};
  return tsr_options_set_callbacks(options, key, key_size, &table, error);
}

tsr_status tessera_go_set_rendezvous(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                     tsr_error** error) {
  const tsr_rendezvous_callbacks table = {sizeof table, (void*)handle, drop, all_gather};
  return tsr_options_set_callbacks(options, key, key_size, &table, error);
}

tsr_status tessera_go_set_ready(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                tsr_error** error) {
  const tsr_ready_callbacks table = {sizeof table, (void*)handle, drop, on_ready};
  return tsr_options_set_callbacks(options, key, key_size, &table, error);
}

tsr_status tessera_go_load_reader(tsr_runtime* runtime, uintptr_t handle, uint64_t size_bytes,
                                  const tsr_options* options, tsr_model** model, tsr_error** error) {
  const tsr_reader reader = {sizeof reader, (void*)handle, drop, size_bytes, read_at};
  return tsr_model_load_reader(runtime, &reader, options, model, error);
}

tsr_status tessera_go_plan_reader(tsr_runtime* runtime, uintptr_t handle, uint64_t size_bytes,
                                  const tsr_options* options, tsr_plan* plan, tsr_error** error) {
  const tsr_reader reader = {sizeof reader, (void*)handle, drop, size_bytes, read_at};
  return tsr_plan_reader(runtime, &reader, options, plan, error);
}
