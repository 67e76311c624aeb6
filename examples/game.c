/*
 * A game loop of 60 frames a second in which three characters talk, each with a session of its own. One
 * engine serves them all. It has no thread: it computes inside the frame, for the milliseconds that the frame
 * can spare, in the middle of a layer if need be, and goes on in the next frame. On the public C API alone.
 *
 *   tessera_game --model FILE [--frames N] [--budget-ms N] [--histogram FILE.svg]
 *
 * What the characters say goes to standard output; then comes a histogram of how long the frames' work took,
 * as text and, where asked for, as a picture.
 */
#define _POSIX_C_SOURCE 200809L /* NOLINT(bugprone-reserved-identifier): clock_nanosleep */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/tessera.h>
#include <time.h>

enum { kCharacters = 3, kBuckets = 36, kSayBytes = 2048, kStars = 20000 };
static const int64_t kFrameNs = 1000000000 / 60;
static const int64_t kBucketNs = 500000; /* the last bucket takes all that is longer */

static const struct {
  const char* name;
  const char* nature;
} kCast[kCharacters] = {{"Mira", "You are Mira, a cheerful blacksmith. You answer in one short sentence."},
                        {"Tom", "You are Tom, a grumpy innkeeper. You answer in one short sentence."},
                        {"Pip", "You are Pip, a curious child. You answer in one short sentence."}};

static const char* const kRemarks[] = {"Good morning! What are you doing today?",
                                       "Did you hear the dragon last night?",
                                       "What should we have for dinner?", "Tell me about this village."};

typedef struct Character {
  tsr_session* session;
  char said[kSayBytes];
  size_t said_size;
  int remark; /* the next one to react to */
} Character;

typedef struct Game {
  tsr_runtime* runtime;
  tsr_model* model;
  tsr_engine* engine;
  tsr_queue* queue;
  tsr_options* speech; /* how every answer is made */
  Character cast[kCharacters];
  float stars[kStars];
  long frames_by_time[kBuckets];
  long answers;
} Game;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Ends the program unless the call went well: a game would go on without its characters' words. */
static void must(const char* what, tsr_status status, tsr_error* error) {
  if (status == TSR_STATUS_OK) return;
  fprintf(stderr, "%s: %s: %s\n", what, tsr_status_name(status), tsr_error_message(error, NULL));
  exit(1);
}

static void set_int(tsr_options* options, const char* key, int64_t value) {
  tsr_error* error = NULL;
  must(key, tsr_options_set_int(options, key, strlen(key), value, &error), error);
}

static void open_game(Game* game, const char* model) {
  tsr_error* error = NULL;
  tsr_options* options = NULL;
  must("runtime", tsr_runtime_create(NULL, &game->runtime, &error), error);
  must("model", tsr_model_load_file(game->runtime, model, strlen(model), NULL, &game->model, &error), error);
  must("options", tsr_options_create(&options, &error), error);
  must("options", tsr_options_set_bool(options, "engine.stepped", strlen("engine.stepped"), 1, &error),
       error);
  must("engine", tsr_engine_create(game->model, options, &game->engine, &error), error);
  tsr_options_release(options);
  must("queue", tsr_queue_create(game->runtime, NULL, &game->queue, &error), error);
  must("options", tsr_options_create(&game->speech, &error), error);
  set_int(game->speech, "request.max_tokens", 40);
}

/* The character hears the next remark and begins to answer; nothing is computed here. The tag says who it is.
 */
static void ask(Game* game, int who) {
  Character* c = &game->cast[who];
  char text[512];
  tsr_error* error = NULL;
  int size;
  tsr_session_release(c->session); /* characters have short memories: the context never fills */
  c->session = NULL;
  must("session", tsr_session_create(game->engine, NULL, &c->session, &error), error);
  size =
      snprintf(text, sizeof text,
               "<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n",
               kCast[who].nature, kRemarks[(c->remark++ + who) % (int)(sizeof kRemarks / sizeof *kRemarks)]);
  must("append", tsr_session_append_text(c->session, text, (size_t)size, TSR_TEXT_PARSE_SPECIAL, &error),
       error);
  c->said_size = 0;
  must("generate", tsr_session_generate(c->session, game->speech, game->queue, (uint64_t)who, NULL, &error),
       error);
}

