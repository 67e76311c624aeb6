/* The README's example: load a model, ask, print the answer as it comes. Usage: hello MODEL.gguf "question" */
#include <stdio.h>
#include <string.h>
#include <tessera/tessera.h>

static void check(tsr_status status, tsr_error* error) {
  if (status == TSR_STATUS_OK) return;
  fprintf(stderr, "%s: %s\n", tsr_status_name(status), tsr_error_message(error, NULL));
  tsr_error_release(error);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  tsr_runtime* runtime = NULL;
  tsr_model* model = NULL;
  tsr_engine* engine = NULL;
  tsr_session* session = NULL;
  tsr_queue* queue = NULL;
  tsr_error* error = NULL;
  int done = 0;

  check(tsr_runtime_create(NULL, &runtime, &error), error);
  check(tsr_model_load_file(runtime, argv[1], strlen(argv[1]), NULL, &model, &error), error);
  check(tsr_engine_create(model, NULL, &engine, &error), error);
  check(tsr_session_create(engine, NULL, &session, &error), error);
  check(tsr_queue_create(runtime, NULL, &queue, &error), error);
  check(tsr_session_append_text(session, argv[2], strlen(argv[2]), TSR_TEXT_ADD_SPECIAL, &error), error);
  tsr_status status = tsr_session_generate(session, NULL, queue, 0, NULL, &error);
  check(status, error);

  while (status == TSR_STATUS_OK && !done) {
    uint64_t buffer[1024];
    size_t used = 0, at = 0;
    status = tsr_queue_poll(queue, -1, buffer, sizeof buffer, &used, &error);
    for (; at < used; at += ((const tsr_event*)((const char*)buffer + at))->size) {
      const char* record = (const char*)buffer + at;
      const tsr_event_tokens* tokens = (const tsr_event_tokens*)record;
      if (tokens->head.kind == TSR_EVENT_TOKENS) fwrite(record + tokens->text_offset, 1, tokens->text_size, stdout);
      if (tokens->head.kind == TSR_EVENT_FINISHED) done = 1;
    }
  }
  printf("\n");
  tsr_session_release(session); /* any order; NULL is fine */
  tsr_queue_release(queue);
  tsr_engine_release(engine);
  tsr_model_release(model);
  tsr_runtime_release(runtime);
  return status == TSR_STATUS_OK ? 0 : 1;
}
