/* The events of one engine's requests, gathered for one Go poller: each request has a queue of its own, so
 * that one whose consumer is slow pauses alone; a queue that becomes ready puts itself on a list and rings
 * one eventfd. One crossing drains all of them. */
#ifndef TESSERA_GO_HUB_H_
#define TESSERA_GO_HUB_H_

#include <stdint.h>
#include <tessera/tessera.h>

typedef struct tessera_go_hub tessera_go_hub;

/* A queue and its place in the hub's list. Lives as long as the hub. */
typedef struct tessera_go_node {
  struct tessera_go_node* next;  /* in the list of those that are ready */
  struct tessera_go_node* owned; /* in the list of all */
  tessera_go_hub* hub;
  tsr_queue* queue;
  int32_t listed; /* atomic: in the list of those that are ready */
  int32_t held;   /* atomic: the consumer is behind; the queue is left alone until Go clears this and rings */
} tessera_go_node;

/* NULL: the system grants no descriptor or memory. */
tessera_go_hub* tessera_go_hub_create(void);
/* A duplicate of the bell, which the caller closes; -1 and errno where there is none. */
int tessera_go_hub_descriptor(tessera_go_hub* hub);
/* The hub and its nodes go when the last queue was dropped too. No node is used by the caller any more. */
void tessera_go_hub_release(tessera_go_hub* hub);

tsr_status tessera_go_node_create(tessera_go_hub* hub, tsr_runtime* runtime, tessera_go_node** node,
                                  tsr_error** error);
/* Puts the node on the list, as if its queue had become ready. Any thread. */
void tessera_go_node_ring(tessera_go_node* node);

/* Writes records of all ready queues that are not held. Returns 1 when there is more; `needed` is not 0 when
 * the next record alone is larger than the buffer. One caller at a time. */
int tessera_go_hub_drain(tessera_go_hub* hub, void* buffer, size_t capacity, size_t* used, size_t* needed);

#endif
