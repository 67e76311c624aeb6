// Gathers the events of one engine's requests; see hub.h.
#define _GNU_SOURCE
#include "hub.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct tessera_go_hub {
  tessera_go_node* ready;   /* atomic: newest first */
  tessera_go_node* waiting; /* the poller's: taken from `ready`, oldest first */
  tessera_go_node* owned;   /* atomic */
  int64_t references;       /* atomic: the caller's, and one for each queue that was not dropped */
  int bell;
};

tessera_go_hub* tessera_go_hub_create(void) {
  tessera_go_hub* hub = calloc(1, sizeof *hub);
  if (hub == NULL) return NULL;
  hub->references = 1;
  hub->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (hub->bell >= 0) return hub;
  free(hub);
  return NULL;
}

int tessera_go_hub_descriptor(tessera_go_hub* hub) { return fcntl(hub->bell, F_DUPFD_CLOEXEC, 0); }

void tessera_go_hub_release(tessera_go_hub* hub) {
  if (__atomic_sub_fetch(&hub->references, 1, __ATOMIC_SEQ_CST) != 0) return;
  for (tessera_go_node* node = hub->owned; node != NULL;) {
    tessera_go_node* next = node->owned;
    free(node);
    node = next;
  }
  close(hub->bell);
  free(hub);
}

void tessera_go_node_ring(tessera_go_node* node) {
  tessera_go_hub* hub = node->hub;
  if (__atomic_exchange_n(&node->listed, 1, __ATOMIC_SEQ_CST) != 0) return;
  tessera_go_node* head = __atomic_load_n(&hub->ready, __ATOMIC_SEQ_CST);
  do {
    node->next = head;
  } while (!__atomic_compare_exchange_n(&hub->ready, &head, node, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  if (head != NULL) return; /* whoever put the first one there rings */
  const uint64_t one = 1;
  ssize_t written = write(hub->bell, &one, sizeof one);
  (void)written; /* fails only when the count is full, and then the bell rings already */
}

static void on_ready(void* user) { tessera_go_node_ring(user); }
static void on_drop(void* user) { tessera_go_hub_release(((tessera_go_node*)user)->hub); }

tsr_status tessera_go_node_create(tessera_go_hub* hub, tsr_runtime* runtime, tessera_go_node** node,
                                  tsr_error** error) {
  static const char kKey[] = "queue.on_ready";
  tessera_go_node* made = calloc(1, sizeof *made);
  if (made == NULL) return TSR_STATUS_OUT_OF_MEMORY;
  made->hub = hub;
  tsr_options* options = NULL;
  tsr_status status = tsr_options_create(&options, error);
  if (status != TSR_STATUS_OK) {
    free(made);
    return status;
  }
  /* From here on the hub owns the node, and the queue (or the failure) drops its reference. */
  __atomic_add_fetch(&hub->references, 1, __ATOMIC_SEQ_CST);
  tessera_go_node* head = __atomic_load_n(&hub->owned, __ATOMIC_SEQ_CST);
  do {
    made->owned = head;
  } while (!__atomic_compare_exchange_n(&hub->owned, &head, made, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  tsr_ready_callbacks table = {sizeof table, made, on_drop, on_ready};
  status = tsr_options_set_callbacks(options, kKey, sizeof kKey - 1, &table, error);
  if (status == TSR_STATUS_OK) status = tsr_queue_create(runtime, options, &made->queue, error);
  tsr_options_release(options);
  if (status == TSR_STATUS_OK) *node = made;
  return status;
}

/* The list of those that are ready, oldest first, behind those that still wait. */
static void take(tessera_go_hub* hub) {
  tessera_go_node* taken = __atomic_exchange_n(&hub->ready, NULL, __ATOMIC_SEQ_CST);
  tessera_go_node* oldest = NULL;
  while (taken != NULL) {
    tessera_go_node* next = taken->next;
    taken->next = oldest;
    oldest = taken;
    taken = next;
  }
  tessera_go_node** end = &hub->waiting;
  while (*end != NULL) end = &(*end)->next;
  *end = oldest;
}

int tessera_go_hub_drain(tessera_go_hub* hub, void* buffer, size_t capacity, size_t* used, size_t* needed) {
  *used = 0;
  *needed = 0;
  take(hub);
  while (hub->waiting != NULL) {
    tessera_go_node* node = hub->waiting;
    hub->waiting = node->next;
    /* Off the list before the poll, so that a ring that comes after it counts. */
    __atomic_store_n(&node->listed, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&node->held, __ATOMIC_SEQ_CST) != 0) continue;
    size_t written = 0;
    tsr_status status = TSR_STATUS_OK;
    do { /* until it is empty: only then will it ring again */
      *used += written;
      status = tsr_queue_poll(node->queue, 0, (char*)buffer + *used, capacity - *used, &written, NULL);
    } while (status == TSR_STATUS_OK && written != 0);
    if (status != TSR_STATUS_BUFFER_TOO_SMALL) continue;
    if (*used == 0) *needed = written;
    if (__atomic_exchange_n(&node->listed, 1, __ATOMIC_SEQ_CST) == 0) {
      node->next = hub->waiting;
      hub->waiting = node;
    }
    return 1;
  }
  return 0;
}
