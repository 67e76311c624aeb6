/*
 * One model divided over processes that mpirun starts, each with its own part of the weights:
 *
 *   mpirun -n 4 tessera_ranks_mpi MODEL.gguf "prompt" [STAGES [INTERFACE]]
 *
 * Rank 0 prints the answer, the others serve. The ranks make STAGES stages (1) of consecutive layers; those
 * of a stage share its layers. INTERFACE ("eth0") is where ranks of other machines reach this one. MPI is
 * needed until the engine is there; what the engine sends goes over connections of its own.
 */
#define _POSIX_C_SOURCE 200809L /* NOLINT(bugprone-reserved-identifier): clock_gettime, nanosleep */

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/tessera.h>
#include <time.h>

typedef struct Place {
  int rank, ranks, stages;
  const char* interface_name;
} Place;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * The ranks meet. A collective of MPI cannot be taken back: when the time is up its memory is left to MPI,
 * for good.
 */
/* NOLINTBEGIN(clang-analyzer-unix.Malloc,clang-analyzer-optin.mpi.MPI-Checker) */
static int32_t all_gather(void* user, const char* tag, size_t tag_size, uint64_t epoch, const void* in,
                          size_t size, void* out, int64_t timeout_ns) {
  const Place* place = (const Place*)user;
  const struct timespec nap = {0, 1000000};
  const int64_t end_ns = now_ns() + timeout_ns;
  const size_t ours = size * (size_t)place->ranks;
  char* memory = size <= INT32_MAX ? (char*)malloc(size + ours) : NULL;
  MPI_Request request;
  int here = 0;
  (void)tag, (void)tag_size, (void)epoch; /* MPI keeps the calls in order */
  if (memory == NULL) return 1;
  memcpy(memory, in, size);
  if (MPI_Iallgather(memory, (int)size, MPI_BYTE, memory + size, (int)size, MPI_BYTE, MPI_COMM_WORLD,
                     &request))
    return 2;
  while (!here) {
    if (MPI_Test(&request, &here, MPI_STATUS_IGNORE)) return 2;
    if (!here && now_ns() > end_ns) return 3;
    if (!here) nanosleep(&nap, NULL);
  }
  memcpy(out, memory + size, ours);
  free(memory);
  return 0;
}
/* NOLINTEND(clang-analyzer-unix.Malloc,clang-analyzer-optin.mpi.MPI-Checker) */

static tsr_status set_int(tsr_options* options, const char* key, int value, tsr_error** error) {
  return tsr_options_set_int(options, key, strlen(key), value, error);
}

/* This rank's part of the model. */
static tsr_status load(const Place* place, tsr_runtime* runtime, const char* path, tsr_model** model,
                       tsr_error** error) {
  tsr_options* options = NULL;
  tsr_status status = tsr_options_create(&options, error);
  if (!status) status = set_int(options, "model.tensor_parallel", place->ranks / place->stages, error);
  if (!status) status = set_int(options, "model.pipeline", place->stages, error);
  if (!status) status = set_int(options, "model.rank", place->rank, error);
  if (!status) status = tsr_model_load_file(runtime, path, strlen(path), options, model, error);
  tsr_options_release(options);
  return status;
}

static tsr_status join(Place* place, tsr_model* model, tsr_engine** engine, tsr_error** error) {
  const char* name = place->interface_name;
  tsr_rendezvous_callbacks rendezvous;
  tsr_options* options = NULL;
  tsr_status status = tsr_options_create(&options, error);
  memset(&rendezvous, 0, sizeof rendezvous);
  rendezvous.struct_size = sizeof rendezvous;
  rendezvous.user = place;
  rendezvous.all_gather = all_gather;
  if (!status) status = set_int(options, "engine.tensor_parallel", place->ranks / place->stages, error);
  if (!status) status = set_int(options, "engine.pipeline", place->stages, error);
  if (!status) status = set_int(options, "engine.rank", place->rank, error);
  if (!status) {
    status = tsr_options_set_string(options, "engine.rank_interface", strlen("engine.rank_interface"), name,
                                    strlen(name), error);
  }
  if (!status) {
    status = tsr_options_set_callbacks(options, "engine.rendezvous", strlen("engine.rendezvous"), &rendezvous,
                                       error);
  }
  if (!status) status = tsr_engine_create(model, options, engine, error);
  tsr_options_release(options);
  return status;
}

/* Rank 0's work: prints the answer as it comes. */
static tsr_status answer(tsr_runtime* runtime, tsr_engine* engine, const char* prompt, tsr_error** error) {
  static uint64_t buffer[1024];
  tsr_session* session = NULL;
  tsr_queue* queue = NULL;
  size_t used = 0;
  int running = 1;
  tsr_status status = tsr_session_create(engine, NULL, &session, error);
  if (!status) status = tsr_queue_create(runtime, NULL, &queue, error);
  if (!status) {
    status = tsr_session_append_text(session, prompt, strlen(prompt), TSR_TEXT_ADD_SPECIAL, error);
  }
  if (!status) status = tsr_session_generate(session, NULL, queue, 0, NULL, error);
  while (!status && running) {
    const char* at = (const char*)buffer;
    status = tsr_queue_poll(queue, -1, buffer, sizeof buffer, &used, error);
    for (; !status && at < (const char*)buffer + used; at += ((const tsr_event*)at)->size) {
      const tsr_event_tokens* tokens = (const tsr_event_tokens*)at;
      const tsr_event_finished* end = (const tsr_event_finished*)at;
      if (tokens->head.kind == TSR_EVENT_TOKENS)
        fwrite(at + tokens->text_offset, 1, tokens->text_size, stdout);
      if (end->head.kind != TSR_EVENT_FINISHED) continue;
      running = 0;
      if (end->status) fprintf(stderr, "%.*s\n", (int)end->message_size, at + end->message_offset);
      status = end->status;
    }
  }
  printf("\n");
  tsr_session_release(session);
  tsr_queue_release(queue);
  return status;
}

int main(int argc, char** argv) {
  Place place = {0, 1, 1, ""};
  tsr_runtime* runtime = NULL;
  tsr_model* model = NULL;
  tsr_engine* engine = NULL;
  tsr_error* error = NULL;
  tsr_status status;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.ranks);
  if (argc > 3) place.stages = atoi(argv[3]);
  if (argc > 4) place.interface_name = argv[4];
  if (argc < 3 || place.stages < 1 || place.ranks % place.stages != 0) {
    fprintf(stderr, "usage: mpirun -n RANKS %s MODEL.gguf \"prompt\" [STAGES [INTERFACE]]\n", argv[0]);
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  status = tsr_runtime_create(NULL, &runtime, &error);
  if (!status) status = load(&place, runtime, argv[1], &model, &error);
  if (status) {
    fprintf(stderr, "rank %d: %s\n", place.rank, tsr_error_message(error, NULL));
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  /* Some load for longer than the others would wait for them. */
  MPI_Barrier(MPI_COMM_WORLD);
  status = join(&place, model, &engine, &error);
  if (!status && place.rank == 0) status = answer(runtime, engine, argv[2], &error);
  if (!status && place.rank != 0) status = tsr_engine_serve(engine, &error);
  if (status) fprintf(stderr, "rank %d: %s\n", place.rank, tsr_error_message(error, NULL));
  tsr_error_release(error);
  tsr_engine_release(engine); /* rank 0's: the others' tsr_engine_serve returns */
  tsr_model_release(model);
  tsr_runtime_release(runtime);
  if (status) MPI_Abort(MPI_COMM_WORLD, 1); /* some rank may not be there to finalize with */
  MPI_Finalize();
  return 0;
}
