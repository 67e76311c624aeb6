/* What libtessera and a module that drives a device (libtessera_cuda.so) say to each other: one C function,
 * found by name after dlopen, which gives this table. No C++ type and no exception crosses; an error is a
 * code and text in the caller's memory. A module serves exactly the build it was made with. */
#ifndef TESSERA_CORE_DEVICE_DEVICE_MODULE_H_
#define TESSERA_CORE_DEVICE_DEVICE_MODULE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_DEVICE_TABLE_VERSION 1
#define TSR_DEVICE_MODULE_FUNCTION "tsr_device_module"
#define TSR_DEVICE_MOST_TOP_LOGPROBS 20
#define TSR_DEVICE_MOST_BIASES 4096 /* of a sample */

typedef struct tsr_device_failure {
  int32_t code; /* an ErrorCode */
  int32_t lost; /* not 0: the device is gone for good, with all that was on it */
  int32_t place_bytes;
  char message[508]; /* NUL-terminated; begins with the place, whose bytes are place_bytes */
} tsr_device_failure;

typedef struct tsr_device_info {
  size_t struct_size;
  int32_t index;
  int32_t compute_capability; /* 90 for 9.0 */
  int32_t multiprocessors;
  int32_t usable; /* 0: the module has no code for it */
  uint64_t memory_bytes;
  uint64_t free_bytes;
  char name[128];
  char uuid[48]; /* as nvidia-smi prints it: "GPU-..." */
} tsr_device_info;

/* The host's allocators; both may be absent (NULL), then the module's own serve. Sizes come back at free. */
typedef struct tsr_device_allocator {
  void* (*allocate)(void* user, int32_t memory_class, size_t size_bytes); /* NULL: none left */
  void (*free)(void* user, int32_t memory_class, void* data, size_t size_bytes);
  void* user;
} tsr_device_allocator;

typedef struct tsr_device_options {
  size_t struct_size;
  int32_t index;        /* of the device; ignored where uuid is not empty */
  int32_t low_priority; /* streams of the lowest priority: beside rendering */
  const char* uuid;     /* NUL-terminated, may be empty */
  void* context;        /* the host's CUcontext; NULL: the device's primary one */
  void* stream;         /* the host's CUstream, on which all work is put; NULL: streams of the module's own */
  uint64_t staging_bytes; /* of pinned memory for uploads; 0: the module's default */
  tsr_device_allocator device_memory;
  tsr_device_allocator pinned_memory;
} tsr_device_options;

/* A weight in the device's memory. Matrices are row-major, F16 or BF16 (GGUF's type numbers 1 and 30);
 * vectors (rows == 1) are F32 (0). data NULL: the model has none. */
typedef struct tsr_device_weight {
  const void* data;
  int32_t type;
  int32_t reserved;
  int64_t rows;    /* outputs */
  int64_t columns; /* inputs */
} tsr_device_weight;

typedef struct tsr_device_layer {
  int32_t heads;
  int32_t kv_heads;
  int32_t head_size;
  int32_t window_tokens; /* 0: the whole context */
  float attention_scale;
  int32_t cache_group;
  int32_t layer_in_group;
  int32_t reserved;
  tsr_device_weight attention_norm, query, key, value, query_bias, key_bias, value_bias;
  tsr_device_weight output, output_bias;
  tsr_device_weight feed_forward_norm, gate, up, down;
} tsr_device_layer;

typedef struct tsr_device_cache {
  void* data;   /* in the device's memory; layout as CacheView (core/cache/cache_view.h) */
  int32_t type; /* CacheType */
  int32_t block_tokens;
  int32_t kv_heads;
  int32_t head_size;
  int32_t layer_count;
  int32_t window_tokens;
} tsr_device_cache;

/* All pointers are read during create_context only, but for those into the device's memory. */
typedef struct tsr_device_model {
  size_t struct_size;
  int32_t hidden_size;
  int32_t feed_forward_size;
  int32_t vocabulary_size;
  int32_t layer_count;
  float norm_epsilon;
  int32_t rotary_pairing; /* 0: (2i, 2i + 1); 1: (i, i + n / 2) */
  int32_t rotary_dimensions;
  float rotary_magnitude;
  const float* rotary_inverse_frequencies;        /* [rotary_dimensions / 2] */
  const tsr_device_layer* layers;                 /* [layer_count] */
  tsr_device_weight embedding, output_norm, head; /* head equals embedding where they are tied */
  int32_t cache_group_count;
  int32_t reserved;
} tsr_device_model;

