// A decode step of few rows as chains (kernels/linear/linear.h): embed; norm + QKV of the first layer; then
// for each layer attention, and in one kernel the output projection, gate and up, down, and the next layer's
// QKV or the head; sample. The other way of regions.h, which serves any step, has a kernel or more for each
// of these.
#ifndef TESSERA_GPU_GRAPH_STREAM_REGIONS_H_
#define TESSERA_GPU_GRAPH_STREAM_REGIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "gpu/graph/regions.h"

namespace tessera::gpu {

// Device memory that chains take for steps of up to kMostStreamedRows rows; 0 where the model's shape has no
// chains.
size_t StreamScratchBytes(const DeviceModel& model, int32_t most_rows);

// Whether steps of this cover run as chains: by shapes, types and the device alone.
bool StreamsRegions(const RegionContext& context, const StepCover& cover);

// All regions but sampling.
absl::Status EnqueueStreamedRegions(const RegionCall& call);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_STREAM_REGIONS_H_
