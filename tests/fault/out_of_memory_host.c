/* Fails the n-th allocation (mapping, thread start) of a host's whole life with the library, for every n
 * until a life needs no more of them. Usage: HOST MODEL LIBRARY threaded|stepped main|fresh [cold N LIFE |
 * after PLUGIN]
 *
 * Each n is lived three times: the n-th alone fails and the call is made again; all from the n-th on fail
 * until a call says so, then memory is back and the call is made again; all fail and the host gives up and
 * releases everything while there is none. A failed call must say OUT_OF_MEMORY (LIMIT_EXCEEDED for a thread)
 * with an error object, and must have changed nothing: called again it succeeds, and the texts, tokens and
 * logits come out with the same bits. At the end nothing may be left: blocks, mappings, descriptors, callback
 * tables. Calls come from the main thread, or each from a thread of its own, to which everything thread-local
 * is new.
 *
 * What is allocated only once in a process (a table at its first use) fails in processes of its own: "cold".
 * With a plugin, a library that uses the C++ runtime first, the host only lives twice: see
 * capi/src/throw_safety.h. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/failing_allocator.h"
#include "tests/fault/scenario.h"

enum Life { LIFE_ONCE, LIFE_OUTAGE, LIFE_GIVE_UP, LIFE_FREE_STEPS, LIFE_CLEAN };
static const char* const kLifeNames[] = {"once", "outage", "give up", "outage in free steps", "clean"};

enum { MOST_STEPS = 128 };
static int64_t counts[2][MOST_STEPS + 1]; /* allocations before each step, in the first two lives */
static int64_t* counts_now;
static const struct Scenario* scenario; /* the one that is lived now */
static int fresh_threads;
static char where[300]; /* for the handler of fatal signals */

