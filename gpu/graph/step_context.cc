#include "gpu/graph/step_context.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/cache/cache_view.h"
#include "gpu/device/trace.h"
#include "gpu/graph/stream_regions.h"
#include "gpu/kernels/cache_append/cache_append.h"

namespace tessera::gpu {
namespace {

// A waiting thread sleeps until a step is about to end, by how long the one before took. Then it looks
// without a pause for a while, and if that was too early, with pauses: the end is noticed at once, and
// waiting takes little of the processor.
constexpr std::chrono::microseconds kWakeBefore{80};
constexpr std::chrono::microseconds kLookFor{150};
constexpr std::chrono::microseconds kPause{20};

DeviceTraits TraitsOf(const tsr_device_limits& limits) {
  DeviceTraits traits;
  if (limits.multiprocessors > 0) traits.multiprocessors = limits.multiprocessors;
  if (limits.compute_capability > 0) traits.compute_capability = limits.compute_capability;
  return traits;
}

StepCover CoverOf(const tsr_device_step& step) {
  StepCover cover;
  cover.rows = step.row_count;
  cover.samples = step.sample_count;
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    (step.sequences[s].row_count == 1 ? cover.decodes : cover.prompts) = true;
  }
  return cover;
}

int32_t WantedLogits(const tsr_device_step& step) {
  return static_cast<int32_t>(std::count_if(step.samples, step.samples + step.sample_count,
                                            [](const auto& sample) { return sample.logits_out != nullptr; }));
}

}  // namespace

absl::Status PlanStepContext(const tsr_device_model& model, const tsr_device_limits& limits,
                             tsr_device_context_memory* memory) {
  TSR_ASSIGN_OR_RETURN(const DeviceModel copy, DeviceModel::Copy(model));
  TSR_ASSIGN_OR_RETURN(const ContextLayout layout, ContextLayout::Plan(copy, limits, TraitsOf(limits)));
  memory->device_bytes = layout.scratch.bytes;
  memory->pinned_bytes = layout.pinned_bytes;
  memory->object_bytes = layout.object_bytes;
  return absl::OkStatus();
}

StepContext::StepContext(Device* device, const tsr_device_limits& limits)
    : device_(device),
      depth_(limits.depth),
      uses_graphs_(limits.no_graphs == 0 && limits.time_regions == 0),
      times_regions_(limits.time_regions != 0),
      uses_library_(limits.no_matrix_library == 0),
      cache_type_(limits.cache_type) {
  context_.api = &device->api();
  context_.batch_invariant = limits.batch_invariant != 0;
  constexpr int kOverlapCapability = 90;  // kernels/common/dependency.cuh
  context_.overlap = limits.no_overlap == 0 && device->compute_capability() >= kOverlapCapability;
  context_.sm_count = device->multiprocessors();
  context_.compute_capability = device->compute_capability();
  context_.chains = !device->shared_by_processes();
  context_.memory_bytes_per_second = device->memory_bytes_per_second();
  times_.struct_size = sizeof(times_);
}

StepContext::~StepContext() {
  if (stream_ != nullptr) api().Drain(stream_);
  if (turn_ended_ != nullptr) {
    device_->turns()->Leave(turn_ended_);
    api().DestroyEvent(turn_ended_);
  }
  graphs_.reset();
  context_.matmul.reset();
  for (const Slot& slot : slots_) {
    if (slot.ended != nullptr) api().DestroyEvent(slot.ended);
    for (cudaEvent_t event : slot.marks.events) api().DestroyEvent(event);
  }
  if (owns_stream_) api().DestroyStream(stream_);
}

absl::StatusOr<std::unique_ptr<StepContext>> StepContext::Create(Device* device,
                                                                 const tsr_device_model& model,
                                                                 const tsr_device_limits& limits) {
  std::unique_ptr<StepContext> context(new StepContext(device, limits));
  TSR_RETURN_IF_ERROR(context->Prepare(model, limits));
  return context;
}

