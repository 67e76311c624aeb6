/*
 * Asks a model a question and streams the answer, with its figures at the end. On the public C API alone.
 *
 *   tessera_demo --model FILE [--prompt TEXT] [--raw] [--tokens N] [--greedy]
 *
 * The prompt goes through the model's own chat template; --raw sends it as it is, and so does a model without
 * one.
 */
#define _POSIX_C_SOURCE 200809L /* NOLINT(bugprone-reserved-identifier): clock_gettime */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <tessera/tessera.h>
#include <time.h>

typedef struct Arguments {
  const char* model;
  const char* prompt;
  int raw;
  int greedy;
  long tokens;
} Arguments;

typedef struct Handles {
  tsr_runtime* runtime;
  tsr_model* model;
  tsr_engine* engine;
  tsr_session* session;
  tsr_queue* queue;
  tsr_options* options;
} Handles;

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prints what went wrong; 0 when nothing did. */
static int failed(const char* what, tsr_status status, tsr_error* error) {
  if (status == TSR_STATUS_OK) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, tsr_status_name(status), tsr_error_message(error, NULL));
  tsr_error_release(error);
  return 1;
}

static int parse(int argc, char** argv, Arguments* arguments) {
  int i;
  for (i = 1; i < argc; ++i) {
    const char* name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(name, "--raw") == 0) {
      arguments->raw = 1;
    } else if (strcmp(name, "--greedy") == 0) {
      arguments->greedy = 1;
    } else if (value != NULL && strcmp(name, "--model") == 0) {
      arguments->model = argv[++i];
    } else if (value != NULL && strcmp(name, "--prompt") == 0) {
      arguments->prompt = argv[++i];
    } else if (value != NULL && strcmp(name, "--tokens") == 0) {
      char* end = NULL;
      arguments->tokens = strtol(argv[++i], &end, 10);
      if (end == value || *end != '\0' || arguments->tokens < 1) {
        fprintf(stderr, "--tokens takes a number of 1 and up, not '%s'\n", value);
        return 0;
      }
    } else {
      fprintf(stderr, "unknown or incomplete argument: %s\n", name);
      return 0;
    }
  }
  if (arguments->model == NULL) {
    fprintf(stderr, "usage: tessera_demo --model FILE [--prompt TEXT] [--raw] [--tokens N] [--greedy]\n");
    return 0;
  }
  return 1;
}

static int32_t show_progress(void* user, uint64_t done_bytes, uint64_t total_bytes) {
  (void)user;
  fprintf(stderr, "\rloading %3.0f %%",
          total_bytes == 0 ? 100.0 : 100.0 * (double)done_bytes / (double)total_bytes);
  if (done_bytes >= total_bytes) fprintf(stderr, "\n");
  return 0;
}

static int load(const Arguments* arguments, Handles* h) {
  tsr_error* error = NULL;
  tsr_options* options = NULL;
  tsr_progress_callbacks progress;
  tsr_status status;
  memset(&progress, 0, sizeof progress);
  progress.struct_size = sizeof progress;
  progress.progress = show_progress;

  if (failed("runtime", tsr_runtime_create(NULL, &h->runtime, &error), error)) return 0;
  if (failed("options", tsr_options_create(&options, &error), error)) return 0;
  status = tsr_options_set_callbacks(options, "model.progress", strlen("model.progress"), &progress, &error);
  if (status == TSR_STATUS_OK) {
    status = tsr_model_load_file(h->runtime, arguments->model, strlen(arguments->model), options, &h->model,
                                 &error);
  }
  tsr_options_release(options);
  if (failed("model", status, error)) return 0;
  if (failed("engine", tsr_engine_create(h->model, NULL, &h->engine, &error), error)) return 0;
  if (failed("session", tsr_session_create(h->engine, NULL, &h->session, &error), error)) return 0;
  return !failed("queue", tsr_queue_create(h->runtime, NULL, &h->queue, &error), error);
}

/* [{"role": "user", "content": prompt}] as JSON, for the caller to free. */
static char* one_message(const char* prompt) {
  static const char head[] = "[{\"role\": \"user\", \"content\": \"", tail[] = "\"}]";
  char* const json = malloc(sizeof head + 6 * strlen(prompt) + sizeof tail);
  char* to = json;
  if (json == NULL) return NULL;
  to += sprintf(to, "%s", head);
  for (; *prompt != '\0'; ++prompt) {
    const unsigned char c = (unsigned char)*prompt;
    if (c == '"' || c == '\\') {
      to += sprintf(to, "\\%c", c);
    } else if (c < 0x20) {
      to += sprintf(to, "\\u%04x", c);
    } else {
      *to++ = *prompt;
    }
  }
  strcpy(to, tail);
  return json;
}

static int append_raw(const Arguments* arguments, tsr_session* session) {
  tsr_error* error = NULL;
  return !failed("prompt",
                 tsr_session_append_text(session, arguments->prompt, strlen(arguments->prompt),
                                         TSR_TEXT_ADD_SPECIAL, &error),
                 error);
}

