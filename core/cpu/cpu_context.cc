#include "core/cpu/cpu_context.h"

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/cpu/attention_run.h"
#include "core/cpu/cpu_scratch.h"
#include "core/cpu/kernels/cache_rows/cache_rows.h"
#include "core/cpu/kernels/embed/embed.h"
#include "core/cpu/kernels/rms_norm/rms_norm.h"
#include "core/cpu/kernels/rotary/rotary.h"
#include "core/cpu/linear_run.h"
#include "core/cpu/region_phases.h"
#include "core/cpu/step_check.h"
#include "core/env/threads.h"
#include "core/sample/sampler.h"

namespace tessera {
namespace {

// Fewer rows than this are done by the calling thread: a fork and join costs as much as some rows' norm.
constexpr int32_t kLeastParallelRows = 4;

int32_t SamplerCount(const BackendLimits& limits) { return std::min(limits.threads, limits.max_samples); }

const float* VectorOf(const WeightView& view) { return static_cast<const float*>(view.data); }

class CpuContext final : public BackendContext {
 public:
  CpuContext(const CpuBackendOptions& options, const ModelSpec& spec, const BackendLimits& limits,
             std::unique_ptr<ThreadPool> pool)
      : spec_(spec), limits_(limits), pool_(std::move(pool)), linear_(options.activations) {}

  absl::Status Init(const CpuBackendOptions& options, MemorySource* memory);

  absl::Status Execute(const Region& region, const RegionWeights& weights,
                       const StepView& step) noexcept override {
    RegionProgress progress;
    return ExecuteSome(region, weights, step, nullptr, &progress);
  }
  absl::Status ExecuteSlice(const Region& region, const RegionWeights& weights, const StepView& step,
                            PauseSource& pause, RegionProgress* progress) noexcept override {
    return ExecuteSome(region, weights, step, &pause, progress);
  }
  void BeginStep(const StepView&) noexcept override { pool_->Wake(); }
  void EndStep() noexcept override { pool_->Sleep(); }
  size_t scratch_bytes() const noexcept override { return memory_.size_bytes(); }

