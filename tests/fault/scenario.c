#define _POSIX_C_SOURCE 200809L
#include "tests/fault/scenario.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define API host->api
#define KEY(text) text, sizeof(text) - 1
#define TRY(call)                                 \
  do {                                            \
    const tsr_status status_ = (call);            \
    if (status_ != TSR_STATUS_OK) return status_; \
  } while (0)

static void Fail(struct Host* host, const char* what) {
  if (host->failure[0] == 0) snprintf(host->failure, sizeof host->failure, "%s", what);
}

/* Callback tables: each one given must be dropped once. */
static void OnDrop(void* user) { ++((struct Host*)user)->tables_dropped; }
static void OnLog(void* user, int32_t level, const char* message, size_t size) {
  (void)user;
  (void)level;
  (void)message;
  (void)size;
}
static void OnReady(void* user) { (void)user; }
static int32_t OnProgress(void* user, uint64_t done, uint64_t total) {
  (void)user;
  (void)done;
  (void)total;
  return 0;
}
static int64_t ReadAt(void* user, uint64_t offset, void* buffer, size_t size) {
  const struct Host* host = user;
  memcpy(buffer, host->model_bytes + offset, size);
  return (int64_t)size;
}

static tsr_status NewOptions(struct Host* host) {
  return API->tsr_options_create(&host->options, &host->error);
}
static tsr_status DropOptions(struct Host* host) {
  API->tsr_options_release(host->options);
  host->options = NULL;
  return TSR_STATUS_OK;
}
static tsr_status SetLog(struct Host* host) {
  const tsr_log_callbacks table = {sizeof table, host, OnDrop, OnLog};
  ++host->tables_given;
  return API->tsr_options_set_callbacks(host->options, KEY("runtime.log"), &table, &host->error);
}
static tsr_status SetLogLevel(struct Host* host) {
  return API->tsr_options_set_string(host->options, KEY("runtime.log_level"), KEY("debug"), &host->error);
}
static tsr_status SetThreads(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("runtime.threads"), 2, &host->error);
}
static tsr_status MakeRuntime(struct Host* host) {
  return API->tsr_runtime_create(host->options, &host->runtime, &host->error);
}
/* The machine's own number of threads is asked for as well. */
static tsr_status MakeOtherRuntime(struct Host* host) {
  tsr_runtime* other = NULL;
  TRY(API->tsr_runtime_create(NULL, &other, &host->error));
  API->tsr_runtime_release(other);
  return TSR_STATUS_OK;
}

static tsr_status ForgetModel(struct Host* host) {
  API->tsr_model_release(host->model);
  host->model = NULL;
  return TSR_STATUS_OK;
}
static tsr_status SetProgress(struct Host* host) {
  const tsr_progress_callbacks table = {sizeof table, host, OnDrop, OnProgress};
  ++host->tables_given;
  return API->tsr_options_set_callbacks(host->options, KEY("model.progress"), &table, &host->error);
}
static tsr_status LoadMemory(struct Host* host) {
  return API->tsr_model_load_memory(host->runtime, host->model_bytes, host->model_size, TSR_MEMORY_BORROW,
                                    host->options, &host->model, &host->error);
}
static tsr_status LoadReader(struct Host* host) {
  const tsr_reader reader = {sizeof reader, host, OnDrop, host->model_size, ReadAt};
  ++host->tables_given;
  return API->tsr_model_load_reader(host->runtime, &reader, NULL, &host->model, &host->error);
}
static tsr_status LoadDescriptor(struct Host* host) {
  const int descriptor = open(host->model_path, O_RDONLY | O_CLOEXEC);
  const tsr_status status =
      API->tsr_model_load_descriptor(host->runtime, descriptor, 0, 0, NULL, &host->model, &host->error);
  close(descriptor);
  return status;
}
static tsr_status LoadFile(struct Host* host) {
  return API->tsr_model_load_file(host->runtime, host->model_path, strlen(host->model_path), NULL,
                                  &host->model, &host->error);
}

