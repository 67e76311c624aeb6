// A step of the table, written into pinned memory in the form that its first node reads (kernels/step_io).
#ifndef TESSERA_GPU_GRAPH_STEP_PACKET_H_
#define TESSERA_GPU_GRAPH_STEP_PACKET_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "core/device/device_module.h"
#include "gpu/graph/context_layout.h"
#include "gpu/kernels/step_io/step_io.h"

namespace tessera::gpu {

// Pinned memory as both sides see it.
struct MappedMemory {
  uint8_t* host = nullptr;
  uint8_t* device = nullptr;
};

// The most bytes that PackStep writes.
size_t PacketBytes(const StepCapacity& capacity);

// A cache group's copies, in their order.
struct PackedCopies {
  const int32_t* pairs = nullptr;  // [count][2]: from, to
  const int32_t* count = nullptr;
};

// Pointers are as the device sees them.
struct PackedStep {
  StepInput input;  // without the outlet
  // By cache group; count null: it has none.
  PackedCopies copies[kMostCacheGroups];
};

// Whether a step has a number or an index that would lead outside of the context's memory. What a row, a
// position and a block mean was checked by who made the step. `earlier_samples`: of the step before.
absl::Status CheckStepFits(const StepCapacity& capacity, const tsr_device_step& step,
                           int32_t earlier_samples);

// `known_tokens`: what the step before sampled, where the device does not have it any more; else null.
// kLimitExceeded: more biases or window tokens than there is room for. Allocates nothing.
absl::Status PackStep(const StepCapacity& capacity, const tsr_device_step& step, const int32_t* known_tokens,
                      MappedMemory memory, PackedStep* packed);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_STEP_PACKET_H_
