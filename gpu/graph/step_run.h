// All regions of a step, put into a stream one after the other; and as graphs, captured once for each number
// of rows that decode steps are rounded up to.
#ifndef TESSERA_GPU_GRAPH_STEP_RUN_H_
#define TESSERA_GPU_GRAPH_STEP_RUN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gpu/graph/regions.h"

namespace tessera::gpu {

// Events between the regions of steps; see StepRun.
struct RegionMarks {
  std::vector<cudaEvent_t> events;  // [RegionCount + 1]
};
int RegionCount(const DeviceModel& model);
// The kind (core/execute/region.h) of the region of that index.
int RegionKindOf(const DeviceModel& model, int region);

// Puts every region into the stream; `marks`: an event before each and behind the last, or null.
absl::Status EnqueueRegions(const RegionCall& call, const RegionMarks* marks);

// Row counts that decode steps are rounded up to: 1, 2, 3, 4 and then by steps of at most a half.
std::vector<int32_t> DecodeBuckets(int32_t most_rows);

// One graph for each bucket.
class StepGraphs {
 public:
  explicit StepGraphs(DeviceApi* api) : api_(api) {}
  ~StepGraphs() { Clear(); }
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // Captures, instantiates and uploads all of them; what was there before is gone. `stream` is used and left
  // empty of work; nothing else may use it. May throw std::bad_alloc.
  absl::Status Capture(const RegionContext& context, cudaStream_t stream);
  void Clear() noexcept;
  // The smallest that covers so many rows; null: none does.
  struct Graph {
    StepCover cover;
    StreamWay way = StreamWay::kNone;
    cudaGraphExec_t executable = nullptr;
  };
  const Graph* Find(int32_t rows) const;

 private:
  absl::Status CaptureOne(const RegionContext& context, cudaStream_t stream, const StepCover& cover);

  DeviceApi* const api_;
  std::vector<Graph> graphs_;  // by rising rows
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_STEP_RUN_H_
