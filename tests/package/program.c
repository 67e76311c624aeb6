/* What a user's first program does with an installed library: asks for its version, makes a runtime, is told
 * plainly that a model is not there, and looks for a GPU. */
#include <stdio.h>
#include <string.h>
#include <tessera/tessera.h>

static int Load(tsr_runtime* runtime, const char* device) {
  static const char kPath[] = "/nowhere/model.gguf";
  tsr_options* options = NULL;
  tsr_model* model = NULL;
  tsr_error* error = NULL;
  tsr_status status;
  if (tsr_options_create(&options, &error) != TSR_STATUS_OK) return 1;
  status = tsr_options_set_string(options, "model.device", 12, device, strlen(device), &error);
  if (status == TSR_STATUS_OK)
    status = tsr_model_load_file(runtime, kPath, strlen(kPath), options, &model, &error);
  printf("%s: %d, %s\n", device, (int)status, tsr_error_message(error, NULL));
  tsr_error_release(error);
  tsr_options_release(options);
  return status == TSR_STATUS_OK; /* there is no such model */
}

int main(void) {
  tsr_runtime* runtime = NULL;
  tsr_error* error = NULL;
  printf("%s\n", tsr_version_string());
  if (tsr_runtime_create(NULL, &runtime, &error) != TSR_STATUS_OK) {
    fprintf(stderr, "%s\n", tsr_error_message(error, NULL));
    return 1;
  }
  if (Load(runtime, "cpu") != 0 || Load(runtime, "cuda") != 0) return 1;
  tsr_runtime_release(runtime);
  return 0;
}
