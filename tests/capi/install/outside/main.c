/* An outside program: says which library it runs with and, given a model, lets it continue a text. */
#include <stdio.h>
#include <string.h>
#include <tessera/tessera.h>

static int Fail(const char* what, tsr_error* error) {
  fprintf(stderr, "%s: %s\n", what, tsr_error_message(error, NULL));
  tsr_error_release(error);
  return 1;
}

/* Prints what arrives; 1 once the request has ended well, -1 when it has failed, 0 before. */
static int PrintEvents(const char* events, size_t used) {
  size_t at = 0;
  while (at < used) {
    tsr_event head;
    memcpy(&head, events + at, sizeof head);
    if (head.kind == TSR_EVENT_TOKENS) {
      tsr_event_tokens tokens;
      memcpy(&tokens, events + at, sizeof tokens);
      fwrite(events + at + tokens.text_offset, 1, tokens.text_size, stdout);
    } else if (head.kind == TSR_EVENT_FINISHED) {
      tsr_event_finished finished;
      memcpy(&finished, events + at, sizeof finished);
      printf("\n%u tokens\n", (unsigned)finished.generated_tokens);
      return finished.status == TSR_STATUS_OK && finished.generated_tokens > 0 ? 1 : -1;
    }
    at += head.size;
  }
  return 0;
}

static int Generate(tsr_runtime* runtime, const char* path) {
  static const char kPrompt[] = "Once upon a time";
  static uint64_t buffer[4096];
  tsr_error* error = NULL;
  tsr_model* model = NULL;
  tsr_engine* engine = NULL;
  tsr_session* session = NULL;
  tsr_queue* queue = NULL;
  tsr_options* options = NULL;
  int ended = -1;
  if (tsr_model_load_file(runtime, path, strlen(path), NULL, &model, &error) != TSR_STATUS_OK ||
      tsr_engine_create(model, NULL, &engine, &error) != TSR_STATUS_OK ||
      tsr_queue_create(runtime, NULL, &queue, &error) != TSR_STATUS_OK ||
      tsr_session_create(engine, NULL, &session, &error) != TSR_STATUS_OK ||
      tsr_session_append_text(session, kPrompt, strlen(kPrompt), TSR_TEXT_PLAIN, &error) != TSR_STATUS_OK ||
      tsr_options_create(&options, &error) != TSR_STATUS_OK ||
      tsr_options_set_int(options, "request.max_tokens", strlen("request.max_tokens"), 8, &error) !=
          TSR_STATUS_OK ||
      tsr_session_generate(session, options, queue, 7, NULL, &error) != TSR_STATUS_OK) {
    Fail("generate", error);
  } else {
    size_t used = 0;
    ended = 0;
    while (ended == 0 && tsr_queue_poll(queue, -1, buffer, sizeof buffer, &used, &error) == TSR_STATUS_OK) {
      ended = PrintEvents((const char*)buffer, used);
    }
    if (error != NULL) Fail("poll", error);
  }
  tsr_options_release(options);
  tsr_session_release(session);
  tsr_queue_release(queue);
  tsr_engine_release(engine);
  tsr_model_release(model);
  return ended == 1 ? 0 : 1;
}

int main(int argc, char** argv) {
  tsr_error* error = NULL;
  tsr_runtime* runtime = NULL;
  int result = 0;
  printf("%s\n", tsr_version_string());
  if (tsr_version_number() != TSR_VERSION_MAJOR * 1000000 + TSR_VERSION_MINOR * 1000 + TSR_VERSION_PATCH) {
    fprintf(stderr, "the header and the library are of different versions\n");
    return 1;
  }
  if (tsr_runtime_create(NULL, &runtime, &error) != TSR_STATUS_OK) return Fail("runtime", error);
  if (argc > 1) result = Generate(runtime, argv[1]);
  tsr_runtime_release(runtime);
  return result;
}
