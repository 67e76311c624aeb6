#include "core/execute/loop.h"

#include <utility>

#include "core/base/status.h"

namespace tessera {
namespace {

// Calls visit(tensor, member) for every weight that the region needs.
template <typename Visit>
void ForEachWeight(const ModelSpec& spec, const Region& region, Visit&& visit) {
  using W = RegionWeights;
  const LayerSpec* layer = region.layer >= 0 ? &spec.layers[static_cast<size_t>(region.layer)] : nullptr;
  switch (region.kind) {
    case RegionKind::kEmbed:
      visit(spec.embedding, &W::matrix);
      break;
    case RegionKind::kNormQkv:
      visit(layer->attention_norm, &W::norm);
      visit(layer->query, &W::query);
      visit(layer->key, &W::key);
      visit(layer->value, &W::value);
      visit(layer->query_bias, &W::query_bias);
      visit(layer->key_bias, &W::key_bias);
      visit(layer->value_bias, &W::value_bias);
      break;
    case RegionKind::kAttention:
    case RegionKind::kSample:
      break;
    case RegionKind::kOutput:
      visit(layer->output, &W::matrix);
      visit(layer->output_bias, &W::matrix_bias);
      break;
    case RegionKind::kNormGateUp:
      visit(layer->feed_forward_norm, &W::norm);
      visit(layer->gate, &W::gate);
      visit(layer->up, &W::up);
      break;
    case RegionKind::kDown:
      visit(layer->down, &W::matrix);
      break;
    case RegionKind::kHead:
      visit(spec.output_norm, &W::norm);
      visit(spec.head, &W::matrix);
      break;
  }
}

}  // namespace

RegionLoop::RegionLoop(const ModelSpec* spec, const Residency* weights, BackendContext* context)
    : spec_(spec), weights_(weights), context_(context), regions_(BuildRegions(*spec)) {}

void RegionLoop::Begin(const StepView* step) noexcept {
  step_ = step;
  next_ = 0;
}

absl::StatusOr<bool> RegionLoop::Run(StopCondition& condition) {
  while (next_ < regions_.size()) {
    const Region& region = regions_[next_];
    TSR_RETURN_IF_ERROR(RunRegion(region));
    ++next_;
    if (region.stop_after && next_ < regions_.size() && condition.ShouldStop()) return false;
  }
  return true;
}

absl::Status RegionLoop::RunRegion(const Region& region) {
  RegionWeights weights;
  TSR_RETURN_IF_ERROR(Acquire(region, &weights));
  absl::Status status = context_->Execute(region, weights, *step_);
  Release(region);
  return status;
}

absl::Status RegionLoop::Acquire(const Region& region, RegionWeights* weights) const {
  absl::Status status;
  int acquired = 0;
  ForEachWeight(*spec_, region, [&](TensorId tensor, WeightView RegionWeights::*member) {
    if (!status.ok()) return;
    absl::StatusOr<WeightView> view = weights_->Acquire(tensor);
    if (view.ok()) {
      weights->*member = *view;
      ++acquired;
    } else {
      status = std::move(view).status();
    }
  });
  if (!status.ok()) {
    ForEachWeight(*spec_, region, [&](TensorId tensor, WeightView RegionWeights::*) {
      if (acquired-- > 0) weights_->Release(tensor);
    });
  }
  return status;
}

void RegionLoop::Release(const Region& region) const noexcept {
  ForEachWeight(*spec_, region,
                [&](TensorId tensor, WeightView RegionWeights::*) { weights_->Release(tensor); });
}

}  // namespace tessera