absl::Status StepContext::Prepare(const tsr_device_model& model, const tsr_device_limits& limits) {
  TSR_ASSIGN_OR_RETURN(context_.model, DeviceModel::Copy(model));
  TSR_RETURN_IF_ERROR(context_.model.CheckWeightsAreThere());
  const DeviceTraits traits = {device_->multiprocessors(), device_->compute_capability()};
  TSR_ASSIGN_OR_RETURN(context_.layout, ContextLayout::Plan(context_.model, limits, traits));
  TSR_ASSIGN_OR_RETURN(
      scratch_, DeviceMemory::Create(device_, DeviceMemory::Kind::kDevice, context_.layout.scratch.bytes));
  TSR_ASSIGN_OR_RETURN(
      pinned_, DeviceMemory::Create(device_, DeviceMemory::Kind::kPinned, context_.layout.pinned_bytes));
  context_.arrays = ContextArrays(context_.layout.scratch, scratch_.data());
  stream_ = device_->host_stream();
  if (stream_ == nullptr) {
    TSR_RETURN_IF_ERROR(api().CreateStream(device_->low_priority(), &stream_));
    owns_stream_ = true;
  }
  TSR_RETURN_IF_ERROR(api().CreateEvent(false, &turn_ended_));
  TSR_RETURN_IF_ERROR(MakeSlots());
  TSR_RETURN_IF_ERROR(MakeRotaryTable());
  TSR_RETURN_IF_ERROR(PrepareProducts(&context_, stream_, uses_library_));
  graphs_ = std::make_unique<StepGraphs>(&api());
  return api().Synchronize(stream_);
}

absl::Status StepContext::MakeSlots() {
  const SlotLayout& layout = context_.layout.slot;
  void* mapped = nullptr;
  TSR_RETURN_IF_ERROR(api().DeviceAddress(pinned_.data(), &mapped));
  slots_.resize(static_cast<size_t>(depth_));
  known_tokens_.resize(static_cast<size_t>(context_.layout.capacity.samples));
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    slot.memory.host = pinned_.data() + i * layout.slot_bytes;
    slot.memory.device = static_cast<uint8_t*>(mapped) + i * layout.slot_bytes;
    TSR_RETURN_IF_ERROR(api().CreateEvent(false, &slot.ended));
    if (!times_regions_) continue;
    slot.marks.events.reserve(static_cast<size_t>(RegionCount(context_.model)) + 1);
    for (int mark = 0; mark <= RegionCount(context_.model); ++mark) {
      cudaEvent_t event = nullptr;
      TSR_RETURN_IF_ERROR(api().CreateEvent(true, &event));
      slot.marks.events.push_back(event);
    }
  }
  return absl::OkStatus();
}

absl::Status StepContext::MakeRotaryTable() {
  const std::vector<float>& frequencies = context_.model.inverse_frequencies;
  if (frequencies.empty()) return absl::OkStatus();
  TSR_RETURN_IF_ERROR(api().Copy(context_.arrays.inverse_frequencies, frequencies.data(),
                                 frequencies.size() * sizeof(float), CopyKind::kToDevice, stream_));
  LaunchContext plain = launch();
  plain.overlap = false;
  return api().Do("the rotary table", [&] {
    return LaunchRotaryTable(plain, context_.arrays.inverse_frequencies,
                             static_cast<int32_t>(frequencies.size()),
                             context_.model.description.rotary_magnitude, context_.layout.capacity.positions,
                             context_.arrays.rotary);
  });
}

absl::Status StepContext::CheckCache(const tsr_device_layer& layer, const tsr_device_cache& cache) const {
  if (cache.data != nullptr && cache.type == cache_type_ && cache.kv_heads == layer.kv_heads &&
      cache.head_size == layer.head_size && cache.layer_count > layer.layer_in_group &&
      cache.block_tokens == context_.layout.capacity.block_tokens) {
    return absl::OkStatus();
  }
  return Internal("cache", "its shape or type is not the model's");
}

CacheLayout StepContext::LayoutOf(const tsr_device_layer& layer, const tsr_device_cache& cache) const {
  CacheView view;
  view.data = static_cast<uint8_t*>(cache.data);
  view.type = static_cast<CacheType>(cache.type);
  view.block_tokens = cache.block_tokens;
  view.kv_heads = cache.kv_heads;
  view.head_size = cache.head_size;
  view.layer_count = cache.layer_count;
  CacheLayout layout;
  layout.data = view.data;
  layout.type = view.type == CacheType::kInt8  ? ElementType::kInt8Rows
                : view.type == CacheType::kF16 ? ElementType::kF16
                                               : ElementType::kBF16;
  layout.block_tokens = view.block_tokens;
  layout.kv_heads = view.kv_heads;
  layout.head_size = view.head_size;
  layout.row_bytes = static_cast<int32_t>(view.row_bytes());
  layout.block_bytes = static_cast<int64_t>(view.block_bytes());
  layout.layer_offset_bytes = view.keys(0, layer.layer_in_group) - view.data;
  layout.value_offset_bytes = static_cast<int64_t>(view.plane_bytes());
  return layout;
}

