#include "core/device/device_context.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <new>
#include <type_traits>
#include <utility>

#include "core/base/status.h"
#include "core/device/device_module_loader.h"
#include "core/execute/step_check.h"

namespace tessera {
namespace {

// FinishStep returns at the latest so long after a pause was asked for.
constexpr int64_t kWaitNs = 100'000;

static_assert(kMaxTopLogprobs == TSR_DEVICE_MOST_TOP_LOGPROBS);
static_assert(kMaxLogitBiases == TSR_DEVICE_MOST_BIASES);
static_assert(std::size(tsr_device_times{}.region_ns) >= kRegionKinds);

// Lists of biases are handed on where they lie.
using Bias = std::pair<int32_t, float>;
static_assert(std::is_standard_layout_v<Bias>);
static_assert(sizeof(Bias) == sizeof(tsr_device_bias));
static_assert(offsetof(Bias, second) == offsetof(tsr_device_bias, bias));

}  // namespace

absl::StatusOr<std::unique_ptr<BackendContext>> DeviceContext::Create(std::shared_ptr<Device> device,
                                                                      const ModelSpec& spec,
                                                                      const BackendLimits& limits,
                                                                      const Residency& weights,
                                                                      size_t scratch_bytes) {
  TSR_ASSIGN_OR_RETURN(DeviceModel model, DeviceModel::Create(spec, &weights));
  std::unique_ptr<DeviceContext> context(
      new DeviceContext(std::move(device), spec, limits, std::move(model), scratch_bytes));
  const tsr_device_limits wanted = DeviceLimits(limits, kDeviceDepth);
  if (context->functions_.create_context(context->device_->handle(), &context->model_.get(), &wanted,
                                         &context->context_, &context->failure_) != 0) {
    return StatusOf(context->failure_);
  }
  return std::unique_ptr<BackendContext>(std::move(context));
}

DeviceContext::DeviceContext(std::shared_ptr<Device> device, const ModelSpec& spec,
                             const BackendLimits& limits, DeviceModel model, size_t scratch_bytes)
    : device_(std::move(device)),
      functions_(device_->functions()),
      spec_(spec),
      limits_(limits),
      model_(std::move(model)),
      scratch_bytes_(scratch_bytes),
      caches_(spec.cache_groups.size()),
      sequences_(static_cast<size_t>(limits.max_sequences)),
      copies_(sequences_.size() * spec.cache_groups.size()),
      tokens_(static_cast<size_t>(limits.max_rows)),
      sources_(tokens_.size()) {
  for (Flight& flight : flights_) flight.samples.resize(static_cast<size_t>(limits.max_samples));
}

DeviceContext::~DeviceContext() {
  if (context_ != nullptr) functions_.destroy_context(context_);
}

absl::Status DeviceContext::Execute(const Region& region, const RegionWeights&,
                                    const StepView& step) noexcept {
  try {
    if (region.kind != RegionKind::kEmbed) return Internal("device", "a step begins with its first region");
    absl::Status status = Check(step);
    if (status.ok()) status = Submit(step);
    before_failed_ = !status.ok();
    samples_before_ = step.sample_count;
    return status;
  } catch (const std::bad_alloc&) {  // of an error's text
    return BareError(ErrorCode::kOutOfMemory);
  }
}

absl::Status DeviceContext::Check(const StepView& step) const {
  TSR_RETURN_IF_ERROR(CheckStep(spec_, limits_, step, samples_before_));
  if (static_cast<size_t>(step.copy_count) <= copies_.size() && in_flight_ < kDeviceDepth) {
    return absl::OkStatus();
  }
  return Internal("step", "it copies more blocks than it can have, or too many are in flight");
}

absl::Status DeviceContext::Submit(const StepView& step) {
  if (lost_) return Error(ErrorCode::kLost, device_->info().name, "the device was lost");
  TSR_RETURN_IF_ERROR(SetCaches(step.caches));
  Flight& next = flight(in_flight_);
  next.step = &step;
  FillTokens(step);
  FillSequences(step);
  FillSamples(step, next);
  tsr_device_step wanted = {};
  wanted.struct_size = sizeof(wanted);
  wanted.row_count = step.row_count;
  wanted.sequence_count = step.sequence_count;
  wanted.copy_count = step.copy_count;
  wanted.sample_count = step.sample_count;
  wanted.tokens = tokens_.data();
  wanted.positions = step.positions;
  wanted.sources = sources_.data();
  wanted.sequences = sequences_.data();
  wanted.copies = copies_.data();
  wanted.samples = next.samples.data();
  if (functions_.run_step(context_, &wanted, &failure_) != 0) return Failed();
  ++in_flight_;
  return absl::OkStatus();
}

absl::Status DeviceContext::SetCaches(const CacheView* caches) {
  if (caches_set_) return absl::OkStatus();
  for (size_t group = 0; group < caches_.size(); ++group) {
    const CacheView& from = caches[group];
    tsr_device_cache& to = caches_[group];
    to.data = from.data;
    to.type = static_cast<int32_t>(from.type);
    to.block_tokens = from.block_tokens;
    to.kv_heads = from.kv_heads;
    to.head_size = from.head_size;
    to.layer_count = from.layer_count;
    to.window_tokens = spec_.cache_groups[group].window_tokens;
  }
  const auto count = static_cast<int32_t>(caches_.size());
  if (functions_.set_caches(context_, caches_.data(), count, &failure_) != 0) return Failed();
  caches_set_ = true;
  return absl::OkStatus();
}

// Where the step before never reached the device, its samples are nowhere: the rows that would begin with
// them are void, and any token does.
void DeviceContext::FillTokens(const StepView& step) noexcept {
  for (int32_t row = 0; row < step.row_count; ++row) {
    const auto at = static_cast<size_t>(row);
    const bool sampled = step.tokens[row] == kSampledToken;
    tokens_[at] = sampled && before_failed_ ? 0 : step.tokens[row];
    sources_[at] = sampled && !before_failed_ ? step.sources[row] : -1;
  }
}

void DeviceContext::FillSequences(const StepView& step) noexcept {
  for (int32_t i = 0; i < step.sequence_count; ++i) {
    const SequenceView& from = step.sequences[i];
    sequences_[static_cast<size_t>(i)] = {from.first_row, from.row_count, from.first_position, 0,
                                          from.blocks};
  }
  for (int32_t i = 0; i < step.copy_count; ++i) {
    const BlockCopy& from = step.copies[i];
    copies_[static_cast<size_t>(i)] = {from.group, from.from, from.to};
  }
}

void DeviceContext::FillSamples(const StepView& step, Flight& flight) noexcept {
  for (int32_t i = 0; i < step.sample_count; ++i) {
    const SampleRow& from = step.samples[i];
    const SamplingParams& params = *from.params;
    tsr_device_sample& to = flight.samples[static_cast<size_t>(i)];
    to.row = from.row;
    to.temperature = params.temperature;
    to.top_k = params.top_k;
    to.top_p = params.top_p;
    to.min_p = params.min_p;
    to.repetition_penalty = params.repetition_penalty;
    to.frequency_penalty = params.frequency_penalty;
    to.presence_penalty = params.presence_penalty;
    to.penalty_window_tokens = params.penalty_window_tokens;
    to.top_logprobs = params.top_logprobs;
    to.seed = params.seed;
    to.position = from.position;
    to.bias = reinterpret_cast<const tsr_device_bias*>(params.logit_bias.data());
    to.bias_count = static_cast<int32_t>(params.logit_bias.size());
    to.history = from.history;
    to.history_count = from.history_count;
    to.logits_out = from.logits_out;
    to.token = -1;
    to.numeric_fault = 0;
    to.logprob = 0;
    to.top_count = 0;
  }
}

absl::StatusOr<bool> DeviceContext::FinishStep(PauseSource& pause) noexcept {
  try {
    int32_t done = 0;
    for (;;) {
      if (functions_.finish_step(context_, kWaitNs, &done, &failure_) != 0) break;
      if (done != 0) break;
      if (pause.ShouldPause()) return false;
    }
    const Flight& oldest = flight(0);
    first_ = (first_ + 1) % kDeviceDepth;
    --in_flight_;
    if (done == 0) return Failed();
    TakeResults(oldest);
    TakeTimes();
    return true;
  } catch (const std::bad_alloc&) {  // of an error's text
    return BareError(ErrorCode::kOutOfMemory);
  }
}

void DeviceContext::TakeResults(const Flight& flight) noexcept {
  for (int32_t i = 0; i < flight.step->sample_count; ++i) {
    const tsr_device_sample& from = flight.samples[static_cast<size_t>(i)];
    SampleRow& to = flight.step->samples[i];
    to.numeric_fault = from.numeric_fault != 0;
    to.token = to.numeric_fault ? -1 : from.token;
    to.logprob = from.logprob;
    to.top_count = std::clamp<int32_t>(from.top_count, 0, kMaxTopLogprobs);
    std::copy_n(from.top_tokens, to.top_count, to.top_tokens);
    std::copy_n(from.top_token_logprobs, to.top_count, to.top_logprobs);
  }
}

void DeviceContext::TakeTimes() noexcept {
  tsr_device_times times = {};
  times.struct_size = sizeof(times);
  functions_.times(context_, &times);
  times_.steps = times.steps;
  times_.busy_ns = times.device_ns;
  times_.idle_ns = times.idle_ns;
  std::copy_n(times.region_ns, kRegionKinds, times_.region_ns);
}

absl::Status DeviceContext::Failed() {
  lost_ = lost_ || failure_.lost != 0;
  return StatusOf(failure_);
}

void DeviceContext::AbandonSteps() noexcept {
  functions_.abandon_steps(context_);
  in_flight_ = 0;
  samples_before_ = 0;
}

}  // namespace tessera