static tsr_status Plan(struct Host* host) {
  tsr_plan plan;
  memset(&plan, 0, sizeof plan);
  plan.struct_size = sizeof plan;
  TRY(API->tsr_plan_file(host->runtime, host->model_path, strlen(host->model_path), NULL, &plan,
                         &host->error));
  if (plan.host_weight_bytes == 0) Fail(host, "a plan without weights");
  return TSR_STATUS_OK;
}

static tsr_status Text(struct Host* host) {
  int32_t tokens[64];
  char text[64];
  size_t count = 0, size = 0;
  TRY(API->tsr_model_tokenize(host->model, KEY("<|im_start|>the other hello, \xc3\xa4"),
                              TSR_TEXT_PARSE_SPECIAL, tokens, 64, &count, &host->error));
  TRY(API->tsr_model_detokenize(host->model, tokens, count, 0, text, sizeof text, &size, &host->error));
  if (size != sizeof("the other hello, \xc3\xa4") - 1) Fail(host, "detokenised text has another length");
  return TSR_STATUS_OK;
}

#define MESSAGES \
  "[{\"role\": \"user\", \"content\": \"hello, \xc3\xa4\", \"parts\": [1, 2.5, null, {\"a\": true}]}]"
static tsr_status SetTemplate(struct Host* host) {
  return API->tsr_options_set_string(
      host->options, KEY("chat.template"),
      KEY("{% macro m(x) %}<{{ x }}>{% endmacro %}{% set ns = namespace(s='') %}{% for k, v in "
          "messages[0].items() %}"
          "{% set ns.s = ns.s ~ m(k) ~ v %}{% endfor %}{{ ns.s|upper|replace('E', 'ee') }}{{ "
          "messages|tojson(indent=2) }}"
          "{{ messages|map(attribute='role')|join(',') }}{{ strftime_now('%Y') }}{{ '%5.1f'|format(2.5) }}"),
      &host->error);
}
static tsr_status Chat(struct Host* host) {
  char text[1024];
  size_t size = 0;
  TRY(API->tsr_model_apply_chat_template(host->model, KEY(MESSAGES), host->options, text, sizeof text, &size,
                                         &host->error));
  if (size < 100) Fail(host, "the rendered chat is too short");
  return TSR_STATUS_OK;
}
/* A template that fails needs memory for its words. */
static tsr_status ChatMistake(struct Host* host) {
  size_t size = 0;
  const tsr_status status =
      API->tsr_model_apply_chat_template(host->model, KEY("[1]"), NULL, NULL, 0, &size, &host->error);
  if (status == TSR_STATUS_OUT_OF_MEMORY) return status;
  if (status != TSR_STATUS_INVALID_ARGUMENT) Fail(host, "what is no message is not refused as such");
  API->tsr_error_release(host->error);
  host->error = NULL;
  return TSR_STATUS_OK;
}

static tsr_status SetStepped(struct Host* host) {
  return API->tsr_options_set_bool(host->options, KEY("engine.stepped"), host->stepped, &host->error);
}
static tsr_status SetCache(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("engine.cache_tokens"), 600, &host->error);
}
static tsr_status SetBatch(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("engine.batch_tokens"), 16, &host->error);
}
/* Two ranks: they share the layers of a threaded engine, and are the stages of a stepped one. */
static tsr_status SetRanks(struct Host* host) {
  return host->stepped
             ? API->tsr_options_set_int(host->options, KEY("engine.pipeline"), 2, &host->error)
             : API->tsr_options_set_int(host->options, KEY("engine.tensor_parallel"), 2, &host->error);
}
static tsr_status MakeEngine(struct Host* host) {
  return API->tsr_engine_create(host->model, host->options, &host->engine, &host->error);
}

