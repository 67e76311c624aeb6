/* What libtessera and libtessera_gloo.so say to each other: one C function, found by name after dlopen, which
 * gives this table. No C++ type and no exception crosses; an error is a code and text in the caller's memory.
 * A module serves exactly the build it was made with. */
#ifndef TESSERA_CORE_PARALLEL_GLOO_MODULE_H_
#define TESSERA_CORE_PARALLEL_GLOO_MODULE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_GLOO_TABLE_VERSION 1
#define TSR_GLOO_MODULE_FUNCTION "tsr_gloo_module"
#define TSR_GLOO_ADDRESS_BYTES 192 /* one end of one connection */

typedef struct tsr_gloo_failure {
  int32_t code;      /* an ErrorCode */
  char message[508]; /* NUL-terminated; begins with the place, whose bytes are place_bytes */
  int32_t place_bytes;
} tsr_gloo_failure;

typedef struct tsr_gloo_options {
  size_t struct_size;
  int32_t rank;
  int32_t size;
  int64_t connect_timeout_ns;
  int64_t operation_timeout_ns; /* of an operation inside a step */
  int64_t silence_ns;           /* without a beat for so long a peer is lost */
  int64_t beat_ns;              /* between two beats */
  uint64_t epoch;
  const char* name; /* of the group: the same on all its ranks */
  size_t name_size;
  const char* interface_name; /* of a network interface, or a host's name or address; empty: the loopback's */
  size_t interface_size;
} tsr_gloo_options;

typedef struct tsr_gloo_tag {
  uint64_t epoch;
  uint64_t step;
  uint32_t operation;
  uint32_t reserved; /* 0 */
} tsr_gloo_tag;

typedef struct tsr_gloo_bytes {
  const void* data;
  size_t size;
} tsr_gloo_bytes;

typedef struct tsr_gloo_group tsr_gloo_group;

/* What returns int32_t returns 0, or an ErrorCode and fills `failure`. */
typedef struct tsr_gloo_functions {
  size_t struct_size;
  int32_t version; /* TSR_GLOO_TABLE_VERSION */
  int32_t reserved;
  const char* build_id;

  /* Listens for every peer; addresses[size * TSR_GLOO_ADDRESS_BYTES] gets where. */
  int32_t (*open)(const tsr_gloo_options* options, void* addresses, tsr_gloo_group** group,
                  tsr_gloo_failure* failure);
  /* `addresses`: what all ranks got from `open`, in rank order. Once. */
  int32_t (*connect)(tsr_gloo_group* group, const void* addresses, tsr_gloo_failure* failure);
  /* From here on: one thread at a time, but for abandon. */
  int32_t (*exchange)(tsr_gloo_group* group, const tsr_gloo_tag* tag, uint32_t signal, tsr_gloo_bytes mine,
                      tsr_gloo_bytes* all, uint32_t* gravest, tsr_gloo_failure* failure);
  int32_t (*send)(tsr_gloo_group* group, const tsr_gloo_tag* tag, int32_t to, tsr_gloo_bytes data,
                  tsr_gloo_failure* failure);
  int32_t (*receive)(tsr_gloo_group* group, const tsr_gloo_tag* tag, int32_t from, void* buffer,
                     size_t capacity, size_t* size, tsr_gloo_failure* failure);
  void (*abandon)(tsr_gloo_group* group); /* any thread */
  void (*close)(tsr_gloo_group* group);   /* the group is gone afterwards */
} tsr_gloo_functions;

/* Static. */
const tsr_gloo_functions* tsr_gloo_module(void);

#ifdef __cplusplus
}
#endif

#endif /* TESSERA_CORE_PARALLEL_GLOO_MODULE_H_ */