absl::Status StepContext::SetCaches(const tsr_device_cache* caches, int32_t count) {
  ready_ = false;
  if (in_flight_ > 0) return WrongState("set_caches", "a step is in flight");
  if (count != context_.layout.capacity.groups) {
    return Internal("cache", absl::StrCat("the model has ", context_.layout.capacity.groups,
                                          " cache groups, not ", count));
  }
  context_.caches.clear();
  for (const tsr_device_layer& layer : context_.model.layers) {
    const tsr_device_cache& cache = caches[layer.cache_group];
    TSR_RETURN_IF_ERROR(CheckCache(layer, cache));
    context_.caches.push_back(LayoutOf(layer, cache));
  }
  cache_groups_.assign(caches, caches + count);
  TSR_RETURN_IF_ERROR(PrepareKernels(&context_));
  absl::Status dry = DryRun();
  if (!dry.ok()) {
    api().Drain(stream_);
    return dry;
  }
  if (uses_graphs_) {
    // Another stream than that of steps: the host may be using its own meanwhile.
    cudaStream_t capturing = nullptr;
    TSR_RETURN_IF_ERROR(api().CreateStreamLike(stream_, &capturing));
    const absl::Status captured = graphs_->Capture(context_, capturing);
    if (!captured.ok()) api().Drain(capturing);
    api().DestroyStream(capturing);
    if (!captured.ok()) graphs_->Clear();
    TSR_RETURN_IF_ERROR(captured);
  }
  ready_ = true;
  return absl::OkStatus();
}

// A step without rows: CUDA loads a kernel when it is first launched, and that takes memory.
absl::Status StepContext::DryRun() {
  constexpr int32_t kRows = 64;
  RegionCall call;
  call.context = &context_;
  call.launch = launch();
  call.cover.rows = std::min(kRows, context_.layout.capacity.rows);
  call.cover.samples = std::min(call.cover.rows, context_.layout.capacity.samples);
  call.cover.decodes = true;
  call.cover.prompts = true;
  StepInput nothing;
  nothing.groups = context_.layout.capacity.groups;
  TSR_RETURN_IF_ERROR(Unpack(nothing, call.cover, slots_.data()));
  TSR_RETURN_IF_ERROR(EnqueueRegions(call, nullptr));
  return api().Synchronize(stream_);
}

absl::Status StepContext::Unpack(const StepInput& packed, const StepCover& cover, Slot* slot) {
  StepInput input = packed;
  const SlotLayout& places = context_.layout.slot;
  input.outlet.results = reinterpret_cast<SampleResult*>(slot->memory.device + places.results);
  input.outlet.times = reinterpret_cast<StepTimes*>(slot->memory.device + places.times);
  const ContextArrays& arrays = context_.arrays;
  const StepCapacity& capacity = context_.layout.capacity;
  StepTarget target;
  target.row_capacity = cover.rows;
  target.sample_capacity = cover.samples;
  target.table_stride = capacity.table_stride;
  target.counts = arrays.counts;
  target.tokens = arrays.tokens;
  target.positions = arrays.positions;
  target.row_sequence = arrays.row_sequence;
  target.first_row = arrays.first_row;
  target.row_count = arrays.row_count;
  target.first_position = arrays.first_position;
  target.sample_rows = arrays.sample_rows;
  target.block_tables = arrays.block_tables;
  target.max_sequences = capacity.sequences;
  target.params = arrays.params;
  target.biases = arrays.biases;
  target.window_tokens = arrays.window_tokens;
  target.sampled = arrays.sampled;
  target.outlet = arrays.outlet;
  LaunchContext plain = launch();
  plain.overlap = false;
  return api().Do("unpacking a step", [&] { return LaunchUnpackStep(plain, input, target); });
}

absl::Status StepContext::CopyBlocks(const PackedStep& packed) {
  LaunchContext plain = launch();
  plain.overlap = false;
  for (size_t group = 0; group < cache_groups_.size(); ++group) {
    const PackedCopies& copies = packed.copies[group];
    if (copies.count == nullptr) continue;
    const tsr_device_cache& cache = cache_groups_[group];
    const int64_t row_bytes =
        static_cast<int64_t>(CacheRowBytes(static_cast<CacheType>(cache.type), cache.head_size));
    const int64_t block_bytes = 2 * row_bytes * cache.kv_heads * cache.block_tokens * cache.layer_count;
    TSR_RETURN_IF_ERROR(api().Do("copying blocks", [&] {
      return LaunchCopyBlocks(plain, static_cast<uint8_t*>(cache.data), block_bytes,
                              {copies.pairs, copies.count});
    }));
  }
  return absl::OkStatus();
}