static tsr_status SetReady(struct Host* host) {
  const tsr_ready_callbacks table = {sizeof table, host, OnDrop, OnReady};
  ++host->tables_given;
  return API->tsr_options_set_callbacks(host->options, KEY("queue.on_ready"), &table, &host->error);
}
static tsr_status MakeQueue(struct Host* host) {
  return API->tsr_queue_create(host->runtime, host->options, &host->queue, &host->error);
}

static tsr_status SetLogits(struct Host* host) {
  return API->tsr_options_set_bool(host->options, KEY("session.logits"), 1, &host->error);
}
static tsr_status MakeSession0(struct Host* host) {
  return API->tsr_session_create(host->engine, host->options, &host->sessions[0], &host->error);
}
static tsr_status MakeSession1(struct Host* host) {
  return API->tsr_session_create(host->engine, NULL, &host->sessions[1], &host->error);
}
static tsr_status MakeSession2(struct Host* host) {
  return API->tsr_session_create(host->engine, NULL, &host->sessions[2], &host->error);
}
static tsr_status Append0(struct Host* host) {
  return API->tsr_session_append_text(host->sessions[0], KEY("the hello and in the world of words"),
                                      TSR_TEXT_ADD_SPECIAL, &host->error);
}
static tsr_status Append1(struct Host* host) {
  return API->tsr_session_append_text(host->sessions[1], KEY("<|im_start|>user\nan other"),
                                      TSR_TEXT_PARSE_SPECIAL, &host->error);
}
static tsr_status Append2(struct Host* host) {
  static const int32_t tokens[] = {40, 41, 42, 259, 260};
  return API->tsr_session_append_tokens(host->sessions[2], tokens, 5, &host->error);
}

static tsr_status AppendChat2(struct Host* host) {
  return API->tsr_session_append_chat(host->sessions[2], KEY(MESSAGES), NULL, &host->error);
}

static tsr_status SetMaxTokens(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("request.max_tokens"), 10, &host->error);
}
static tsr_status SetIgnoreEnd(struct Host* host) {
  return API->tsr_options_set_bool(host->options, KEY("request.ignore_end"), 1, &host->error);
}
static tsr_status Generate0(struct Host* host) {
  return API->tsr_session_generate(host->sessions[0], host->options, host->queue, 0, NULL, &host->error);
}
static tsr_status SetSampling(struct Host* host) {
  tsr_options* const o = host->options;
  TRY(API->tsr_options_set_float(o, KEY("sampling.temperature"), 0.9, &host->error));
  TRY(API->tsr_options_set_int(o, KEY("sampling.top_k"), 60, &host->error));
  TRY(API->tsr_options_set_float(o, KEY("sampling.top_p"), 0.97, &host->error));
  TRY(API->tsr_options_set_float(o, KEY("sampling.repetition_penalty"), 1.1, &host->error));
  TRY(API->tsr_options_set_int(o, KEY("sampling.seed"), 7, &host->error));
  TRY(API->tsr_options_set_int(o, KEY("request.top_logprobs"), 3, &host->error));
  return TSR_STATUS_OK;
}
static tsr_status Generate1(struct Host* host) {
  return API->tsr_session_generate(host->sessions[1], host->options, host->queue, 1, NULL, &host->error);
}
static tsr_status SetStops(struct Host* host) {
  static const char* const strings[] = {"a stop string that is not short", "qqqq"};
  static const size_t sizes[] = {31, 4};
  return API->tsr_options_set_string_list(host->options, KEY("request.stop"), strings, sizes, 2,
                                          &host->error);
}
static tsr_status SetStopTokens(struct Host* host) {
  static const int64_t tokens[] = {9, 250};
  return API->tsr_options_set_int_list(host->options, KEY("request.stop_tokens"), tokens, 2, &host->error);
}
static tsr_status SetBiasTokens(struct Host* host) {
  static const int64_t tokens[] = {17, 3, 200};
  return API->tsr_options_set_int_list(host->options, KEY("sampling.logit_bias_tokens"), tokens, 3,
                                       &host->error);
}
static tsr_status SetBiasValues(struct Host* host) {
  static const double values[] = {1.5, -2, 0.25};
  return API->tsr_options_set_float_list(host->options, KEY("sampling.logit_bias_values"), values, 3,
                                         &host->error);
}
static tsr_status Generate2(struct Host* host) {
  return API->tsr_session_generate(host->sessions[2], host->options, host->queue, 2, NULL, &host->error);
}

