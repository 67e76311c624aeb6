#include "tests/doubles/simulated_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/base/status.h"

namespace tessera {
namespace {

uint64_t Mix(uint64_t state, uint64_t value) {
  uint64_t z = (state ^ value * 0x9e3779b97f4a7c15u) + 0x632be59bd9b4e019u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint64_t EmbedState(int32_t token) { return Mix(1, static_cast<uint64_t>(token)); }
uint64_t AfterRegion(uint64_t state, RegionKind kind) {
  return Mix(state, 100 + static_cast<uint64_t>(kind));
}

// Letters: text that every tokenizer of the tests can render, and no end token.
int32_t TokenOf(uint64_t state, const SamplingParams& params, uint64_t position,
                absl::Span<const int32_t> history) {
  if (params.temperature > 0) state = Mix(Mix(state, params.seed), position);
  for (const int32_t token : history) state = Mix(state, static_cast<uint64_t>(token));
  return 3 + 'a' + static_cast<int32_t>(state % 26);
}

float LogitOf(uint64_t state, int32_t token) {
  return static_cast<float>(Mix(state, static_cast<uint64_t>(token)) % 4096) / 64.0f - 32.0f;
}

void Raise(std::atomic<int64_t>& most, int64_t value) {
  int64_t seen = most.load();
  while (value > seen && !most.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace

uint64_t SimulatedModel::State(absl::Span<const int32_t> tokens) const {
  std::vector<uint64_t> states;
  for (const int32_t token : tokens) states.push_back(EmbedState(token));
  for (int32_t layer = 0; layer < layers_; ++layer) {
    uint64_t prefix = 0;
    for (size_t position = 0; position < states.size(); ++position) {
      prefix = Mix(Mix(prefix, states[position]), position);
      uint64_t& state = states[position];
      state = Mix(state, prefix);
      for (const RegionKind kind : {RegionKind::kOutput, RegionKind::kNormGateUp, RegionKind::kDown}) {
        state = AfterRegion(state, kind);
      }
    }
  }
  return AfterRegion(states.back(), RegionKind::kHead);
}

int32_t SimulatedModel::NextToken(absl::Span<const int32_t> tokens, const SamplingParams& params,
                                  absl::Span<const int32_t> history) const {
  return TokenOf(State(tokens), params, tokens.size(), history);
}

std::vector<int32_t> SimulatedModel::Continue(std::vector<int32_t> prompt, size_t count) const {
  const size_t start = prompt.size();
  for (size_t i = 0; i < count; ++i) prompt.push_back(NextToken(prompt, SamplingParams()));
  return {prompt.begin() + static_cast<std::ptrdiff_t>(start), prompt.end()};
}

std::vector<float> SimulatedModel::Logits(absl::Span<const int32_t> tokens, int32_t vocabulary) const {
  const uint64_t state = State(tokens);
  std::vector<float> logits;
  for (int32_t token = 0; token < vocabulary; ++token) logits.push_back(LogitOf(state, token));
  return logits;
}

void Simulation::FailAt(int64_t step, int64_t region, absl::Status status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  failures_[{step, region}] = std::move(status);
}

void Simulation::LoseAt(int64_t step, int64_t region) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lose_at_ = {step, region};
}

void Simulation::TakeTime(VirtualClock* clock, int64_t region_ns) {
  const std::lock_guard<std::mutex> lock(mutex_);
  clock_ = clock;
  region_ns_ = region_ns;
}

void Simulation::FaultOn(int32_t input_token) {
  const std::lock_guard<std::mutex> lock(mutex_);
  faults_.insert(input_token);
}

void Simulation::Override(std::function<int32_t(uint64_t)> choose) {
  const std::lock_guard<std::mutex> lock(mutex_);
  choose_ = std::move(choose);
}

void Simulation::BeforeRegion(std::function<void(const Call&)> hook) {
  const std::lock_guard<std::mutex> lock(mutex_);
  hook_ = std::move(hook);
}

void Simulation::HoldAt(int64_t step, int64_t region) {
  const std::lock_guard<std::mutex> lock(mutex_);
  hold_at_ = {step, region};
  held_ = released_ = false;
}

void Simulation::HoldAtTask(int64_t task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  hold_at_task_ = task;
  held_ = released_ = false;
}

void Simulation::WaitUntilHeld() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return held_; });
}

void Simulation::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  released_ = true;
  hold_at_ = {-1, -1};
  hold_at_task_ = -1;
  changed_.notify_all();
}