/* In a handler: only what is safe there. */
static void OnFatal(int signal_number) {
  const char* const what = signal_number == SIGALRM ? "\nHANG: " : "\nCRASH: ";
  ssize_t ignored = write(2, what, strlen(what));
  ignored = write(2, where, strlen(where));
  ignored = write(2, "\n", 1);
  (void)ignored;
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

struct Call {
  struct Host* host;
  Step step;
  tsr_status status;
};
static void* Run(void* argument) {
  struct Call* call = argument;
  call->status = call->step(call->host);
  return NULL;
}
static tsr_status Do(struct Host* host, Step step) {
  struct Call call = {host, step, TSR_STATUS_OK};
  if (!fresh_threads) {
    Run(&call);
    return call.status;
  }
  pthread_t thread;
  FaultExemptBegin();
  const int started = pthread_create(&thread, NULL, Run, &call);
  if (started == 0) pthread_join(thread, NULL);
  FaultExemptEnd();
  if (started != 0) {
    fprintf(stderr, "the test's own thread could not start: %s\n", strerror(started));
    exit(2);
  }
  return call.status;
}
static tsr_status ReleaseForward(struct Host* host) {
  ReleaseAll(host, 0);
  return TSR_STATUS_OK;
}
static tsr_status ReleaseBackward(struct Host* host) {
  ReleaseAll(host, 1);
  return TSR_STATUS_OK;
}

static int OpenDescriptors(void) {
  int open = 0;
  for (int i = 0; i < 128; ++i) open += fcntl(i, F_GETFD) >= 0;
  return open;
}

static int failures;
static void Complain(const char* what) {
  FaultExemptBegin();
  fprintf(stderr, "FAILED: %s: %s\n", where, what);
  FaultExemptEnd();
  if (++failures > 20) exit(1);
}

/* The step failed: was that right, and is it said rightly? */
static void Judge(struct Host* host, tsr_status status, int allowed) {
  const struct Api* api = host->api;
  const int thread = FaultFired() == FAULT_THREAD;
  if (status != TSR_STATUS_OUT_OF_MEMORY && !(thread && status == TSR_STATUS_LIMIT_EXCEEDED)) {
    Complain(api->tsr_error_message(host->error, NULL));
  } else if (!allowed) {
    Complain("a call that needs no memory failed without it");
  } else if (FaultFired() == FAULT_NONE) {
    Complain("out of memory, but nothing was refused");
  }
  size_t size = 0;
  api->tsr_error_message(host->error, &size);
  if (host->error == NULL || api->tsr_error_code(host->error) != status || size == 0) {
    Complain("the error object is missing or says something else");
  }
  api->tsr_error_release(host->error);
  host->error = NULL;
}

struct Result {
  uint64_t digest[SCENARIO_TAGS];
  int64_t allocations;
  int fired;
};

static struct Result Live(const struct Host* fixed, enum Life life, int64_t n) {
  struct Host host = *fixed;
  int gave_up = 0;
  alarm(60);
  for (size_t i = 0; i < scenario->count && !gave_up && host.failure[0] == 0; ++i) {
    const struct ScenarioStep* const step = &scenario->steps[i];
    snprintf(where, sizeof where, "%s, life '%s', n %lld, step %zu (%s)", scenario->name, kLifeNames[life],
             (long long)n, i, step->name);
    if (i == scenario->prelude) FaultArm(n, life == LIFE_ONCE ? FAULT_ONCE : FAULT_FOR_GOOD);
    if (counts_now != NULL) counts_now[i] = FaultCount();
    if (life == LIFE_FREE_STEPS && i >= scenario->prelude)
      FaultArm(step->needs_memory ? 0 : 1, FAULT_FOR_GOOD);
    tsr_status status = Do(&host, step->step);
    if (status == TSR_STATUS_OK) continue;
    Judge(&host, status, step->needs_memory);
    if (life == LIFE_GIVE_UP) {
      gave_up = 1;
      break;
    }
    FaultHeal();
    status = Do(&host, step->step);
    if (status != TSR_STATUS_OK) {
      Complain("the same call fails again, though there is memory");
      Complain(host.api->tsr_error_message(host.error, NULL));
      host.api->tsr_error_release(host.error);
      break;
    }
  }
  if (counts_now != NULL) counts_now[scenario->count] = FaultCount();
  Do(&host, life == LIFE_GIVE_UP ? ReleaseBackward : ReleaseForward);
  struct Result result;
  result.allocations = FaultCount();
  result.fired = FaultFired();
  FaultDisarm();
  if (host.failure[0] != 0) Complain(host.failure);
  if (host.tables_given != host.tables_dropped) Complain("a callback table was dropped never or twice");
  memcpy(result.digest, host.digest, sizeof result.digest);
  if (gave_up) memset(result.digest, 0, sizeof result.digest);
  return result;
}

static struct Result LiveAndCompare(const struct Host* fixed, enum Life life, int64_t n,
                                    const struct Result* clean) {
  const int64_t blocks = FaultLiveBlocks(), mapped = FaultLiveMappedBytes();
  const int descriptors = OpenDescriptors();
  FaultMark();
  const struct Result result = Live(fixed, life, n);
  if (FaultLiveBlocks() != blocks) {
    char text[80];
    snprintf(text, sizeof text, "%lld blocks are left", (long long)(FaultLiveBlocks() - blocks));
    Complain(text);
    FaultPrintNew();
  }
  if (FaultLiveMappedBytes() != mapped) Complain("mapped memory is left");
  if (OpenDescriptors() != descriptors) Complain("descriptors are left");
  const int complete = life != LIFE_GIVE_UP || result.fired == FAULT_NONE;
  if (complete && memcmp(result.digest, clean->digest, sizeof clean->digest) != 0)
    Complain("the results differ");
  return result;
}

static void LiveEveryN(const struct Host* fixed, const struct Result* clean) {
  static const enum Life kLives[] = {LIFE_ONCE, LIFE_OUTAGE, LIFE_GIVE_UP};
  for (size_t i = 0; i < sizeof kLives / sizeof kLives[0]; ++i) {
    int64_t n = 1;
    while (LiveAndCompare(fixed, kLives[i], n, clean).fired != FAULT_NONE) ++n;
    printf("life '%s': %lld allocations failed, one by one\n", kLifeNames[kLives[i]], (long long)(n - 1));
    if (n < 100) Complain("fewer than 100 allocations were seen: this test proves nothing");
  }
}

/* The first life of this process has the fault; a second one shows that nothing was spoilt. */
static int LiveCold(const struct Host* fixed, int64_t n, enum Life life) {
  const struct Result result = Live(fixed, life, n);
  const struct Result clean = Live(fixed, LIFE_CLEAN, 0);
  if (memcmp(result.digest, clean.digest, sizeof clean.digest) != 0) Complain("the results differ");
  return failures == 0 ? 0 : 1;
}

/* Steps that allocate more in a process's first life than in its second are lived again in processes of their
 * own. */
static void StartColdLives(char** argv) {
  int64_t lives = 0;
  for (size_t i = scenario->prelude; i < scenario->count; ++i) {
    const int64_t cold = counts[0][i + 1] - counts[0][i], warm = counts[1][i + 1] - counts[1][i];
    if (cold == warm) continue;
    for (int64_t n = counts[0][i] + 1; n <= counts[0][i + 1] && failures == 0; ++n) {
      for (enum Life life = LIFE_ONCE; life <= LIFE_OUTAGE; ++life, ++lives) {
        extern char** environ;
        char which[4], number[24], how[4];
        snprintf(which, sizeof which, "%d", (int)(scenario - kScenarios));
        snprintf(number, sizeof number, "%lld", (long long)n);
        snprintf(how, sizeof how, "%d", (int)life);
        char cold_word[] = "cold";
        char* const child_argv[] = {argv[0],   argv[1], argv[2], argv[3], argv[4],
                                    cold_word, which,   number,  how,     NULL};
        pid_t child;
        int status = 0;
        alarm(60);
        if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, child_argv, environ) != 0) {
          perror("posix_spawn");
          exit(2);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
          Complain("a cold life failed");
        }
      }
    }
  }
  printf("%lld first lives with a fault, each in a process of its own\n", (long long)lives);
}