absl::Status StepContext::RunStep(const tsr_device_step& step) {
  const TraceRange range("tessera step");
  if (!ready_) return WrongState("run_step", "the caches are not set");
  if (api().lost()) return Error(ErrorCode::kLost, api().place(), "the device was lost");
  if (in_flight_ == depth_) return WrongState("run_step", absl::StrCat(depth_, " steps are in flight"));
  TSR_RETURN_IF_ERROR(CheckStepFits(context_.layout.capacity, step, earlier_samples_));
  Slot& slot = SlotAt(in_flight_);
  absl::Status enqueued = Enqueue(step, &slot);
  if (!enqueued.ok()) {
    api().Drain(stream_);
    if (in_flight_ > 0) RememberTokens(SlotAt(in_flight_ - 1));
    device_knows_tokens_ = false;
    return enqueued;
  }
  slot.begun = std::chrono::steady_clock::now();
  slot.samples = step.samples;
  slot.sample_count = step.sample_count;
  slot.behind = in_flight_ > 0;
  ++in_flight_;
  earlier_samples_ = step.sample_count;
  device_knows_tokens_ = true;
  return absl::OkStatus();
}

absl::Status StepContext::Enqueue(const tsr_device_step& step, Slot* slot) {
  PackedStep packed;
  const MappedMemory input = {slot->memory.host + context_.layout.slot.input,
                              slot->memory.device + context_.layout.slot.input};
  TSR_RETURN_IF_ERROR(PackStep(context_.layout.capacity, step,
                               device_knows_tokens_ ? nullptr : known_tokens_.data(), input, &packed));
  RegionCall call;
  call.context = &context_;
  call.launch = launch();
  call.cover = CoverOf(step);
  const StepGraphs::Graph* const graph =
      uses_graphs_ && !call.cover.prompts ? graphs_->Find(step.row_count) : nullptr;
  if (graph != nullptr) call.cover = graph->cover;
  call.way = graph != nullptr ? graph->way
             : times_regions_ ? StreamWay::kNone
                              : StreamWayOf(context_, call.cover);
  TSR_RETURN_IF_ERROR(Unpack(packed.input, call.cover, slot));
  TSR_RETURN_IF_ERROR(CopyBlocks(packed));
  slot->marked = times_regions_;
  TSR_RETURN_IF_ERROR(EnqueueStepRegions(call, graph, slot));
  TSR_RETURN_IF_ERROR(EnqueueLogits(step, slot));
  return api().Record(slot->ended, stream_);
}

absl::Status StepContext::EnqueueStepRegions(const RegionCall& call, const StepGraphs::Graph* graph,
                                             Slot* slot) {
  const auto enqueue = [&] {
    return graph != nullptr ? api().Launch(graph->executable, stream_)
                            : EnqueueRegions(call, slot->marked ? &slot->marks : nullptr);
  };
  if (call.way != StreamWay::kChains) return enqueue();
  return device_->turns()->Take(&api(), stream_, turn_ended_, enqueue);
}

// Logits that are wanted on the host. More rows than the slot has room for are taken at once, in several
// goes: the next step overwrites them on the device.
absl::Status StepContext::EnqueueLogits(const tsr_device_step& step, Slot* slot) {
  slot->staged_logits = 0;
  const int32_t wanted = WantedLogits(step);
  if (wanted > context_.layout.slot.staged_logits) return TakeLogitsNow(step, slot);
  const auto vocabulary = static_cast<size_t>(context_.model.description.vocabulary_size);
  auto* const staged = reinterpret_cast<float*>(slot->memory.host + context_.layout.slot.logits);
  for (int32_t i = 0; i < step.sample_count; ++i) {
    if (step.samples[i].logits_out == nullptr) continue;
    TSR_RETURN_IF_ERROR(api().Copy(staged + static_cast<size_t>(slot->staged_logits) * vocabulary,
                                   context_.arrays.logits + static_cast<size_t>(i) * vocabulary,
                                   vocabulary * sizeof(float), CopyKind::kToHost, stream_));
    ++slot->staged_logits;
  }
  return absl::OkStatus();
}

absl::Status StepContext::TakeLogitsNow(const tsr_device_step& step, Slot* slot) {
  const auto vocabulary = static_cast<size_t>(context_.model.description.vocabulary_size);
  auto* const staged = reinterpret_cast<float*>(slot->memory.host + context_.layout.slot.logits);
  for (int32_t i = 0; i < step.sample_count; ++i) {
    if (step.samples[i].logits_out == nullptr) continue;
    TSR_RETURN_IF_ERROR(api().Copy(staged, context_.arrays.logits + static_cast<size_t>(i) * vocabulary,
                                   vocabulary * sizeof(float), CopyKind::kToHost, stream_));
    TSR_RETURN_IF_ERROR(api().Synchronize(stream_));
    std::memcpy(step.samples[i].logits_out, staged, vocabulary * sizeof(float));
  }
  return absl::OkStatus();
}

