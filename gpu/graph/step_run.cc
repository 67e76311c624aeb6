#include "gpu/graph/step_run.h"

#include <algorithm>

#include "core/base/status.h"
#include "core/execute/region.h"
#include "gpu/device/trace.h"
#include "gpu/graph/stream_regions.h"

namespace tessera::gpu {
namespace {

// A layer's regions, in their order.
struct LayerRegion {
  const char* name;
  RegionKind kind;
  RegionFunctions::OfLayer RegionFunctions::*function;
};
constexpr LayerRegion kLayerRegions[] = {
    {"norm_qkv", RegionKind::kNormQkv, &RegionFunctions::norm_qkv},
    {"attention", RegionKind::kAttention, &RegionFunctions::attention},
    {"output", RegionKind::kOutput, &RegionFunctions::output},
    {"norm_gate_up", RegionKind::kNormGateUp, &RegionFunctions::norm_gate_up},
    {"down", RegionKind::kDown, &RegionFunctions::down},
};
constexpr int kRegionsOfLayer = 5;

}  // namespace

int RegionCount(const DeviceModel& model) {
  return 3 + kRegionsOfLayer * static_cast<int>(model.layers.size());
}

int RegionKindOf(const DeviceModel& model, int region) {
  const int count = RegionCount(model);
  if (region == 0) return static_cast<int>(RegionKind::kEmbed);
  if (region == count - 2) return static_cast<int>(RegionKind::kHead);
  if (region == count - 1) return static_cast<int>(RegionKind::kSample);
  return static_cast<int>(kLayerRegions[(region - 1) % kRegionsOfLayer].kind);
}

absl::Status EnqueueRegions(const RegionCall& call, const RegionMarks* marks) {
  const RegionContext& context = *call.context;
  if (call.way != StreamWay::kNone) {
    TSR_RETURN_IF_ERROR(EnqueueStreamedRegions(call));
    return GeneralRegions().sample(call);
  }
  const RegionFunctions& functions = RegionsFor(context, call.cover);
  int marked = 0;
  const auto mark = [&]() -> absl::Status {
    if (marks == nullptr) return absl::OkStatus();
    return context.api->Record(marks->events[static_cast<size_t>(marked++)], call.launch.stream);
  };
  TSR_RETURN_IF_ERROR(mark());
  TSR_RETURN_IF_ERROR(functions.embed(call));
  for (int layer = 0; layer < static_cast<int>(context.model.layers.size()); ++layer) {
    for (const LayerRegion& region : kLayerRegions) {
      TSR_RETURN_IF_ERROR(mark());
      const TraceRange range(region.name);
      TSR_RETURN_IF_ERROR((functions.*region.function)(call, layer));
    }
  }
  TSR_RETURN_IF_ERROR(mark());
  TSR_RETURN_IF_ERROR(functions.head(call));
  TSR_RETURN_IF_ERROR(mark());
  TSR_RETURN_IF_ERROR(functions.sample(call));
  return mark();
}

std::vector<int32_t> DecodeBuckets(int32_t most_rows) {
  std::vector<int32_t> rows = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48};
  for (int32_t next = 64; next < most_rows; next *= 2) {
    rows.push_back(next);
    rows.push_back(next + next / 2);
  }
  rows.erase(
      std::remove_if(rows.begin(), rows.end(), [most_rows](int32_t count) { return count >= most_rows; }),
      rows.end());
  rows.push_back(most_rows);
  return rows;
}

void StepGraphs::Clear() noexcept {
  for (const Graph& graph : graphs_) api_->DestroyExecutable(graph.executable);
  graphs_.clear();
}

absl::Status StepGraphs::Capture(const RegionContext& context, cudaStream_t stream) {
  Clear();
  const StepCapacity& capacity = context.layout.capacity;
  const std::vector<int32_t> buckets = DecodeBuckets(capacity.sequences);
  graphs_.reserve(buckets.size());
  for (const int32_t rows : buckets) {
    StepCover cover;
    cover.rows = rows;
    cover.samples = std::min(rows, capacity.samples);
    cover.decodes = true;
    TSR_RETURN_IF_ERROR(CaptureOne(context, stream, cover));
  }
  return context.api->Synchronize(stream);
}

absl::Status StepGraphs::CaptureOne(const RegionContext& context, cudaStream_t stream,
                                    const StepCover& cover) {
  RegionCall call;
  call.context = &context;
  call.cover = cover;
  call.launch = {stream, context.sm_count, context.overlap};
  call.way = StreamWayOf(context, cover);
  TSR_RETURN_IF_ERROR(api_->BeginCapture(stream));
  const absl::Status enqueued = EnqueueRegions(call, nullptr);
  cudaGraph_t graph = nullptr;
  absl::Status ended = enqueued.ok() ? api_->EndCapture(stream, &graph) : enqueued;
  if (!ended.ok()) {
    api_->AbandonCapture(stream);
    return ended;
  }
  Graph made;
  made.cover = cover;
  made.way = call.way;
  const absl::Status instantiated = api_->Instantiate(graph, &made.executable);
  api_->DestroyGraph(graph);
  TSR_RETURN_IF_ERROR(instantiated);
  graphs_.push_back(made);
  return api_->Upload(made.executable, stream);
}

const StepGraphs::Graph* StepGraphs::Find(int32_t rows) const {
  const auto found = std::find_if(graphs_.begin(), graphs_.end(),
                                  [rows](const Graph& graph) { return graph.cover.rows >= rows; });
  return found == graphs_.end() ? nullptr : &*found;
}

}  // namespace tessera::gpu
