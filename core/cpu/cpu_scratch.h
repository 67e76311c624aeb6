// The working memory of a CPU context: every array that a step writes, planned from the model and the limits
// and cut from one region of memory, so that no step allocates.
#ifndef TESSERA_CORE_CPU_CPU_SCRATCH_H_
#define TESSERA_CORE_CPU_CPU_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "core/cpu/kernels/linear/linear.h"
#include "core/execute/backend.h"

namespace tessera {

// The largest of each size over the model's layers.
struct CpuShapes {
  int64_t hidden = 0;
  int64_t feed_forward = 0;
  int64_t vocabulary = 0;
  int64_t query = 0;  // heads * head_size
  int64_t key = 0;    // kv_heads * head_size
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_size = 0;
  int32_t tile_queries = 0;        // of an attention tile
  size_t chunk_partial_bytes = 0;  // partial results of one row's attention over one chunk, all heads
  bool uses_mode[2] = {};          // by ActivationMode
  int64_t prepared_columns = 0;    // of the widest prepared row
  int64_t padded_columns = 0;      // of the widest leaf that FoldLayout pads
  int64_t exchanged_columns = 0;   // floats for each row in an exchange between layers; 0: one rank
  int64_t gathered_columns = 0;    // vocabulary that ranks share and this one samples from; 0: none
};

CpuShapes ShapesOf(const ModelSpec& spec, cpu::ActivationMode wanted);

struct CpuScratch {
  float* hidden = nullptr;             // [rows, hidden]
  float* query = nullptr;              // [rows, query]
  float* key = nullptr;                // [rows, key]
  float* value = nullptr;              // [rows, key]
  float* context = nullptr;            // [rows, query]
  float* carry = nullptr;              // [rows, heads, 2]: attention's, between parts of the context
  float* gate = nullptr;               // [rows, feed_forward]
  float* up = nullptr;                 // [rows, feed_forward]
  float* logits = nullptr;             // [samples, vocabulary]; before it [samples] SliceMaximum
  float* gathered = nullptr;           // [samples, gathered_columns]
  int32_t* sample_order = nullptr;     // [samples]
  uint8_t* exchange[2] = {};           // by turn: [rows, exchanged_columns] floats
  uint8_t* prepared[2] = {};           // by ActivationMode: [rows, PreparedRowBytes of the widest input]
  int32_t* sequence_of_row = nullptr;  // [rows]
  void* rotary = nullptr;              // RotaryTable
  float* partials = nullptr;           // attention's partial results
  size_t partials_bytes = 0;
  uint8_t* workers = nullptr;  // [threads, worker_bytes]
  size_t worker_bytes = 0;

  // One worker's part.
  float* normed(int worker) const { return reinterpret_cast<float*>(workers + worker * worker_bytes); }
  float* angles(int worker) const { return normed(worker) + angles_offset; }  // [2, rotary pairs]: cos, sin
  void* attention(int worker) const { return normed(worker) + attention_offset; }
  float* padded(int worker) const { return normed(worker) + padded_offset; }  // [padded_columns]
  int64_t angles_offset = 0;                                                  // floats
  int64_t attention_offset = 0;                                               // floats
  int64_t padded_offset = 0;                                                  // floats
};

// Lays the arrays out from `base` on; returns the bytes they take. With a null base only the sizes count.
size_t LayScratch(const CpuShapes& shapes, const ModelSpec& spec, const BackendLimits& limits, uint8_t* base,
                  CpuScratch* scratch);

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_CPU_SCRATCH_H_