typedef struct tsr_device_limits {
  size_t struct_size;
  int32_t max_rows;
  int32_t max_samples;
  int32_t max_sequences;
  int32_t max_positions;
  int32_t block_tokens;
  int32_t cache_type;      /* CacheType */
  int32_t depth;           /* steps that may be in flight: 1 or 2 */
  int32_t batch_invariant; /* not 0: a row's results do not depend on which rows are beside it */
  /* Of the device, as tsr_device_info says, for plan_context; 0: 132 and 90. create_context asks the device.
   */
  int32_t multiprocessors;
  int32_t compute_capability;
  /* For measuring and for tests. */
  int32_t no_overlap;        /* not 0: each node waits for the end of the one before it */
  int32_t no_graphs;         /* not 0: decode steps are launched node by node, as prompts are */
  int32_t no_matrix_library; /* not 0: the module's own products, as where there is no cuBLASLt */
  int32_t time_regions;      /* not 0: region_ns is measured; implies no_graphs */
  int32_t reserved;
} tsr_device_limits;

typedef struct tsr_device_context_memory {
  size_t struct_size;
  uint64_t device_bytes;
  uint64_t pinned_bytes;
  uint64_t object_bytes; /* on the host's heap, about */
} tsr_device_context_memory;

typedef struct tsr_device_sequence {
  int32_t first_row;
  int32_t row_count;
  int32_t first_position;
  int32_t reserved;
  const int32_t* const* blocks; /* [cache groups][block index]: ids in that group's pool, in host memory */
} tsr_device_sequence;

typedef struct tsr_device_bias {
  int32_t token;
  float bias;
} tsr_device_bias;

/* As SampleRow and SamplingParams (core/execute/backend.h, core/request/sampling_params.h). */
typedef struct tsr_device_sample {
  int32_t row;
  float temperature; /* 0: greedy */
  int32_t top_k;
  float top_p;
  float min_p;
  float repetition_penalty;
  float frequency_penalty;
  float presence_penalty;
  int32_t penalty_window_tokens;
  int32_t top_logprobs; /* -1: no log-probabilities */
  uint64_t seed;
  uint64_t position;
  const tsr_device_bias* bias; /* [bias_count], sorted by token, unique */
  int32_t bias_count;          /* at most TSR_DEVICE_MOST_BIASES */
  int32_t history_count;
  const int32_t*
      history;       /* without a token of the row that is sampled by the step before: it is added here */
  float* logits_out; /* host memory, [vocabulary]; NULL: not wanted */
  /* written when the step is finished */
  int32_t token;
  int32_t numeric_fault;
  float logprob;
  int32_t top_count;
  int32_t top_tokens[TSR_DEVICE_MOST_TOP_LOGPROBS];
  float top_token_logprobs[TSR_DEVICE_MOST_TOP_LOGPROBS];
} tsr_device_sample;

typedef struct tsr_device_copy {
  int32_t group;
  int32_t from;
  int32_t to;
} tsr_device_copy;

/* Host memory, read before run_step returns; but for `samples`, whose results are written by finish_step. */
typedef struct tsr_device_step {
  size_t struct_size;
  int32_t row_count;
  int32_t sequence_count;
  int32_t copy_count;
  int32_t sample_count;
  const int32_t* tokens;    /* [row_count]; -1: sampled by the step before, see sources */
  const int32_t* positions; /* [row_count] */
  const int32_t* sources;   /* [row_count]: index of a sample of the step before; NULL: none */
  const tsr_device_sequence* sequences;
  const tsr_device_copy* copies; /* done in this order, before anything else of the step */
  tsr_device_sample* samples;    /* in row order */
} tsr_device_step;

typedef struct tsr_device_times {
  size_t struct_size;
  uint64_t steps;
  uint64_t device_ns;     /* from the first node of each step to its last */
  uint64_t idle_ns;       /* between steps that were queued one behind the other */
  uint64_t region_ns[16]; /* by RegionKind; 0 unless regions are timed */
} tsr_device_times;

typedef struct tsr_device tsr_device;
typedef struct tsr_device_context tsr_device_context;