static void Digest(uint64_t* digest, const void* data, size_t size) {
  const unsigned char* bytes = data;
  for (size_t i = 0; i < size; ++i) *digest = (*digest ^ bytes[i]) * 0x100000001b3u;
}

static void ReadEvents(struct Host* host, const char* data, size_t size) {
  for (const char* at = data; at < data + size; at += ((const tsr_event*)(const void*)at)->size) {
    const tsr_event* head = (const void*)at;
    if (head->tag >= SCENARIO_TAGS) {
      Fail(host, "an event with a tag of nobody");
      return;
    }
    uint64_t* digest = &host->digest[head->tag];
    if (host->terminals[head->tag] != 0) Fail(host, "an event after the terminal one");
    if (head->kind == TSR_EVENT_TOKENS) {
      const tsr_event_tokens* event = (const void*)at;
      host->tokens[head->tag] += (int)event->token_count;
      Digest(digest, at + event->token_offset, 4 * event->token_count);
      Digest(digest, at + event->text_offset, event->text_size);
      if (event->logprob_offset != 0) Digest(digest, at + event->logprob_offset, 4 * event->token_count);
      if (event->top_offset != 0) Digest(digest, at + event->top_offset, 8 * event->top_count);
    } else if (head->kind == TSR_EVENT_FINISHED) {
      const tsr_event_finished* event = (const void*)at;
      ++host->terminals[head->tag];
      Digest(digest, &event->reason, sizeof event->reason);
      if (head->tag != 3) Digest(digest, &event->generated_tokens, sizeof event->generated_tokens);
      if (event->reason == TSR_FINISH_ERROR) Fail(host, "a request ended with an error");
    }
  }
}

/* One crossing: waits for events, on a stepped engine by computing them. */
static tsr_status Poll(struct Host* host) {
  uint64_t buffer[512];
  size_t used = 0;
  TRY(host->stepped
          ? API->tsr_queue_wait(host->queue, host->engine, -1, buffer, sizeof buffer, &used, &host->error)
          : API->tsr_queue_poll(host->queue, -1, buffer, sizeof buffer, &used, &host->error));
  ReadEvents(host, (const char*)buffer, used);
  return TSR_STATUS_OK;
}
static tsr_status PollToEnds(struct Host* host) {
  while (host->terminals[0] + host->terminals[1] + host->terminals[2] < 3 && host->failure[0] == 0)
    TRY(Poll(host));
  return TSR_STATUS_OK;
}

static tsr_status Look(struct Host* host) {
  int32_t tokens[64];
  size_t count = 0, copied = 0;
  tsr_engine_metrics metrics;
  metrics.struct_size = sizeof metrics;
  TRY(API->tsr_session_token_count(host->sessions[0], &count, &host->error));
  TRY(API->tsr_session_get_tokens(host->sessions[0], 0, tokens, 64, &copied, &host->error));
  TRY(API->tsr_engine_get_metrics(host->engine, &metrics, &host->error));
  if (copied != count || metrics.requests_finished != 3) Fail(host, "tokens or metrics disagree");
  Digest(&host->digest[0], tokens, copied * sizeof tokens[0]);
  return TSR_STATUS_OK;
}
static tsr_status LookAtLogits(struct Host* host) {
  float logits[1024];
  size_t count = 0;
  TRY(API->tsr_session_get_logits(host->sessions[0], logits, 1024, &count, &host->error));
  Digest(&host->digest[0], logits, count * sizeof logits[0]);
  return TSR_STATUS_OK;
}

