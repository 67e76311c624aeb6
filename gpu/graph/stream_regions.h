// A decode step by fused products, which stream the weights once: embed; norm + QKV of the first layer; then
// for each layer attention, output projection, gate and up, down, and the next layer's QKV or the head. With
// few rows what stands between two attentions is one kernel, a chain (kernels/linear/linear.h); with more
// rows it is one a product (kernels/wide_linear/wide_linear.h). The other way of regions.h, which serves any
// step, has separate norms, rotation and activation around the vendor's products.
#ifndef TESSERA_GPU_GRAPH_STREAM_REGIONS_H_
#define TESSERA_GPU_GRAPH_STREAM_REGIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "gpu/graph/regions.h"

namespace tessera::gpu {

// Device memory for what products hand on, in steps of up to `most_rows` rows; 0 where the model's shape does
// not fit.
size_t StreamScratchBytes(const DeviceModel& model, int32_t most_rows);

// How steps of this cover run: by shapes, types and the device alone. Looks at every layer: where a step has
// a graph, its way was found when that was captured.
StreamWay StreamWayOf(const RegionContext& context, const StepCover& cover);

// All regions but sampling, by call.way, which is not kNone.
absl::Status EnqueueStreamedRegions(const RegionCall& call);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_STREAM_REGIONS_H_