/* What a user typed stays text in the template's turns: nobody can slip a turn in by writing "<|im_end|>". */
static int append_prompt(const Arguments* arguments, tsr_session* session) {
  tsr_error* error = NULL;
  tsr_status status;
  char* json;
  if (arguments->raw) return append_raw(arguments, session);
  json = one_message(arguments->prompt);
  if (json == NULL) return 0;
  status = tsr_session_append_chat(session, json, strlen(json), NULL, &error);
  free(json);
  if (status == TSR_STATUS_NOT_FOUND) {
    fprintf(stderr, "%s\nThe prompt is sent as it is.\n", tsr_error_message(error, NULL));
    tsr_error_release(error);
    return append_raw(arguments, session);
  }
  return !failed("prompt", status, error);
}

static int set_sampling(const Arguments* arguments, Handles* h) {
  tsr_error* error = NULL;
  tsr_status status = tsr_options_create(&h->options, &error);
  if (status == TSR_STATUS_OK) {
    status = tsr_options_set_int(h->options, "request.max_tokens", strlen("request.max_tokens"),
                                 arguments->tokens, &error);
  }
  if (status == TSR_STATUS_OK && !arguments->greedy) {
    status = tsr_options_set_float(h->options, "sampling.temperature", strlen("sampling.temperature"), 0.2,
                                   &error);
    if (status == TSR_STATUS_OK) {
      status = tsr_options_set_float(h->options, "sampling.top_p", strlen("sampling.top_p"), 0.9, &error);
    }
    if (status == TSR_STATUS_OK) {
      status = tsr_options_set_int(h->options, "sampling.seed", strlen("sampling.seed"), (int64_t)time(NULL),
                                   &error);
    }
  }
  return !failed("settings", status, error);
}

/* Prints text as it comes; fills `end` with the terminal event. */
static int stream(Handles* h, double* first_text_seconds, tsr_event_finished* end) {
  static uint64_t buffer[4096];
  tsr_error* error = NULL;
  *first_text_seconds = 0;
  if (failed("generate", tsr_session_generate(h->session, h->options, h->queue, 0, NULL, &error), error))
    return 0;
  for (;;) {
    size_t used = 0, at = 0;
    if (failed("poll", tsr_queue_poll(h->queue, -1, buffer, sizeof buffer, &used, &error), error)) return 0;
    while (at < used) {
      const char* record = (const char*)buffer + at;
      const tsr_event* head = (const tsr_event*)record;
      if (head->kind == TSR_EVENT_TOKENS) {
        const tsr_event_tokens* tokens = (const tsr_event_tokens*)record;
        if (*first_text_seconds == 0) *first_text_seconds = now_seconds();
        fwrite(record + tokens->text_offset, 1, tokens->text_size, stdout);
        fflush(stdout);
      } else if (head->kind == TSR_EVENT_FINISHED) {
        memcpy(end, record, sizeof *end);
        return 1;
      }
      at += head->size;
    }
  }
}

static void print_figures(const tsr_event_finished* end, double load_seconds, double first_seconds) {
  struct rusage usage;
  const double prompt = 1e-9 * (double)end->prompt_ns, decode = 1e-9 * (double)end->decode_ns;
  const uint32_t decoded = end->generated_tokens > 1 ? end->generated_tokens - 1 : 0;
  getrusage(RUSAGE_SELF, &usage);
  fprintf(stderr, "\n\nload        %8.2f s\n", load_seconds);
  fprintf(stderr, "prompt      %8u tokens, %.1f tokens/s\n", end->prompt_tokens,
          prompt > 0 ? end->prompt_tokens / prompt : 0.0);
  fprintf(stderr, "decode      %8u tokens, %.1f tokens/s\n", end->generated_tokens,
          decode > 0 ? decoded / decode : 0.0);
  fprintf(stderr, "first token %8.1f ms\n", 1e3 * first_seconds);
  fprintf(stderr, "peak memory %8.1f MiB\n", (double)usage.ru_maxrss / 1024);
}

static void release(Handles* h) {
  tsr_options_release(h->options);
  tsr_session_release(h->session);
  tsr_queue_release(h->queue);
  tsr_engine_release(h->engine);
  tsr_model_release(h->model);
  tsr_runtime_release(h->runtime);
}

int main(int argc, char** argv) {
  Arguments arguments;
  Handles h;
  tsr_event_finished end;
  double start, loaded, asked, first;
  int ok;
  memset(&arguments, 0, sizeof arguments);
  memset(&h, 0, sizeof h);
  arguments.prompt = "What is the capital of France, and what is it known for?";
  arguments.tokens = 256;
  if (!parse(argc, argv, &arguments)) return 2;

  start = now_seconds();
  ok = load(&arguments, &h);
  loaded = now_seconds();
  if (ok) {
    fprintf(stderr, "> %s\n\n", arguments.prompt);
    asked = now_seconds();
    ok = append_prompt(&arguments, h.session) && set_sampling(&arguments, &h) && stream(&h, &first, &end);
    if (ok && end.reason == TSR_FINISH_ERROR) {
      fprintf(stderr, "the request failed: %s\n", tsr_status_name(end.status));
      ok = 0;
    }
    if (ok) print_figures(&end, loaded - start, first == 0 ? 0 : first - asked);
  }
  release(&h);
  return ok ? 0 : 1;
}