absl::Status StepContext::FinishStep(int64_t timeout_ns, bool* done) {
  *done = false;
  if (in_flight_ == 0) return WrongState("finish_step", "no step is in flight");
  Slot& slot = SlotAt(0);
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const auto timeout = std::chrono::nanoseconds(std::max<int64_t>(timeout_ns, 0));
  const Clock::time_point expected =
      slot.begun > last_end_ ? slot.begun + last_took_ : last_end_ + last_took_;
  bool ended = false;
  absl::Status status = api().HasHappened(slot.ended, true, &ended);
  while (status.ok() && !ended) {
    const Clock::time_point now = Clock::now();
    const auto left = timeout - (now - start);
    if (left <= std::chrono::nanoseconds(0)) return absl::OkStatus();
    const auto early = expected - kWakeBefore - now;
    if (early > std::chrono::nanoseconds(0)) {
      std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(early, left));
    } else if (now > expected + kLookFor) {
      std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(kPause, left));
    }
    status = api().HasHappened(slot.ended, false, &ended);
  }
  const Clock::time_point end = Clock::now();
  last_took_ =
      std::min<std::chrono::nanoseconds>(end - std::max(slot.begun, last_end_), std::chrono::seconds(1));
  last_end_ = end;
  // A step that failed may still be on its way, and its slot is about to be another's.
  if (!status.ok()) api().Drain(stream_);
  if (in_flight_ == 1) RememberTokens(slot);
  first_ = (first_ + 1) % depth_;
  --in_flight_;
  TSR_RETURN_IF_ERROR(status);
  TakeResults(&slot);
  TakeTimes(slot);
  *done = true;
  return absl::OkStatus();
}

void StepContext::RememberTokens(const Slot& slot) {
  const auto* const results =
      reinterpret_cast<const SampleResult*>(slot.memory.host + context_.layout.slot.results);
  for (int32_t i = 0; i < slot.sample_count; ++i) known_tokens_[static_cast<size_t>(i)] = results[i].token;
}

void StepContext::TakeResults(Slot* slot) {
  const auto* const results =
      reinterpret_cast<const SampleResult*>(slot->memory.host + context_.layout.slot.results);
  const auto vocabulary = static_cast<size_t>(context_.model.description.vocabulary_size);
  const auto* staged = reinterpret_cast<const float*>(slot->memory.host + context_.layout.slot.logits);
  for (int32_t i = 0; i < slot->sample_count; ++i) {
    tsr_device_sample& sample = slot->samples[i];
    const SampleResult& result = results[i];
    sample.token = result.token;
    sample.numeric_fault = result.numeric_fault;
    sample.logprob = result.logprob;
    sample.top_count = result.top_count;
    for (int32_t top = 0; top < result.top_count; ++top) {
      sample.top_tokens[top] = result.top_tokens[top];
      sample.top_token_logprobs[top] = result.top_logprobs[top];
    }
    if (sample.logits_out == nullptr || slot->staged_logits == 0) continue;
    std::memcpy(sample.logits_out, staged, vocabulary * sizeof(float));
    staged += vocabulary;
  }
}

void StepContext::TakeTimes(const Slot& slot) {
  const StepTimes ran = *reinterpret_cast<const StepTimes*>(slot.memory.host + context_.layout.slot.times);
  ++times_.steps;
  if (ran.last_ns > ran.first_ns) times_.device_ns += ran.last_ns - ran.first_ns;
  if (slot.behind && ran.first_ns > last_ended_ns_) times_.idle_ns += ran.first_ns - last_ended_ns_;
  last_ended_ns_ = ran.last_ns;
  if (!slot.marked) return;
  for (int region = 0; region < RegionCount(context_.model); ++region) {
    float milliseconds = 0;
    const auto at = static_cast<size_t>(region);
    if (!api().ElapsedMs(slot.marks.events[at], slot.marks.events[at + 1], &milliseconds).ok()) return;
    times_.region_ns[RegionKindOf(context_.model, region)] += static_cast<uint64_t>(milliseconds * 1e6f);
  }
}

void StepContext::AbandonSteps() {
  if (in_flight_ == 0) return;
  api().Drain(stream_);
  in_flight_ = 0;
  earlier_samples_ = 0;
}

}  // namespace tessera::gpu