static tsr_status Save(struct Host* host) {
  return API->tsr_session_save(host->sessions[0], NULL, host->state, sizeof host->state, &host->state_size,
                               &host->error);
}
static tsr_status Probe(struct Host* host) {
  tsr_state_info info;
  info.struct_size = sizeof info;
  TRY(API->tsr_state_probe(host->state, host->state_size, &info, &host->error));
  if (!info.complete || info.cached_tokens == 0) Fail(host, "a saved session is not what it was");
  return TSR_STATUS_OK;
}
/* A restored session that is saved again gives the same bytes. */
static tsr_status Restore(struct Host* host) {
  static unsigned char again[sizeof host->state];
  tsr_session* session = NULL;
  size_t size = 0;
  TRY(API->tsr_session_restore(host->engine, host->state, host->state_size, NULL, &session, &host->error));
  const tsr_status status = API->tsr_session_save(session, NULL, again, sizeof again, &size, &host->error);
  API->tsr_session_release(session);
  if (status != TSR_STATUS_OK) return status;
  if (size != host->state_size || memcmp(again, host->state, size) != 0) {
    Fail(host, "a restored session is not what was saved");
  }
  Digest(&host->digest[0], again, size);
  return TSR_STATUS_OK;
}
static tsr_status Park(struct Host* host) { return API->tsr_session_park(host->sessions[2], &host->error); }

static tsr_status SetLong(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("request.max_tokens"), -1, &host->error);
}
static tsr_status GenerateLong(struct Host* host) {
  return API->tsr_session_generate(host->sessions[0], host->options, host->queue, 3, NULL, &host->error);
}
static tsr_status PollSome(struct Host* host) {
  while (host->tokens[3] == 0 && host->failure[0] == 0) TRY(Poll(host));
  host->digest[3] = 0; /* how far it comes before the cancel depends on time */
  return TSR_STATUS_OK;
}
static tsr_status CancelLong(struct Host* host) {
  return API->tsr_session_cancel(host->sessions[0], TSR_CANCEL_DROP, &host->error);
}
static tsr_status PollCancelled(struct Host* host) {
  while (host->terminals[3] == 0 && host->failure[0] == 0) TRY(Poll(host));
  host->digest[3] = 0;
  return TSR_STATUS_OK;
}
static tsr_status WakeQueue(struct Host* host) { return API->tsr_queue_wake(host->queue, &host->error); }
/* Still running when everything is released. */
static tsr_status GenerateLast(struct Host* host) {
  return API->tsr_session_generate(host->sessions[1], NULL, host->queue, 4, NULL, &host->error);
}

