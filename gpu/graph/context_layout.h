// What a context's memory holds and where: one region on the device, one of pinned memory, planned to the
// byte before either is taken. Knows no device but its number of multiprocessors.
#ifndef TESSERA_GPU_GRAPH_CONTEXT_LAYOUT_H_
#define TESSERA_GPU_GRAPH_CONTEXT_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device/device_module.h"
#include "gpu/graph/device_model.h"
#include "gpu/kernels/attention/attention.h"

namespace tessera::gpu {

// The device that a context is for, as far as its memory depends on it.
struct DeviceTraits {
  int32_t multiprocessors = 132;
  int32_t compute_capability = 90;
};

// How much of what a step may have.
struct StepCapacity {
  int32_t rows = 0;
  int32_t sequences = 0;
  int32_t samples = 0;
  int32_t groups = 0;
  int32_t copies = 0;
  int32_t biases = 0;         // of all samples together
  int32_t window_tokens = 0;  // likewise
  int32_t positions = 0;
  int32_t block_tokens = 0;
  int32_t table_stride = 0;  // blocks of a sequence, a multiple of 4
};

// Places in the pinned memory of one step, from the slot's beginning.
struct SlotLayout {
  size_t input = 0;  // packed by PackStep
  size_t input_bytes = 0;
  size_t results = 0;  // [samples] SampleResult
  size_t times = 0;    // StepTimes
  size_t logits = 0;   // [staged_logits][vocabulary] float
  int32_t staged_logits = 0;
  size_t slot_bytes = 0;
};

// Places in the device's memory, from its beginning.
struct ScratchLayout {
  // The step's arrays; see StepTarget.
  size_t counts = 0, tokens = 0, positions = 0, row_sequence = 0, first_row = 0, row_count = 0;
  size_t first_position = 0, sample_rows = 0, block_tables = 0, params = 0, biases = 0, window_tokens = 0;
  size_t outlet = 0;
  // What a step leaves for the next one, and for the host.
  size_t sampled = 0;  // [samples]
  size_t results = 0;  // [samples] SampleResult
  // Activations.
  size_t hidden = 0;   // [rows, hidden] F32
  size_t normed = 0;   // [max(rows, samples), hidden] T
  size_t qkv = 0;      // [rows, qkv columns] T
  size_t query = 0;    // [rows, query columns] T, rotated
  size_t context = 0;  // [rows, query columns] T
  size_t gate_up = 0;  // [rows, 2 * feed forward] T
  size_t active = 0;   // [rows, feed forward] T
  size_t logits = 0;   // [samples, vocabulary] F32
  // Constants and working memory.
  size_t inverse_frequencies = 0;         // [pairs] F32
  size_t rotary = 0;                      // [positions, pairs] float2
  std::vector<size_t> attention_scratch;  // [layers]; layers of one shape share theirs
  size_t sample_workspace = 0;
  size_t sample_workspace_bytes = 0;
  size_t matmul_workspace = 0;
  size_t handed_on = 0;  // from node to node; see stream_nodes.h
  size_t bytes = 0;
};

AttentionShape ShapeOfAttention(const DeviceModel& model, const tsr_device_layer& layer);

struct ContextLayout {
  StepCapacity capacity;
  int32_t depth = 1;
  SlotLayout slot;
  ScratchLayout scratch;
  size_t pinned_bytes = 0;
  size_t object_bytes = 0;  // on the heap, about

  // kInvalidArgument or kUnsupported names the limit that cannot be.
  static absl::StatusOr<ContextLayout> Plan(const DeviceModel& model, const tsr_device_limits& limits,
                                            const DeviceTraits& traits);
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_CONTEXT_LAYOUT_H_