void Simulation::Hold(std::unique_lock<std::mutex>& lock) {
  held_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return released_; });
}

void Simulation::TakeTask() noexcept {
  std::unique_lock<std::mutex> lock(mutex_);
  if (hold_at_task_ == tasks_.load()) Hold(lock);
  if (clock_ != nullptr) clock_->Advance(region_ns_);
  tasks_.fetch_add(1);
}

absl::Status Simulation::Enter(const Call& call) noexcept {
  std::function<void(const Call&)> hook;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    hook = hook_;
  }
  if (hook) hook(call);
  std::unique_lock<std::mutex> lock(mutex_);
  if (hold_at_ == std::make_pair(call.step, call.region)) Hold(lock);
  if (clock_ != nullptr) clock_->Advance(region_ns_);
  tasks_.fetch_add(1);
  if (lose_at_ == std::make_pair(call.step, call.region)) lost_.store(true);
  if (lost_.load()) return Error(ErrorCode::kLost, "device", "gone on purpose");
  const auto failure = failures_.find({call.step, call.region});
  return failure == failures_.end() ? absl::OkStatus() : failure->second;
}

bool Simulation::Faults(int32_t input_token) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return faults_.count(input_token) != 0;
}

int32_t Simulation::Overridden(uint64_t position, int32_t token) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int32_t chosen = choose_ ? choose_(position) : -1;
  return chosen >= 0 ? chosen : token;
}

class SimulatedContext final : public BackendContext {
 public:
  SimulatedContext(const ModelSpec& spec, const BackendLimits& limits, std::shared_ptr<Simulation> simulation)
      : spec_(spec),
        limits_(limits),
        simulation_(std::move(simulation)),
        depth_(simulation_->depth_.load()),
        states_(static_cast<size_t>(limits.max_rows)),
        tokens_(static_cast<size_t>(limits.max_rows)),
        sampled_(static_cast<size_t>(limits.max_samples)) {
    noted_.reserve(static_cast<size_t>(depth_));
    for (const CacheGroupSpec& group : spec.cache_groups) {
      for (size_t i = 0; i < group.layers.size(); ++i) {
        layer_in_group_[group.layers[i]] = static_cast<int32_t>(i);
      }
    }
    simulation_->contexts_.fetch_add(1);
  }
  ~SimulatedContext() override { simulation_->contexts_.fetch_sub(1); }

  void BeginStep(const StepView&) noexcept override { simulation_->begin_steps_.fetch_add(1); }
  void EndStep() noexcept override { simulation_->end_steps_.fetch_add(1); }
  size_t scratch_bytes() const noexcept override { return states_.size() * sizeof(uint64_t); }

  int32_t depth() const noexcept override { return depth_; }
  bool lost() const noexcept override { return simulation_->lost_.load(); }
  void AbandonSteps() noexcept override { noted_.clear(); }

  absl::StatusOr<bool> FinishStep(PauseSource& pause) noexcept override {
    if (depth_ == 1) return true;
    Noted& noted = noted_.front();
    while (noted.done < noted.regions.size()) {
      const absl::Status status = Compute(noted.regions[noted.done], *noted.step);
      if (!status.ok()) {
        noted_.erase(noted_.begin());
        return status;
      }
      if (++noted.done < noted.regions.size() && pause.ShouldPause()) return false;
    }
    noted_.erase(noted_.begin());
    return true;
  }

  // All tasks but the last only take their time.
  absl::Status ExecuteSlice(const Region& region, const RegionWeights& weights, const StepView& step,
                            PauseSource& pause, RegionProgress* progress) noexcept override {
    while (++progress->next < simulation_->tasks_a_region_.load()) {
      simulation_->TakeTask();
      if (pause.ShouldPause()) return absl::OkStatus();
    }
    progress->done = true;
    return Execute(region, weights, step);
  }