/* Takes what the characters have said since the last frame. */
static void listen(Game* game, long frame) {
  uint64_t buffer[512]; /* events are records of 8-byte alignment */
  const char* at = (const char*)buffer;
  size_t used = 0;
  tsr_error* error = NULL;
  must("poll", tsr_queue_poll(game->queue, 0, buffer, sizeof buffer, &used, &error), error);
  for (; at < (const char*)buffer + used; at += ((const tsr_event*)at)->size) {
    const tsr_event_tokens* event = (const tsr_event_tokens*)at;
    Character* c = &game->cast[event->head.tag];
    if (event->head.kind == TSR_EVENT_TOKENS && event->text_size < kSayBytes - c->said_size) {
      memcpy(c->said + c->said_size, at + event->text_offset, event->text_size);
      c->said_size += event->text_size;
    }
    if (event->head.kind == TSR_EVENT_FINISHED) {
      printf("[frame %ld] %s: %.*s\n", frame, kCast[event->head.tag].name, (int)c->said_size, c->said);
      ++game->answers;
      ask(game, (int)event->head.tag);
    }
  }
}

/* The game's own work: everything else that a frame does. */
static void update_world(Game* game, long frame) {
  int i;
  for (i = 0; i < kStars; ++i) game->stars[i] = 0.5F * (game->stars[i] + (float)((i * 31 + frame) % 1000));
}

static void show_histogram(const Game* game, long frames) {
  int i;
  printf("\nwork in a frame of %.1f ms, %ld frames, %ld answers\n", 1e-6 * (double)kFrameNs, frames,
         game->answers);
  for (i = 0; i < kBuckets; ++i) {
    const long count = game->frames_by_time[i];
    if (count == 0) continue;
    printf("%5.1f ms%s %6ld ", 1e-6 * (double)(i * kBucketNs), i + 1 == kBuckets ? "+" : " ", count);
    printf("%.*s\n", (int)(1 + 49 * count / frames), "##################################################");
  }
}

static void draw_histogram(const Game* game, long frames, const char* path) {
  FILE* file = fopen(path, "w");
  int i;
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  fprintf(file,
          "<svg xmlns='http://www.w3.org/2000/svg' width='420' height='250' font-family='sans-serif' "
          "font-size='11'>\n");
  fprintf(file, "<text x='30' y='16'>Work in a frame of 16.7 ms: %ld frames, milliseconds</text>\n", frames);
  for (i = 0; i < kBuckets; ++i) {
    const double height = 200.0 * (double)game->frames_by_time[i] / (double)frames;
    fprintf(file, "<rect x='%d' y='%.1f' width='9' height='%.1f' fill='#3a6ea5'/>\n", 30 + 10 * i,
            225 - height, height);
    if (i % 4 == 0)
      fprintf(file, "<text x='%d' y='240'>%d</text>\n", 30 + 10 * i, (int)(i * kBucketNs / 1000000));
  }
  fprintf(file, "<path d='M30 225H390' stroke='black'/>\n</svg>\n");
  fclose(file);
}

int main(int argc, char** argv) {
  static Game game;
  const char *model = NULL, *picture = NULL;
  long frames = 600, frame;
  int64_t budget_ns = 4000000, next;
  int i;
  for (i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--model") == 0) model = argv[i + 1];
    if (strcmp(argv[i], "--frames") == 0) frames = strtol(argv[i + 1], NULL, 10);
    if (strcmp(argv[i], "--budget-ms") == 0) budget_ns = strtol(argv[i + 1], NULL, 10) * 1000000;
    if (strcmp(argv[i], "--histogram") == 0) picture = argv[i + 1];
  }
  if (model == NULL || frames < 1 || budget_ns < 0) {
    fprintf(stderr, "usage: tessera_game --model FILE [--frames N] [--budget-ms N] [--histogram FILE.svg]\n");
    return 2;
  }
  open_game(&game, model);
  for (i = 0; i < kCharacters; ++i) ask(&game, i);
  next = now_ns();
  for (frame = 0; frame < frames; ++frame) {
    const int64_t start = now_ns();
    struct timespec until;
    int64_t work;
    tsr_error* error = NULL;
    update_world(&game, frame);
    must("step", tsr_engine_step(game.engine, budget_ns, NULL, &error), error);
    listen(&game, frame);
    work = now_ns() - start;
    ++game.frames_by_time[work / kBucketNs < kBuckets ? work / kBucketNs : kBuckets - 1];
    next += kFrameNs;
    if (next < now_ns()) next = now_ns(); /* a frame was lost: the following ones keep their pace */
    until.tv_sec = (time_t)(next / 1000000000);
    until.tv_nsec = (long)(next % 1000000000);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
  show_histogram(&game, frames);
  if (picture != NULL) draw_histogram(&game, frames, picture);
  for (i = 0; i < kCharacters; ++i) tsr_session_release(game.cast[i].session);
  tsr_options_release(game.speech);
  tsr_queue_release(game.queue);
  tsr_engine_release(game.engine);
  tsr_model_release(game.model);
  tsr_runtime_release(game.runtime);
  return 0;
}