/* Forks, rewinds and conversations that begin alike, in a cache that does not hold them all. */
static tsr_status SetTightCache(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("engine.cache_tokens"), 96, &host->error);
}
static tsr_status AppendAlike(struct Host* host, int session) {
  return API->tsr_session_append_text(host->sessions[session],
                                      KEY("the hello and in the world of words that is an other"),
                                      TSR_TEXT_PLAIN, &host->error);
}
static tsr_status AppendAlike0(struct Host* host) { return AppendAlike(host, 0); }
static tsr_status AppendAlike2(struct Host* host) { return AppendAlike(host, 2); }
static tsr_status PollFirst(struct Host* host) {
  while (host->terminals[0] == 0 && host->failure[0] == 0) TRY(Poll(host));
  return TSR_STATUS_OK;
}
static tsr_status Fork1(struct Host* host) {
  return API->tsr_session_fork(host->sessions[0], NULL, &host->sessions[1], &host->error);
}
static tsr_status Rewind0(struct Host* host) {
  return API->tsr_session_rewind(host->sessions[0], 20, &host->error);
}
static tsr_status SetMany(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("request.max_tokens"), 36, &host->error);
}
static tsr_status SetUrgent(struct Host* host) {
  return API->tsr_options_set_int(host->options, KEY("request.priority"), 1, &host->error);
}
static tsr_status Generate4(struct Host* host) {
  return API->tsr_session_generate(host->sessions[0], host->options, host->queue, 4, NULL, &host->error);
}
static tsr_status PollOthers(struct Host* host) {
  while (host->terminals[1] + host->terminals[2] + host->terminals[4] < 3 && host->failure[0] == 0)
    TRY(Poll(host));
  return TSR_STATUS_OK;
}
static tsr_status LookAtSharing(struct Host* host) {
  tsr_engine_metrics metrics;
  metrics.struct_size = sizeof metrics;
  TRY(API->tsr_engine_get_metrics(host->engine, &metrics, &host->error));
  if (metrics.shared_tokens == 0) Fail(host, "nothing was shared");
  if (metrics.copied_blocks == 0) Fail(host, "no block was copied");
  /* An engine with a thread of its own may be done with one before the next comes. */
  if (host->stepped && metrics.preemptions == 0) Fail(host, "nobody was preempted");
  return TSR_STATUS_OK;
}

/* An error about the caller's own mistake needs memory for its words. */
static tsr_status Mistake(struct Host* host) {
  const tsr_status status =
      API->tsr_options_set_int(host->options, KEY("request.max_token"), 1, &host->error);
  if (status == TSR_STATUS_OUT_OF_MEMORY) return status;
  size_t size = 0;
  API->tsr_error_place(host->error, &size);
  if (status != TSR_STATUS_INVALID_ARGUMENT || size == 0) Fail(host, "a wrong key is not refused as such");
  API->tsr_error_release(host->error);
  host->error = NULL;
  return TSR_STATUS_OK;
}
static tsr_status MissingFile(struct Host* host) {
  tsr_model* none = NULL;
  const tsr_status status =
      API->tsr_model_load_file(host->runtime, KEY("/no/such/model.gguf"), NULL, &none, &host->error);
  if (status == TSR_STATUS_OUT_OF_MEMORY) return status;
  if (status != TSR_STATUS_NOT_FOUND) Fail(host, "a missing file is not NOT_FOUND");
  API->tsr_error_release(host->error);
  host->error = NULL;
  return TSR_STATUS_OK;
}