  absl::Status Execute(const Region& region, const RegionWeights&, const StepView& step) noexcept override {
    if (depth_ == 1) return Compute(region, step);
    if (region.kind == RegionKind::kEmbed) noted_.push_back({&step, {}, 0});
    noted_.back().regions.push_back(region);
    return absl::OkStatus();
  }

 private:
  struct Noted {
    const StepView* step;
    std::vector<Region> regions;
    size_t done;
  };

  absl::Status Compute(const Region& region, const StepView& step) noexcept {
    if (region.kind == RegionKind::kEmbed) {
      step_ = simulation_->steps_.fetch_add(1);
      region_ = 0;
      Resolve(step);
    }
    Simulation::Call call;
    call.step = step_;
    call.region = region_++;
    call.kind = region.kind;
    call.view = &step;
    simulation_->regions_.fetch_add(1);
    const absl::Status status = simulation_->Enter(call);
    if (!status.ok()) {
      Spoil(step);
      spoiled_through_ = step_ + depth_ - 1;
      return status;
    }
    if (!Fits(step)) return Internal("simulated backend", "the step breaks the limits it was created with");
    ComputeRows(region, step);
    return absl::OkStatus();
  }

  // Slots become the tokens that the step before has sampled: its device's own memory, not the host's.
  void Resolve(const StepView& step) {
    for (int32_t row = 0; row < step.row_count; ++row) {
      tokens_[row] = step.tokens[row] == kSampledToken ? sampled_[step.sources[row]] : step.tokens[row];
    }
  }

  bool Fits(const StepView& step) const {
    Raise(simulation_->most_rows_, step.row_count);
    Raise(simulation_->most_sequences_, step.sequence_count);
    int32_t rows = 0;
    for (int32_t i = 0; i < step.sequence_count; ++i) {
      const SequenceView& sequence = step.sequences[i];
      if (sequence.first_row != rows || sequence.row_count < 1) return false;
      rows += sequence.row_count;
      if (sequence.first_position + sequence.row_count > limits_.max_positions) return false;
    }
    return rows == step.row_count && step.row_count <= limits_.max_rows &&
           step.sequence_count <= limits_.max_sequences && step.sample_count <= limits_.max_samples;
  }

  void ComputeRows(const Region& region, const StepView& step) {
    switch (region.kind) {
      case RegionKind::kEmbed:
        for (int32_t row = 0; row < step.row_count; ++row) states_[row] = EmbedState(tokens_[row]);
        return;
      case RegionKind::kNormQkv:
        return ForEachRow(step, [&](const SequenceView& sequence, int32_t row) {
          Store(region.layer, step, sequence, step.positions[row], states_[row],
                static_cast<uint64_t>(step.positions[row]));
        });
      case RegionKind::kAttention:
        return ForEachRow(step, [&](const SequenceView& sequence, int32_t row) {
          states_[row] = Mix(states_[row], Prefix(region.layer, step, sequence, step.positions[row]));
        });
      case RegionKind::kOutput:
      case RegionKind::kNormGateUp:
      case RegionKind::kDown:
      case RegionKind::kHead:
        for (int32_t row = 0; row < step.row_count; ++row)
          states_[row] = AfterRegion(states_[row], region.kind);
        return;
      case RegionKind::kSample:
        for (int32_t i = 0; i < step.sample_count; ++i) {
          Sample(&step.samples[i]);
          sampled_[i] = std::max(step.samples[i].token, 0);
        }
        return;
    }
  }

  template <typename Visit>
  void ForEachRow(const StepView& step, Visit&& visit) {
    for (int32_t i = 0; i < step.sequence_count; ++i) {
      const SequenceView& sequence = step.sequences[i];
      for (int32_t row = 0; row < sequence.row_count; ++row) visit(sequence, sequence.first_row + row);
    }
  }

  // A position's place in its layer's keys (or values): eight bytes of the first head.
  uint8_t* Slot(int32_t layer, const StepView& step, const SequenceView& sequence, int32_t position,
                bool value) {
    const int32_t group = spec_.layers[static_cast<size_t>(layer)].cache_group;
    const CacheView& cache = step.caches[group];
    const int32_t block = sequence.blocks[group][position / cache.block_tokens];
    const int32_t in_group = layer_in_group_[layer];
    uint8_t* plane = value ? cache.values(block, in_group) : cache.keys(block, in_group);
    return plane + static_cast<size_t>(position % cache.block_tokens) * cache.head_size * sizeof(float);
  }

