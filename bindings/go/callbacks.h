/* Callback tables whose functions are Go's. Handles are runtime/cgo's; each goes when its table is dropped.
 */
#ifndef TESSERA_GO_CALLBACKS_H_
#define TESSERA_GO_CALLBACKS_H_

#include <stdint.h>
#include <tessera/tessera.h>

/* Each sets the key's table; the handle is dropped also on failure. */
tsr_status tessera_go_set_log(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                              tsr_error** error);
tsr_status tessera_go_set_progress(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                   tsr_error** error);
tsr_status tessera_go_set_memory(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                 tsr_error** error);
tsr_status tessera_go_set_rendezvous(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                     tsr_error** error);

tsr_status tessera_go_set_ready(tsr_options* options, const char* key, size_t key_size, uintptr_t handle,
                                tsr_error** error);

/* tsr_model_load_reader and tsr_plan_reader with a Go reader. */
tsr_status tessera_go_load_reader(tsr_runtime* runtime, uintptr_t handle, uint64_t size_bytes,
                                  const tsr_options* options, tsr_model** model, tsr_error** error);
tsr_status tessera_go_plan_reader(tsr_runtime* runtime, uintptr_t handle, uint64_t size_bytes,
                                  const tsr_options* options, tsr_plan* plan, tsr_error** error);

#endif