/* What returns int32_t returns 0, or an ErrorCode and fills `failure`. None throws. */
typedef struct tsr_device_functions {
  size_t struct_size;
  int32_t version; /* TSR_DEVICE_TABLE_VERSION */
  int32_t reserved;
  const char* build_id;
  const char* kind;          /* "cuda" */
  const char* architectures; /* of the device code inside, such as "90a", separated by spaces */

  /* Any thread. count_devices: 0 devices is no error; no driver is kUnsupported. */
  int32_t (*count_devices)(int32_t* count, tsr_device_failure* failure);
  int32_t (*describe_device)(int32_t index, tsr_device_info* info, tsr_device_failure* failure);
  int32_t (*open)(const tsr_device_options* options, tsr_device** device, tsr_device_failure* failure);
  void (*close)(tsr_device* device); /* after all that was made of it */
  int32_t (*describe)(tsr_device* device, tsr_device_info* info, tsr_device_failure* failure);

  /* Zeroed device memory, aligned to 256 bytes. memory_class: MemoryClass (0 weights, 1 cache, 2 working
   * memory). NULL with a failure. Any thread. describe says what is free. */
  void* (*allocate)(tsr_device* device, int32_t memory_class, size_t size_bytes, tsr_device_failure* failure);
  void (*release)(tsr_device* device, int32_t memory_class, void* data, size_t size_bytes);

  /* Uploads, for loading: a ring of pinned pieces. begin_upload waits for a free piece of at most
   * upload_piece_bytes and gives its address; the caller writes there, and may read what it wrote (cached
   * memory, not write-combined); end_upload copies its first size_bytes to `target` behind the caller's back,
   * and takes the piece whatever it returns; size_bytes 0 only takes it. Any thread, each piece one; several
   * threads hold pieces at once. wait_uploads: all that was ended has arrived, or the first failure since the
   * last wait; nothing is written to targets any more when it returns. */
  size_t (*upload_piece_bytes)(tsr_device* device);
  int32_t (*begin_upload)(tsr_device* device, void** piece, tsr_device_failure* failure);
  int32_t (*end_upload)(tsr_device* device, void* piece, void* target, size_t size_bytes,
                        tsr_device_failure* failure);
  int32_t (*wait_uploads)(tsr_device* device, tsr_device_failure* failure);
  /* Device memory to the host's; waits. For tests and saved states. */
  int32_t (*download)(tsr_device* device, const void* source, void* target, size_t size_bytes,
                      tsr_device_failure* failure);

  /* What create_context would take. The model's weights need not be there. */
  int32_t (*plan_context)(const tsr_device_model* model, const tsr_device_limits* limits,
                          tsr_device_context_memory* memory, tsr_device_failure* failure);
  int32_t (*create_context)(tsr_device* device, const tsr_device_model* model,
                            const tsr_device_limits* limits, tsr_device_context** context,
                            tsr_device_failure* failure);
  void (*destroy_context)(tsr_device_context* context); /* waits for what is in flight */

  /* From here on one thread at a time. Nothing allocates, but set_caches: it captures the graphs of steps.
   * set_caches: before the first step. run_step puts a step behind those in flight and returns. finish_step
   * waits up to timeout_ns for the oldest one: *done, and its samples are written. An error is that step's
   * own unless `lost`. abandon_steps: none is in flight when it returns.
   * A step behind one that failed may take tokens from its samples: its rows are void then, and whatever
   * stands for their tokens must be within the vocabulary. times: as of the last finished step. */
  int32_t (*set_caches)(tsr_device_context* context, const tsr_device_cache* caches, int32_t count,
                        tsr_device_failure* failure);
  int32_t (*run_step)(tsr_device_context* context, const tsr_device_step* step, tsr_device_failure* failure);
  int32_t (*finish_step)(tsr_device_context* context, int64_t timeout_ns, int32_t* done,
                         tsr_device_failure* failure);
  void (*abandon_steps)(tsr_device_context* context);
  void (*times)(tsr_device_context* context, tsr_device_times* times);

  /* For tests: the `after`-th device call from now on (1: the next) reports the driver's error `error`
   * without being made; `sticky` != 0: so does every later one of the device. 0, 0, 0 takes it back. */
  void (*inject_failure)(tsr_device* device, int64_t after, int32_t error, int32_t sticky);
} tsr_device_functions;

/* Static; touches no device. */
const tsr_device_functions* tsr_device_module(void);

#ifdef __cplusplus
}
#endif

#endif /* TESSERA_CORE_DEVICE_DEVICE_MODULE_H_ */