  void Store(int32_t layer, const StepView& step, const SequenceView& sequence, int32_t position,
             uint64_t key, uint64_t value) {
    std::memcpy(Slot(layer, step, sequence, position, false), &key, sizeof(key));
    std::memcpy(Slot(layer, step, sequence, position, true), &value, sizeof(value));
  }

  uint64_t Prefix(int32_t layer, const StepView& step, const SequenceView& sequence, int32_t last) {
    uint64_t prefix = 0;
    for (int32_t position = 0; position <= last; ++position) {
      uint64_t key, value;
      std::memcpy(&key, Slot(layer, step, sequence, position, false), sizeof(key));
      std::memcpy(&value, Slot(layer, step, sequence, position, true), sizeof(value));
      if (value != static_cast<uint64_t>(position) && step_ > spoiled_through_)
        simulation_->wrong_positions_.fetch_add(1);
      prefix = Mix(Mix(prefix, key), value);
    }
    return prefix;
  }

  // A step that failed may have written anything where its rows belong.
  void Spoil(const StepView& step) {
    for (int32_t layer = 0; layer < static_cast<int32_t>(spec_.layers.size()); ++layer) {
      ForEachRow(step, [&](const SequenceView& sequence, int32_t row) {
        Store(layer, step, sequence, step.positions[row], 0xdeadbeef, 0xdeadbeef);
      });
    }
  }

  void Sample(SampleRow* sample) {
    const uint64_t state = states_[sample->row];
    const SamplingParams& params = *sample->params;
    sample->numeric_fault = simulation_->Faults(tokens_[sample->row]);
    sample->token = -1;
    if (sample->logits_out != nullptr) {
      for (int32_t token = 0; token < spec_.vocabulary_size; ++token) {
        sample->logits_out[token] =
            sample->numeric_fault ? std::numeric_limits<float>::quiet_NaN() : LogitOf(state, token);
      }
    }
    if (sample->numeric_fault) return;
    sample->token = simulation_->Overridden(
        sample->position, TokenOf(state, params, sample->position,
                                  {sample->history, static_cast<size_t>(sample->history_count)}));
    sample->logprob = -static_cast<float>(sample->token);
    sample->top_count = std::max(params.top_logprobs, 0);
    for (int32_t i = 0; i < sample->top_count; ++i) {
      sample->top_tokens[i] = sample->token + i;
      sample->top_logprobs[i] = sample->logprob - static_cast<float>(i);
    }
  }

  const ModelSpec& spec_;
  const BackendLimits limits_;
  const std::shared_ptr<Simulation> simulation_;
  const int32_t depth_;
  std::map<int32_t, int32_t> layer_in_group_;
  std::vector<uint64_t> states_;  // [rows]
  std::vector<int32_t> tokens_;   // [rows]
  std::vector<int32_t> sampled_;  // [samples]: of the step computed last
  std::vector<Noted> noted_;      // executed and not finished, the oldest first
  int64_t step_ = 0;
  int64_t region_ = 0;
  int64_t spoiled_through_ = -1;  // steps that may hold void rows behind those of one that failed
};

absl::StatusOr<ContextMemory> SimulatedBackend::PlanContext(const ModelSpec&,
                                                            const BackendLimits& limits) const {
  return ContextMemory{static_cast<size_t>(limits.max_rows) * sizeof(uint64_t), 0};
}

absl::StatusOr<std::unique_ptr<BackendContext>> SimulatedBackend::CreateContext(const ModelSpec& spec,
                                                                                const BackendLimits& limits,
                                                                                const Residency*,
                                                                                MemorySource*) const {
  if (limits.cache_type != CacheType::kF32) return Unsupported("simulated backend", "its cache is F32");
  return std::unique_ptr<BackendContext>(std::make_unique<SimulatedContext>(spec, limits, simulation_));
}

}  // namespace tessera