static void LiveScenario(const struct Host* fixed, char** argv, int without_faults) {
  counts_now = counts[0];
  const struct Result first = Live(fixed, LIFE_CLEAN, 0);
  counts_now = counts[1];
  const struct Result clean = Live(fixed, LIFE_CLEAN, 0);
  counts_now = NULL;
  if (memcmp(first.digest, clean.digest, sizeof clean.digest) != 0)
    Complain("two lives without faults differ");
  printf("%s: %lld allocations in the first life, %lld in a later one\n", scenario->name,
         (long long)first.allocations, (long long)clean.allocations);
  if (without_faults) return;
  LiveAndCompare(fixed, LIFE_FREE_STEPS, 0, &clean);
  LiveEveryN(fixed, &clean);
  StartColdLives(argv);
}

static int UsePlugin(const char* path) {
  void* const plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* const found = plugin == NULL ? NULL : dlsym(plugin, "ThrowAndCatch");
  int (*throw_and_catch)(void);
  if (found == NULL) return 0;
  memcpy(&throw_and_catch, &found, sizeof throw_and_catch);
  return throw_and_catch();
}

int main(int argc, char** argv) {
  static unsigned char model[4 << 20];
  static struct Host fixed;
  static struct Api api;
  const int after = argc == 7 && strcmp(argv[5], "after") == 0;
  const int cold = argc == 9 && strcmp(argv[5], "cold") == 0;
  if ((argc != 5 && !after && !cold) || (after && !UsePlugin(argv[6])) || !GetApi(&api, argv[2])) {
    fprintf(stderr,
            "usage: %s MODEL LIBRARY threaded|stepped main|fresh [cold SCENARIO N LIFE | after PLUGIN]\n",
            argv[0]);
    return 2;
  }
  const int file = open(argv[1], O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(file, model, sizeof model);
  if (size <= 0) {
    perror(argv[1]);
    return 2;
  }
  fixed.api = &api;
  fixed.model_path = argv[1];
  fixed.model_bytes = model;
  fixed.model_size = (size_t)size;
  fixed.stepped = strcmp(argv[3], "stepped") == 0;
  fresh_threads = strcmp(argv[4], "fresh") == 0;
  const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
  for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; ++i) signal(fatal[i], OnFatal);
  if (cold) {
    scenario = &kScenarios[atoi(argv[6])];
    return LiveCold(&fixed, atoll(argv[7]), (enum Life)atoi(argv[8]));
  }

  for (scenario = kScenarios; scenario < kScenarios + SCENARIOS; ++scenario)
    LiveScenario(&fixed, argv, after);
  return failures == 0 ? 0 : 1;
}
