#include "core/ranks/rank_shard.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace tessera {
namespace {

// Parts of weights that lie elsewhere.
class SlicedWeights final : public Residency {
 public:
  SlicedWeights(const Residency& whole, const Backend& backend, ShardPlan plan)
      : whole_(whole), backend_(backend), plan_(std::move(plan)) {}
  absl::StatusOr<WeightView> Acquire(TensorId tensor) const override {
    if (tensor == kNoTensor) return WeightView{};
    const TensorSlice& slice = plan_.slices[static_cast<size_t>(tensor)];
    TSR_ASSIGN_OR_RETURN(const WeightView whole, whole_.Acquire(slice.whole));
    const TensorSpec& own = plan_.spec.tensors[static_cast<size_t>(tensor)];
    absl::StatusOr<WeightView> view =
        backend_.Slice(whole, {slice.first_row, own.rows, slice.first_column, own.columns});
    if (!view.ok()) whole_.Release(slice.whole);
    return view;
  }
  void Release(TensorId tensor) const noexcept override {
    if (tensor != kNoTensor) whole_.Release(plan_.slices[static_cast<size_t>(tensor)].whole);
  }

 private:
  const Residency& whole_;
  const Backend& backend_;
  const ShardPlan plan_;
};

// The first layer of stage `stage`, or the number of layers for the stage after the last.
int32_t FirstLayer(int32_t layers, int32_t stages, int32_t stage) {
  return stage * (layers / stages) + std::min(stage, layers % stages);
}

}  // namespace

absl::StatusOr<ShardPlan> PlanRank(const ModelSpec& whole, const RankLayout& layout) {
  const auto layers = static_cast<int32_t>(whole.layers.size());
  if (layout.pipeline > layers) {
    return InvalidArgument("setting 'engine.pipeline'",
                           absl::StrCat(layout.pipeline, " stages; the model has ", layers, " layers"));
  }
  ShardRequest request;
  request.rank = layout.tensor_rank();
  request.ranks = layout.tensor_parallel;
  request.first_layer = FirstLayer(layers, layout.pipeline, layout.stage());
  request.end_layer = FirstLayer(layers, layout.pipeline, layout.stage() + 1);
  return PlanShard(whole, request);
}

absl::StatusOr<RankShard> ShardOfWhole(const ModelSpec& whole, const Residency& weights,
                                       const Backend& backend, const RankLayout& layout) {
  TSR_ASSIGN_OR_RETURN(ShardPlan plan, PlanRank(whole, layout));
  RankShard shard;
  shard.spec = plan.spec;
  shard.weights = std::make_shared<const SlicedWeights>(weights, backend, std::move(plan));
  for (size_t tensor = 0; tensor < shard.spec.tensors.size(); ++tensor) {  // now rather than in a step
    TSR_ASSIGN_OR_RETURN(const WeightView view, shard.weights->Acquire(static_cast<TensorId>(tensor)));
    (void)view;
    shard.weights->Release(static_cast<TensorId>(tensor));
  }
  return shard;
}

}  // namespace tessera