 private:
  absl::Status ExecuteSome(const Region& region, const RegionWeights& weights, const StepView& step,
                           PauseSource* pause, RegionProgress* progress) noexcept;
  // Each runs what is left of its region; false: the slice ended before it was done.
  bool RunEmbed(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunNormQkv(const Region& region, const RegionWeights& weights, const StepView& step,
                  RegionPhases& phases);
  bool RunAttention(const Region& region, const StepView& step, RegionPhases& phases);
  bool RunResidual(const float* input, int64_t columns, const RegionWeights& weights, const StepView& step,
                   RegionPhases& phases);
  bool RunNormGateUp(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunHead(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunSample(const StepView& step, PauseSource* pause, RegionProgress* progress);

  const LayerSpec& LayerOf(const Region& region) const {
    return spec_.layers[static_cast<size_t>(region.layer)];
  }

  // Calls body(row, worker) for each row, by the pool where that pays.
  template <typename Body>
  bool ForEachRow(int32_t rows, RegionPhases& phases, const Body& body);
  // The rows' shape and forms; nothing is prepared yet.
  PreparedRows Prepared(int64_t rows, int64_t columns,
                        std::initializer_list<const WeightView*> weights) const;
  void PrepareRow(const PreparedRows& rows, int64_t row, const float* x) const;
  // The hidden state's rows, normed and prepared.
  bool NormRows(const WeightView& norm, const PreparedRows& input, RegionPhases& phases);
  void RotateAndAppend(const Region& region, const StepView& step, int32_t row, int worker);
  void BeginSample(const StepView& step, int32_t sample);

  const ModelSpec& spec_;
  const BackendLimits limits_;
  std::unique_ptr<ThreadPool> pool_;
  LinearRun linear_;
  MemoryRegion memory_;
  CpuScratch scratch_;
  cpu::RotaryTable rotary_;
  std::unique_ptr<AttentionRun> attention_;
  std::vector<int32_t> layer_in_group_;             // [layers]
  std::vector<std::unique_ptr<Sampler>> samplers_;  // at most one a thread
  std::vector<int32_t> next_sample_;                // [samplers]: the row that each is at
};

absl::Status CpuContext::Init(const CpuBackendOptions& options, MemorySource* memory) {
  const CpuShapes shapes = ShapesOf(spec_, options.activations);
  const size_t bytes = LayScratch(shapes, spec_, limits_, nullptr, &scratch_);
  TSR_ASSIGN_OR_RETURN(
      memory_, MemoryRegion::Create(memory, MemoryClass::kScratch, bytes, "the CPU's working memory"));
  LayScratch(shapes, spec_, limits_, memory_.data(), &scratch_);
  rotary_ = cpu::RotaryTable(spec_.rotary, limits_.max_positions, scratch_.rotary);
  attention_ = std::make_unique<AttentionRun>(limits_, &scratch_);
  layer_in_group_.assign(spec_.layers.size(), 0);
  for (const CacheGroupSpec& group : spec_.cache_groups) {
    for (size_t i = 0; i < group.layers.size(); ++i) {
      layer_in_group_[static_cast<size_t>(group.layers[i])] = static_cast<int32_t>(i);
    }
  }
  const int32_t samplers = SamplerCount(limits_);
  for (int32_t i = 0; i < samplers; ++i) samplers_.push_back(Sampler::Create(spec_.vocabulary_size));
  next_sample_.assign(static_cast<size_t>(samplers), 0);
  return absl::OkStatus();
}

absl::Status CpuContext::ExecuteSome(const Region& region, const RegionWeights& weights, const StepView& step,
                                     PauseSource* pause, RegionProgress* progress) noexcept {
  try {
    TSR_RETURN_IF_ERROR(CheckStep(spec_, limits_, step));
    TSR_RETURN_IF_ERROR(CheckWeights(spec_, region, weights));
  } catch (const std::bad_alloc&) {  // of the error's own text
    return absl::Status(static_cast<absl::StatusCode>(ErrorCode::kOutOfMemory), "");
  }
  RegionPhases phases(pool_.get(), pause, progress);
  switch (region.kind) {
    case RegionKind::kEmbed:
      progress->done = RunEmbed(weights, step, phases);
      break;
    case RegionKind::kNormQkv:
      progress->done = RunNormQkv(region, weights, step, phases);
      break;
    case RegionKind::kAttention:
      progress->done = RunAttention(region, step, phases);
      break;
    case RegionKind::kOutput:
      progress->done = RunResidual(scratch_.context, weights.matrix.columns, weights, step, phases);
      break;
    case RegionKind::kNormGateUp:
      progress->done = RunNormGateUp(weights, step, phases);
      break;
    case RegionKind::kDown:
      progress->done = RunResidual(scratch_.gate, weights.matrix.columns, weights, step, phases);
      break;
    case RegionKind::kHead:
      progress->done = RunHead(weights, step, phases);
      break;
    case RegionKind::kSample:
      progress->done = RunSample(step, pause, progress);
      break;
  }
  return absl::OkStatus();
}

template <typename Body>
bool CpuContext::ForEachRow(int32_t rows, RegionPhases& phases, const Body& body) {
  const auto task = [&](int64_t row, int worker) { body(static_cast<int32_t>(row), worker); };
  return rows < kLeastParallelRows ? phases.RunHere(rows, task) : phases.Run(rows, task);
}

PreparedRows CpuContext::Prepared(int64_t rows, int64_t columns,
                                  std::initializer_list<const WeightView*> weights) const {
  PreparedRows prepared;
  prepared.rows = rows;
  prepared.columns = columns;
  for (const WeightView* weight : weights) {
    const cpu::ActivationMode mode = linear_.ModeOf(*weight);
    const auto at = static_cast<int32_t>(mode);
    prepared.wanted[at] = true;
    prepared.data[at] = scratch_.prepared[at];
    prepared.stride_bytes[at] = cpu::PreparedRowBytes(mode, columns);
  }
  return prepared;
}

void CpuContext::PrepareRow(const PreparedRows& rows, int64_t row, const float* x) const {
  for (int32_t mode = 0; mode < 2; ++mode) {
    if (!rows.wanted[mode]) continue;
    cpu::PrepareRow(static_cast<cpu::ActivationMode>(mode), x, rows.columns,
                    rows.data[mode] + static_cast<size_t>(row) * rows.stride_bytes[mode]);
  }
}

bool CpuContext::RunEmbed(const RegionWeights& weights, const StepView& step, RegionPhases& phases) {
  const WeightView& table = weights.matrix;
  return ForEachRow(step.row_count, phases, [&](int32_t row, int) {
    cpu::Embed(table.type, table.data, table.rows, table.columns, step.tokens + row, 1,
               scratch_.hidden + row * table.columns);
  });
}

bool CpuContext::NormRows(const WeightView& norm, const PreparedRows& input, RegionPhases& phases) {
  return ForEachRow(static_cast<int32_t>(input.rows), phases, [&](int32_t row, int worker) {
    float* const normed = scratch_.normed(worker);
    const int64_t hidden = spec_.hidden_size;
    cpu::RmsNorm(scratch_.hidden + row * hidden, VectorOf(norm), spec_.norm_epsilon, hidden, normed);
    PrepareRow(input, row, normed);
  });
}

bool CpuContext::RunNormQkv(const Region& region, const RegionWeights& weights, const StepView& step,
                            RegionPhases& phases) {
  const PreparedRows input =
      Prepared(step.row_count, spec_.hidden_size, {&weights.query, &weights.key, &weights.value});
  const LinearPart parts[3] = {
      {weights.query, VectorOf(weights.query_bias), false, scratch_.query},
      {weights.key, VectorOf(weights.key_bias), false, scratch_.key},
      {weights.value, VectorOf(weights.value_bias), false, scratch_.value},
  };
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const SequenceView& sequence = step.sequences[s];
    std::fill_n(scratch_.sequence_of_row + sequence.first_row, sequence.row_count, s);
  }
  return NormRows(weights.norm, input, phases) && linear_.Run(parts, 3, input, phases) &&
         ForEachRow(step.row_count, phases,
                    [&](int32_t row, int worker) { RotateAndAppend(region, step, row, worker); });
}

void CpuContext::RotateAndAppend(const Region& region, const StepView& step, int32_t row, int worker) {
  const LayerSpec& layer = LayerOf(region);
  const AttentionSpec& attention = layer.attention;
  const int32_t size = attention.head_size;
  const SequenceView& sequence = step.sequences[scratch_.sequence_of_row[row]];
  const int32_t position = sequence.first_position + row - sequence.first_row;
  float* const cos = scratch_.angles(worker);
  float* const sin = cos + rotary_.pairs();
  rotary_.Angles(position, cos, sin);
  float* const query = scratch_.query + static_cast<int64_t>(row) * attention.heads * size;
  float* const key = scratch_.key + static_cast<int64_t>(row) * attention.kv_heads * size;
  const float* const value = scratch_.value + static_cast<int64_t>(row) * attention.kv_heads * size;
  cpu::Rotate(spec_.rotary.pairing, query, attention.heads, size, rotary_.pairs(), cos, sin);
  cpu::Rotate(spec_.rotary.pairing, key, attention.kv_heads, size, rotary_.pairs(), cos, sin);

  const CacheView& cache = step.caches[layer.cache_group];
  const int32_t block = sequence.blocks[layer.cache_group][position / cache.block_tokens];
  const int32_t in_group = layer_in_group_[static_cast<size_t>(region.layer)];
  const int64_t row_bytes = static_cast<int64_t>(CacheTypeBytes(cache.type)) * size;
  uint8_t* const keys = cache.keys(block, in_group) + position % cache.block_tokens * row_bytes;
  uint8_t* const values = cache.values(block, in_group) + position % cache.block_tokens * row_bytes;
  for (int32_t head = 0; head < attention.kv_heads; ++head) {
    const int64_t at = head * cache.block_tokens * row_bytes;
    cpu::StoreCacheRow(cache.type, key + static_cast<int64_t>(head) * size, size, keys + at);
    cpu::StoreCacheRow(cache.type, value + static_cast<int64_t>(head) * size, size, values + at);
  }
}

bool CpuContext::RunAttention(const Region& region, const StepView& step, RegionPhases& phases) {
  return attention_->Run(LayerOf(region), layer_in_group_[static_cast<size_t>(region.layer)], step, phases);
}

// The hidden state += matrix * input + bias; input [rows, columns].
bool CpuContext::RunResidual(const float* input, int64_t columns, const RegionWeights& weights,
                             const StepView& step, RegionPhases& phases) {
  const PreparedRows prepared = Prepared(step.row_count, columns, {&weights.matrix});
  const LinearPart part{weights.matrix, VectorOf(weights.matrix_bias), true, scratch_.hidden};
  const auto prepare = [&](int32_t row, int) { PrepareRow(prepared, row, input + row * columns); };
  return ForEachRow(step.row_count, phases, prepare) && linear_.Run(&part, 1, prepared, phases);
}

bool CpuContext::RunNormGateUp(const RegionWeights& weights, const StepView& step, RegionPhases& phases) {
  const PreparedRows input = Prepared(step.row_count, spec_.hidden_size, {&weights.gate, &weights.up});
  return NormRows(weights.norm, input, phases) &&
         linear_.RunGateUp({weights.gate, nullptr, false, scratch_.gate},
                           {weights.up, nullptr, false, scratch_.up}, input, phases);
}

bool CpuContext::RunHead(const RegionWeights& weights, const StepView& step, RegionPhases& phases) {
  if (step.sample_count == 0) return true;
  const int64_t hidden = spec_.hidden_size;
  const PreparedRows input = Prepared(step.sample_count, hidden, {&weights.matrix});
  const auto norm = [&](int32_t sample, int worker) {
    float* const normed = scratch_.normed(worker);
    const float* const x = scratch_.hidden + step.samples[sample].row * hidden;
    cpu::RmsNorm(x, VectorOf(weights.norm), spec_.norm_epsilon, hidden, normed);
    PrepareRow(input, sample, normed);
  };
  const LinearPart part{weights.matrix, VectorOf(weights.matrix_bias), false, scratch_.logits};
  return ForEachRow(step.sample_count, phases, norm) && linear_.Run(&part, 1, input, phases);
}

// A sampler serves one caller at a time: task i has sampler i and every samplers-th row from i on. Rows
// differ in what they ask for, so each sampler goes its own pace and remembers where it was left.
bool CpuContext::RunSample(const StepView& step, PauseSource* pause, RegionProgress* progress) {
  const auto samplers = std::min(static_cast<int32_t>(samplers_.size()), step.sample_count);
  if (progress->phase == 0) {
    for (int32_t i = 0; i < samplers; ++i) {
      next_sample_[static_cast<size_t>(i)] = i;
      BeginSample(step, i);
    }
    progress->phase = 1;
  }
  auto task = [&](int64_t index, int) {
    int32_t& row = next_sample_[static_cast<size_t>(index)];
    while (row < step.sample_count) {
      if (samplers_[static_cast<size_t>(index)]->Advance()) {
        row += static_cast<int32_t>(samplers_.size());
        if (row < step.sample_count) BeginSample(step, row);
      }
      if (pause != nullptr && pause->ShouldPause()) return;
    }
  };
  pool_->ParallelFor(samplers, task);
  return std::all_of(next_sample_.begin(), next_sample_.begin() + samplers,
                     [&](int32_t row) { return row >= step.sample_count; });
}

void CpuContext::BeginSample(const StepView& step, int32_t sample) {
  const float* const logits = scratch_.logits + static_cast<int64_t>(sample) * spec_.vocabulary_size;
  samplers_[static_cast<size_t>(sample) % samplers_.size()]->Begin(logits, &step.samples[sample]);
}

}  // namespace

absl::StatusOr<ContextMemory> PlanCpuContext(const CpuBackendOptions& options, const ModelSpec& spec,
                                             const BackendLimits& limits) {
  TSR_RETURN_IF_ERROR(CheckLimits(spec, limits));
  CpuScratch scratch;
  ContextMemory memory;
  memory.scratch_bytes =
      LayScratch(ShapesOf(spec, options.activations), spec, limits, /*base=*/nullptr, &scratch);
  memory.object_bytes = static_cast<size_t>(SamplerCount(limits)) * Sampler::HeapBytes(spec.vocabulary_size);
  return memory;
}

absl::StatusOr<std::unique_ptr<BackendContext>> CreateCpuContext(const CpuBackendOptions& options,
                                                                 const ModelSpec& spec,
                                                                 const BackendLimits& limits,
                                                                 MemorySource* memory) {
  TSR_RETURN_IF_ERROR(CheckLimits(spec, limits));
  TSR_ASSIGN_OR_RETURN(std::unique_ptr<ThreadPool> pool, ThreadPool::Create(limits.threads));
  auto context = std::make_unique<CpuContext>(options, spec, limits, std::move(pool));
  TSR_RETURN_IF_ERROR(context->Init(options, memory));
  return std::unique_ptr<BackendContext>(std::move(context));
}

}  // namespace tessera
