/* One host's life with the library, as steps of one call each: it can be stopped and resumed at each of them.
 * Says what a call answered; who injects faults and judges is out_of_memory_host.c. */
#ifndef TESSERA_TESTS_FAULT_SCENARIO_H_
#define TESSERA_TESTS_FAULT_SCENARIO_H_

#include <stddef.h>
#include <stdint.h>

#include "tests/fault/api.h"

enum { SCENARIO_SESSIONS = 3, SCENARIO_TAGS = 5 };

struct Host {
  /* Fixed for all runs. */
  const struct Api* api;
  const char* model_path;
  const unsigned char* model_bytes;
  size_t model_size;
  int stepped;

  /* Of one run. */
  tsr_options* options;
  tsr_runtime* runtime;
  tsr_model* model;
  tsr_engine* engine;
  tsr_queue* queue;
  tsr_session* sessions[SCENARIO_SESSIONS];
  tsr_error* error; /* of the last step */
  int tables_given, tables_dropped;
  int terminals[SCENARIO_TAGS];
  int tokens[SCENARIO_TAGS]; /* events with a token */
  uint64_t digest[SCENARIO_TAGS];
  unsigned char state[1 << 16]; /* a saved session */
  size_t state_size;
  char failure[200]; /* "": nothing wrong yet */
};

typedef tsr_status (*Step)(struct Host*);

struct ScenarioStep {
  const char* name;
  Step step;
  int needs_memory; /* 0: it must succeed during an outage too */
};

/* Parts of a life, so that faults in the one need not live through the others: loading, with every way to
 * bring a model; running; sharing a cache that is too small; and a model divided over ranks. The first
 * `prelude` steps only lead there. */
struct Scenario {
  const char* name;
  const struct ScenarioStep* steps;
  size_t count, prelude;
};
enum { SCENARIOS = 4 };
extern const struct Scenario kScenarios[SCENARIOS];

/* Releases what there is; parents first when `parents_first`. */
void ReleaseAll(struct Host* host, int parents_first);

#endif /* TESSERA_TESTS_FAULT_SCENARIO_H_ */
