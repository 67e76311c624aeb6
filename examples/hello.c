/* The README's example: loads a model and prints its answer as it comes. Usage: hello MODEL.gguf "prompt" */
#include <stdio.h>
#include <string.h>
#include <tessera/tessera.h>

int main(int argc, char** argv) {
  tsr_runtime* runtime = NULL;
  tsr_model* model = NULL;
  tsr_engine* engine = NULL;
  tsr_session* session = NULL;
  tsr_queue* queue = NULL;
  tsr_error* error = NULL;
  uint64_t buffer[1024]; /* events are records of 8-byte alignment */
  size_t used = 0;
  int running = argc == 3 && !tsr_runtime_create(NULL, &runtime, &error) &&
                !tsr_model_load_file(runtime, argv[1], strlen(argv[1]), NULL, &model, &error) &&
                !tsr_engine_create(model, NULL, &engine, &error) &&
                !tsr_session_create(engine, NULL, &session, &error) &&
                !tsr_queue_create(runtime, NULL, &queue, &error) &&
                !tsr_session_append_text(session, argv[2], strlen(argv[2]), TSR_TEXT_ADD_SPECIAL, &error) &&
                !tsr_session_generate(session, NULL, queue, 0, NULL, &error);
  while (running && !tsr_queue_poll(queue, -1, buffer, sizeof buffer, &used, &error)) {
    const char* at = (const char*)buffer;
    for (; at < (const char*)buffer + used; at += ((const tsr_event*)at)->size) {
      const tsr_event_tokens* event = (const tsr_event_tokens*)at;
      if (event->head.kind == TSR_EVENT_TOKENS) fwrite(at + event->text_offset, 1, event->text_size, stdout);
      if (event->head.kind == TSR_EVENT_FINISHED) running = 0;
    }
  }
  printf("\n%s", tsr_error_message(error, NULL));
  running = tsr_error_code(error);
  tsr_error_release(error);
  tsr_session_release(session); /* in any order; NULL is fine */
  tsr_queue_release(queue);
  tsr_engine_release(engine);
  tsr_model_release(model);
  tsr_runtime_release(runtime);
  return argc == 3 ? running : 2;
}
