/* What PollBench's token rates are compared with: the same requests through the C API. Usage: c_rates
 * MODEL.gguf */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/tessera.h>
#include <time.h>

enum { kTokens = 48, kRepeats = 7, kMostSessions = 64 };

static void need(tsr_status status, tsr_error* error) {
  if (status == TSR_STATUS_OK) return;
  fprintf(stderr, "%s\n", tsr_error_message(error, NULL));
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare(const void* a, const void* b) {
  const double difference = *(const double*)a - *(const double*)b;
  return (difference > 0) - (difference < 0);
}

static void set(tsr_options* options, const char* key, int64_t value) {
  tsr_error* error = NULL;
  need(tsr_options_set_int(options, key, strlen(key), value, &error), error);
}

static void rate(tsr_runtime* runtime, tsr_model* model, int count) {
  static uint64_t buffer[1 << 15];
  const char* end_key = "request.ignore_end";
  double rates[kRepeats];
  tsr_options *engine_options = NULL, *request_options = NULL;
  tsr_engine* engine = NULL;
  tsr_queue* queue = NULL;
  tsr_error* error = NULL;
  need(tsr_options_create(&engine_options, &error), error);
  need(tsr_options_create(&request_options, &error), error);
  set(engine_options, "engine.context_tokens", 128);
  set(engine_options, "engine.cache_tokens", 128 * count);
  set(request_options, "request.max_tokens", kTokens);
  need(tsr_options_set_bool(request_options, end_key, strlen(end_key), 1, &error), error);
  need(tsr_engine_create(model, engine_options, &engine, &error), error);
  need(tsr_queue_create(runtime, NULL, &queue, &error), error);
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    tsr_session* sessions[kMostSessions];
    for (int i = 0; i < count; ++i) {
      need(tsr_session_create(engine, NULL, &sessions[i], &error), error);
      need(tsr_session_append_text(sessions[i], "hello", 5, TSR_TEXT_PLAIN, &error), error);
    }
    const double begin = now();
    for (int i = 0; i < count; ++i) {
      need(tsr_session_generate(sessions[i], request_options, queue, (uint64_t)i, NULL, &error), error);
    }
    for (int ended = 0; ended < count;) {
      size_t used = 0;
      need(tsr_queue_poll(queue, -1, buffer, sizeof(buffer), &used, &error), error);
      for (size_t at = 0; at < used;) {
        const tsr_event* event = (const tsr_event*)(const void*)((const char*)buffer + at);
        ended += event->kind == TSR_EVENT_FINISHED;
        at += event->size;
      }
    }
    rates[repeat] = count * kTokens / (now() - begin);
    for (int i = 0; i < count; ++i) tsr_session_release(sessions[i]);
  }
  qsort(rates, kRepeats, sizeof(rates[0]), compare);
  printf("{\"name\": \"c_tokens_%d_sessions\", \"value\": %.3f, \"unit\": \"tokens/s\"}\n", count,
         rates[kRepeats / 2]);
  tsr_engine_release(engine);
  tsr_queue_release(queue);
  tsr_options_release(engine_options);
  tsr_options_release(request_options);
}

int main(int argc, char** argv) {
  tsr_runtime* runtime = NULL;
  tsr_model* model = NULL;
  tsr_error* error = NULL;
  if (argc != 2) return 2;
  need(tsr_runtime_create(NULL, &runtime, &error), error);
  need(tsr_model_load_file(runtime, argv[1], strlen(argv[1]), NULL, &model, &error), error);
  rate(runtime, model, 1);
  rate(runtime, model, kMostSessions);
  tsr_model_release(model);
  tsr_runtime_release(runtime);
  return 0;
}
