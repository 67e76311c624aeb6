#include "core/execute/loop.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"

namespace tessera {
namespace {

// Calls visit(tensor, member) for every weight that the region needs.
template <typename Visit>
void ForEachWeight(const ModelSpec& spec, const Region& region, Visit&& visit) {
  using W = RegionWeights;
  // Outside the layers nobody looks at it.
  const LayerSpec* layer = &spec.layers[static_cast<size_t>(std::max(region.layer, 0))];
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

// A region's weights, given back however the region ends.
class HeldWeights {
 public:
  HeldWeights(const ModelSpec& spec, const Residency& residency, const Region& region)
      : spec_(spec), residency_(residency), region_(region) {}
  ~HeldWeights() {
    ForEachWeight(spec_, region_, [this](TensorId tensor, WeightView RegionWeights::*) {
      if (acquired_-- > 0) residency_.Release(tensor);
    });
  }
  HeldWeights(const HeldWeights&) = delete;
  HeldWeights& operator=(const HeldWeights&) = delete;

  absl::Status Acquire() {
    absl::Status status;
    ForEachWeight(spec_, region_, [&](TensorId tensor, WeightView RegionWeights::*member) {
      if (!status.ok()) return;
      absl::StatusOr<WeightView> view = residency_.Acquire(tensor);
      if (view.ok()) {
        views_.*member = *view;
        ++acquired_;
      } else {
        status = std::move(view).status();
      }
    });
    return status;
  }
  const RegionWeights& views() const { return views_; }

 private:
  const ModelSpec& spec_;
  const Residency& residency_;
  const Region& region_;
  RegionWeights views_;
  int acquired_ = 0;
};

}  // namespace

RegionLoop::RegionLoop(const ModelSpec* spec, const Residency* weights, BackendContext* context,
                       Communicator* ranks)
    : spec_(spec), weights_(weights), context_(context), regions_(BuildRegions(*spec)), ranks_(ranks) {
  if (ranks != nullptr) incoming_.resize(static_cast<size_t>(ranks->size()));
  exchanges_ = static_cast<int32_t>(std::count_if(regions_.begin(), regions_.end(), Exchanges));
}

void RegionLoop::Begin(const StepView* step, const CollectiveTag& first) noexcept {
  step_ = step;
  copied_ = false;
  exchanged_ = 0;
  ended_ = false;
  tag_ = first;
  Enter(0);
}

void RegionLoop::Enter(size_t region) noexcept {
  next_ = region;
  met_ = false;
  progress_ = {};
  progress_.turn = static_cast<int32_t>(turns_ % 2);
}

absl::StatusOr<bool> RegionLoop::Run(StopCondition& condition) {
  try {
    absl::StatusOr<bool> done = RunRegions(condition);
    if (!done.ok() && exchanges_left()) (void)Exchange(RankSignal::kFailed, {});
    return done;
  } catch (...) {
    if (exchanges_left()) (void)Exchange(RankSignal::kFailed, {});
    throw;
  }
}

absl::Status RegionLoop::Abandon() noexcept {
  if (!exchanges_left()) return absl::OkStatus();
  return Exchange(RankSignal::kAbandon, {}).status();
}

absl::StatusOr<bool> RegionLoop::RunRegions(StopCondition& condition) {
  if (!copied_) {
    TSR_RETURN_IF_ERROR(context_->CopyBlocks(*step_));
    copied_ = true;
  }
  while (next_ < regions_.size()) {
    const Region& region = regions_[next_];
    const size_t claimed = ranks_ != nullptr ? 1 : Claimed();
    TSR_ASSIGN_OR_RETURN(const bool done, RunRegion(region, condition));
    if (!done) return false;
    // A backend that computes everything on every rank asks for no exchange; the ranks meet all the same.
    if (ranks_ != nullptr && Exchanges(region) && !met_) TSR_RETURN_IF_ERROR(Meet(region));
    Enter(next_ + claimed);
    if (region.stop_after && next_ < regions_.size() && condition.ShouldStop()) return false;
  }
  return true;
}

// How many regions from next_ on the backend does in one call.
size_t RegionLoop::Claimed() const noexcept {
  const absl::Span<const Region> left = absl::MakeConstSpan(regions_).subspan(next_);
  return static_cast<size_t>(
      std::clamp<int32_t>(context_->Claim(left), 1, static_cast<int32_t>(left.size())));
}

// False: left within the region.
absl::StatusOr<bool> RegionLoop::RunRegion(const Region& region, StopCondition& condition) {
  HeldWeights held(*spec_, *weights_, region);
  TSR_RETURN_IF_ERROR(held.Acquire());
  do {
    TSR_RETURN_IF_ERROR(context_->ExecuteSlice(region, held.views(), *step_, condition, &progress_));
    if (progress_.done) return true;
    if (progress_.exchange == ExchangeState::kWanted) TSR_RETURN_IF_ERROR(Meet(region));
  } while (!condition.ShouldStop());
  return false;
}

absl::StatusOr<RankSignal> RegionLoop::Exchange(RankSignal signal, absl::Span<const uint8_t> mine) noexcept {
  ++turns_;
  ++exchanged_;
  const CollectiveTag tag = tag_;
  ++tag_.operation;
  absl::StatusOr<RankSignal> gravest = ranks_->Exchange(tag, signal, mine, absl::MakeSpan(incoming_));
  lost_ = lost_ || !gravest.ok();
  ended_ = !gravest.ok() || *gravest != RankSignal::kGo;
  return gravest;
}

// The exchange of a region that has done its part.
absl::Status RegionLoop::Meet(const Region& region) {
  if (ranks_ == nullptr || !Exchanges(region) || met_) {
    return Internal(RegionName(region.kind),
                    "the backend asks for an exchange that is not in the region list");
  }
  TSR_ASSIGN_OR_RETURN(const RankSignal signal, Exchange(RankSignal::kGo, progress_.outgoing));
  if (signal == RankSignal::kAbandon) return Cancelled(RegionName(region.kind), "the step was abandoned");
  if (signal == RankSignal::kFailed) {
    return Error(ErrorCode::kLost, RegionName(region.kind), "another rank could not go on with the step");
  }
  met_ = true;
  progress_.exchange = ExchangeState::kDone;
  progress_.incoming = incoming_;
  return absl::OkStatus();
}

}  // namespace tessera