/* clang-format off */
#define NEEDS(step) {#step, step, 1}
#define FREE(step) {#step, step, 0}
static const struct ScenarioStep kLoading[] = {
    NEEDS(NewOptions), NEEDS(SetLog), NEEDS(SetLogLevel), NEEDS(SetThreads), NEEDS(MakeRuntime), FREE(DropOptions),
    NEEDS(MakeOtherRuntime), NEEDS(MissingFile), NEEDS(Plan),
    NEEDS(NewOptions), NEEDS(SetProgress), NEEDS(LoadMemory), FREE(DropOptions), FREE(ForgetModel),
    NEEDS(LoadReader), FREE(ForgetModel), NEEDS(LoadDescriptor), FREE(ForgetModel), NEEDS(LoadFile), NEEDS(Text),
    NEEDS(NewOptions), NEEDS(SetTemplate), NEEDS(Chat), NEEDS(ChatMistake), FREE(DropOptions),
};
static const struct ScenarioStep kRunning[] = {
    NEEDS(NewOptions), NEEDS(SetThreads), NEEDS(MakeRuntime), FREE(DropOptions), NEEDS(LoadFile),
    /* The prelude ends here. */
    NEEDS(NewOptions), NEEDS(SetStepped), NEEDS(SetCache), NEEDS(SetBatch), NEEDS(MakeEngine), FREE(DropOptions),
    NEEDS(NewOptions), NEEDS(SetReady), NEEDS(MakeQueue), FREE(DropOptions),
    NEEDS(NewOptions), NEEDS(SetLogits), NEEDS(MakeSession0), FREE(DropOptions),
    NEEDS(MakeSession1), NEEDS(MakeSession2), NEEDS(Append0), NEEDS(Append1), NEEDS(Append2), NEEDS(AppendChat2),
    NEEDS(NewOptions), NEEDS(SetMaxTokens), NEEDS(SetIgnoreEnd), NEEDS(Mistake), NEEDS(Generate0),
    NEEDS(SetSampling), NEEDS(Generate1),
    NEEDS(SetStops), NEEDS(SetStopTokens), NEEDS(SetBiasTokens), NEEDS(SetBiasValues), NEEDS(Generate2),
    FREE(PollToEnds), FREE(Look), FREE(LookAtLogits),
    NEEDS(Save), NEEDS(Probe), NEEDS(Restore), FREE(Park),
    NEEDS(SetLong), NEEDS(GenerateLong), FREE(PollSome), FREE(CancelLong), FREE(PollCancelled), FREE(WakeQueue),
    NEEDS(GenerateLast),
};
static const struct ScenarioStep kSharing[] = {
    NEEDS(NewOptions), NEEDS(SetThreads), NEEDS(MakeRuntime), FREE(DropOptions), NEEDS(LoadFile),
    /* The prelude ends here. */
    NEEDS(NewOptions), NEEDS(SetStepped), NEEDS(SetTightCache), NEEDS(SetBatch), NEEDS(MakeEngine), FREE(DropOptions),
    NEEDS(MakeQueue), NEEDS(MakeSession0), NEEDS(AppendAlike0),
    NEEDS(NewOptions), NEEDS(SetMaxTokens), NEEDS(SetIgnoreEnd), NEEDS(Generate0), FREE(PollFirst),
    NEEDS(Fork1), FREE(Rewind0), NEEDS(MakeSession2), NEEDS(AppendAlike2),
    NEEDS(SetMany), NEEDS(Generate2), NEEDS(Generate4), NEEDS(SetUrgent), NEEDS(Generate1),
    FREE(PollOthers), FREE(LookAtSharing),
};
static const struct ScenarioStep kRanks[] = {
    NEEDS(NewOptions), NEEDS(SetThreads), NEEDS(MakeRuntime), FREE(DropOptions), NEEDS(LoadFile),
    /* The prelude ends here. */
    NEEDS(NewOptions), NEEDS(SetStepped), NEEDS(SetCache), NEEDS(SetBatch), NEEDS(SetRanks),
    NEEDS(MakeEngine), FREE(DropOptions), NEEDS(MakeQueue), NEEDS(MakeSession0), NEEDS(Append0),
    NEEDS(NewOptions), NEEDS(SetMaxTokens), NEEDS(SetIgnoreEnd), NEEDS(Generate0), FREE(PollFirst),
};
#undef NEEDS
#undef FREE
/* clang-format on */
const struct Scenario kScenarios[SCENARIOS] = {
    {"loading", kLoading, sizeof kLoading / sizeof kLoading[0], 0},
    {"running", kRunning, sizeof kRunning / sizeof kRunning[0], 5},
    {"sharing", kSharing, sizeof kSharing / sizeof kSharing[0], 5},
    {"ranks", kRanks, sizeof kRanks / sizeof kRanks[0], 5},
};

void ReleaseAll(struct Host* host, int parents_first) {
  for (int pass = 0; pass < 2; ++pass) {
    if ((pass == 0) == (parents_first != 0)) {
      API->tsr_options_release(host->options);
      API->tsr_runtime_release(host->runtime);
      API->tsr_model_release(host->model);
      API->tsr_engine_release(host->engine);
    } else {
      for (int i = 0; i < SCENARIO_SESSIONS; ++i) API->tsr_session_release(host->sessions[i]);
      API->tsr_queue_release(host->queue);
    }
  }
}
