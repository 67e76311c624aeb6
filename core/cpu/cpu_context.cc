#include "core/cpu/cpu_context.h"

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/cpu/attention_run.h"
#include "core/cpu/cpu_scratch.h"
#include "core/cpu/fold_layout.h"
#include "core/cpu/kernels/cache_rows/cache_rows.h"
#include "core/cpu/kernels/embed/embed.h"
#include "core/cpu/kernels/rms_norm/rms_norm.h"
#include "core/cpu/kernels/rotary/rotary.h"
#include "core/cpu/linear_run.h"
#include "core/cpu/rank_sums.h"
#include "core/cpu/rank_vocabulary.h"
#include "core/cpu/region_phases.h"
#include "core/cpu/weight_check.h"
#include "core/env/threads.h"
#include "core/execute/step_check.h"
#include "core/sample/sampler.h"

namespace tessera {
namespace {

// Fewer rows than this are done by the calling thread: a fork and join costs as much as some rows' norm.
constexpr int32_t kLeastParallelRows = 4;

// Only who has all logits samples.
int32_t SamplerCount(const ModelSpec& spec, const BackendLimits& limits) {
  return spec.part.has_head && spec.part.rank == 0 ? std::min(limits.threads, limits.max_samples) : 0;
}

const float* VectorOf(const WeightView& view) { return static_cast<const float*>(view.data); }

class CpuContext final : public BackendContext {
 public:
  CpuContext(const CpuBackendOptions& options, const ModelSpec& spec, const BackendLimits& limits,
             std::unique_ptr<ThreadPool> pool)
      : spec_(spec),
        limits_(limits),
        pool_(std::move(pool)),
        linear_(options.activations),
        vocabulary_(&spec.part) {}

  absl::Status Init(const CpuBackendOptions& options, MemorySource* memory);

  absl::Status Execute(const Region& region, const RegionWeights& weights,
                       const StepView& step) noexcept override {
    RegionProgress progress;
    TSR_RETURN_IF_ERROR(ExecuteSome(region, weights, step, nullptr, &progress));
    if (progress.done) return absl::OkStatus();
    return absl::Status(static_cast<absl::StatusCode>(ErrorCode::kInternal), "a region without its ranks");
  }
  absl::Status ExecuteSlice(const Region& region, const RegionWeights& weights, const StepView& step,
                            PauseSource& pause, RegionProgress* progress) noexcept override {
    return ExecuteSome(region, weights, step, &pause, progress);
  }
  void BeginStep(const StepView&) noexcept override { pool_->Wake(); }
  void EndStep() noexcept override { pool_->Sleep(); }
  absl::Span<float> HiddenState(const StepView& step) noexcept override {
    return {scratch_.hidden, static_cast<size_t>(step.row_count) * static_cast<size_t>(spec_.hidden_size)};
  }
  size_t scratch_bytes() const noexcept override { return memory_.size_bytes(); }

 private:
  absl::Status ExecuteSome(const Region& region, const RegionWeights& weights, const StepView& step,
                           PauseSource* pause, RegionProgress* progress) noexcept;
  // Each runs what is left of its region; false: the slice ended before it was done.
  bool RunEmbed(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunRanksEmbed(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunNormQkv(const Region& region, const RegionWeights& weights, const StepView& step,
                  RegionPhases& phases);
  bool RunAttention(const Region& region, const StepView& step, RegionPhases& phases);
  bool RunResidual(const FoldSpec& fold, const RankSums& sums, const float* input,
                   const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunNormGateUp(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunHead(const RegionWeights& weights, const StepView& step, RegionPhases& phases);
  bool RunSample(const StepView& step, PauseSource* pause, RegionPhases& phases);
  // Rank 0's share is what has to be sampled by its logits: so many rows, in sample_order.
  bool RunRanksMaxima(const StepView& step, RegionPhases& phases);
  bool IncomingFits(const Region& region, const StepView& step, const RegionProgress& progress) const;

  bool alone() const { return spec_.part.ranks == 1; }

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
  void BeginSample(const StepView& step, const float* logits, int32_t index);

  const ModelSpec& spec_;
  const BackendLimits limits_;
  std::unique_ptr<ThreadPool> pool_;
  LinearRun linear_;
  MemoryRegion memory_;
  CpuScratch scratch_;
  cpu::RotaryTable rotary_;
  std::unique_ptr<AttentionRun> attention_;
  const RankVocabulary vocabulary_;
  std::vector<RankSums> output_sums_, down_sums_;   // [layers]
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
  for (const LayerSpec& layer : spec_.layers) {
    output_sums_.emplace_back(layer.output_fold);
    down_sums_.emplace_back(layer.down_fold);
  }
  const int32_t samplers = SamplerCount(spec_, limits_);
  for (int32_t i = 0; i < samplers; ++i) samplers_.push_back(Sampler::Create(spec_.vocabulary_size));
  next_sample_.assign(static_cast<size_t>(samplers), 0);
  return absl::OkStatus();
}

absl::Status CpuContext::ExecuteSome(const Region& region, const RegionWeights& weights, const StepView& step,
                                     PauseSource* pause, RegionProgress* progress) noexcept {
  try {
    TSR_RETURN_IF_ERROR(CheckStep(spec_, limits_, step));
    TSR_RETURN_IF_ERROR(CheckWeights(spec_, region, weights));
    if (progress->exchange == ExchangeState::kDone && !IncomingFits(region, step, *progress)) {
      return Internal(RegionName(region.kind), "another rank brought something of another size");
    }
  } catch (const std::bad_alloc&) {  // of the error's own text
    return BareError(ErrorCode::kOutOfMemory);
  }
  RegionPhases phases(pool_.get(), pause, progress);
  const auto layer = static_cast<size_t>(region.layer);
  switch (region.kind) {
    case RegionKind::kEmbed:
      progress->done = alone() ? RunEmbed(weights, step, phases) : RunRanksEmbed(weights, step, phases);
      break;
    case RegionKind::kNormQkv:
      progress->done = RunNormQkv(region, weights, step, phases);
      break;
    case RegionKind::kAttention:
      progress->done = RunAttention(region, step, phases);
      break;
    case RegionKind::kOutput:
      progress->done = RunResidual(LayerOf(region).output_fold, output_sums_[layer], scratch_.context,
                                   weights, step, phases);
      break;
    case RegionKind::kNormGateUp:
      progress->done = RunNormGateUp(weights, step, phases);
      break;
    case RegionKind::kDown:
      progress->done =
          RunResidual(LayerOf(region).down_fold, down_sums_[layer], scratch_.gate, weights, step, phases);
      break;
    case RegionKind::kHead:
      progress->done = RunHead(weights, step, phases);
      break;
    case RegionKind::kSample:
      progress->done = RunSample(step, pause, phases);
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

// Each rank brings the rows that it has, and everybody takes each from its owner.
bool CpuContext::RunRanksEmbed(const RegionWeights& weights, const StepView& step, RegionPhases& phases) {
  const WeightView& table = weights.matrix;
  const int64_t hidden = spec_.hidden_size;
  int32_t* const slots = scratch_.sequence_of_row;  // not in use yet
  const int64_t own = vocabulary_.LayRows(step, slots);
  uint8_t* const outgoing = scratch_.exchange[phases.turn()];
  const auto embed = [&](int32_t row, int) {
    if (!vocabulary_.Owns(step.tokens[row])) return;
    const int32_t token = step.tokens[row] - vocabulary_.first();
    cpu::Embed(table.type, table.data, table.rows, hidden, &token, 1,
               reinterpret_cast<float*>(outgoing) + slots[row] * hidden);
  };
  const auto take = [&](int32_t row, int) {
    vocabulary_.TakeRow(phases.incoming(), step.tokens[row], slots[row], hidden,
                        scratch_.hidden + row * hidden);
  };
  return ForEachRow(step.row_count, phases, embed) &&
         phases.Exchange({outgoing, static_cast<size_t>(own * hidden) * sizeof(float)}) &&
         ForEachRow(step.row_count, phases, take);
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
  const auto row_bytes = static_cast<int64_t>(cache.row_bytes());
  uint8_t* const keys = cache.keys(block, in_group) + position % cache.block_tokens * row_bytes;
  uint8_t* const values = cache.values(block, in_group) + position % cache.block_tokens * row_bytes;
  for (int32_t head = 0; head < attention.kv_heads; ++head) {
    const int64_t at = head * cache.block_tokens * row_bytes;
    cpu::StoreCacheRow(cache.type, key + static_cast<int64_t>(head) * size, size, keys + at);
    cpu::StoreCacheRow(cache.type, value + static_cast<int64_t>(head) * size, size, values + at);
  }
}

bool CpuContext::RunAttention(const Region& region, const StepView& step, RegionPhases& phases) {
  const LayerSpec& layer = LayerOf(region);
  if (layer.attention.heads == 0) return true;  // others have them
  return attention_->Run(layer, layer_in_group_[static_cast<size_t>(region.layer)], step, phases);
}

// The hidden state += the sum over all ranks of matrix * input + bias; input [rows, the rank's columns].
bool CpuContext::RunResidual(const FoldSpec& fold, const RankSums& sums, const float* input,
                             const RegionWeights& weights, const StepView& step, RegionPhases& phases) {
  const FoldLayout layout(fold, weights.matrix.type);
  const int64_t hidden = spec_.hidden_size;
  const int64_t rows = step.row_count;
  float* const outgoing = reinterpret_cast<float*>(scratch_.exchange[phases.turn()]);
  cpu::LinearLeaves leaves[kMostLeaves];
  LinearPart parts[kMostLeaves];
  const auto part_count = static_cast<int32_t>(sums.nodes().size());
  for (int32_t i = 0; i < part_count; ++i) {
    leaves[i] = layout.LeavesOf(sums.nodes()[static_cast<size_t>(i)]);
    parts[i] = {weights.matrix, nullptr, false, outgoing + i * rows * hidden, &leaves[i]};
  }
  if (alone()) parts[0] = {weights.matrix, VectorOf(weights.matrix_bias), true, scratch_.hidden, &leaves[0]};
  if (part_count > 0) {
    const PreparedRows prepared = Prepared(rows, layout.prepared_columns, {&weights.matrix});
    const cpu::ActivationMode mode = linear_.ModeOf(weights.matrix);
    const auto at = static_cast<int32_t>(mode);
    const auto prepare = [&](int32_t row, int worker) {
      layout.Prepare(mode, input + row * layout.input_columns, scratch_.padded(worker),
                     prepared.data[at] + static_cast<size_t>(row) * prepared.stride_bytes[at]);
    };
    if (!ForEachRow(step.row_count, phases, prepare)) return false;
    if (!linear_.Run(parts, part_count, prepared, phases)) return false;
  }
  if (alone()) return true;
  const auto add = [&](int32_t row, int) {
    sums.AddRow(phases.incoming(), row, rows, hidden, VectorOf(weights.matrix_bias),
                scratch_.hidden + row * hidden);
  };
  return phases.Exchange({reinterpret_cast<const uint8_t*>(outgoing),
                          static_cast<size_t>(part_count * rows * hidden) * sizeof(float)}) &&
         ForEachRow(step.row_count, phases, add);
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
  RankVocabulary::OrderSamples(step, scratch_.sample_order);
  const PreparedRows input = Prepared(step.sample_count, hidden, {&weights.matrix});
  const auto norm = [&](int32_t index, int worker) {
    float* const normed = scratch_.normed(worker);
    const float* const x = scratch_.hidden + step.samples[scratch_.sample_order[index]].row * hidden;
    cpu::RmsNorm(x, VectorOf(weights.norm), spec_.norm_epsilon, hidden, normed);
    PrepareRow(input, index, normed);
  };
  const LinearPart part{weights.matrix, VectorOf(weights.matrix_bias), false, scratch_.logits};
  return ForEachRow(step.sample_count, phases, norm) && linear_.Run(&part, 1, input, phases);
}

// Everybody's maxima settle the rows that need no more; rank 0 gets the others' logits.
bool CpuContext::RunRanksMaxima(const StepView& step, RegionPhases& phases) {
  const int32_t samples = step.sample_count;
  const int32_t gathered = RankVocabulary::OrderSamples(step, scratch_.sample_order);
  auto* const maxima = reinterpret_cast<SliceMaximum*>(scratch_.logits) - samples;
  const auto slice_floats = static_cast<size_t>(gathered) * static_cast<size_t>(vocabulary_.size());
  const auto find = [&](int32_t index, int) {
    maxima[index] = vocabulary_.Maximum(scratch_.logits + int64_t{index} * vocabulary_.size());
  };
  const auto take = [&](int32_t index, int) {
    vocabulary_.TakeToken(phases.incoming(), index, &step.samples[scratch_.sample_order[index]]);
    if (index >= gathered) return;
    step.samples[scratch_.sample_order[index]].token = -1;  // not chosen yet, or on rank 0 only
    if (spec_.part.rank != 0) return;
    vocabulary_.TakeLogits(phases.incoming(), index, samples,
                           scratch_.gathered + int64_t{index} * spec_.vocabulary_size);
  };
  return ForEachRow(samples, phases, find) &&
         phases.Exchange(
             {reinterpret_cast<const uint8_t*>(maxima),
              static_cast<size_t>(samples) * sizeof(SliceMaximum) + slice_floats * sizeof(float)}) &&
         ForEachRow(samples, phases, take);
}

// A sampler serves one caller at a time: task i has sampler i and every samplers-th row from i on. Rows
// differ in what they ask for, so each sampler goes its own pace and remembers where it was left.
bool CpuContext::RunSample(const StepView& step, PauseSource* pause, RegionPhases& phases) {
  if (!alone() && !RunRanksMaxima(step, phases)) return false;
  const float* const logits = alone() ? scratch_.logits : scratch_.gathered;
  const int32_t gathered = RankVocabulary::OrderSamples(step, scratch_.sample_order);
  const int32_t rows = alone() ? step.sample_count : spec_.part.rank == 0 ? gathered : 0;
  const auto samplers = std::min(static_cast<int32_t>(samplers_.size()), rows);
  phases.Once([&] {
    for (int32_t i = 0; i < samplers; ++i) {
      next_sample_[static_cast<size_t>(i)] = i;
      BeginSample(step, logits, i);
    }
  });
  auto task = [&](int64_t index, int) {
    int32_t& row = next_sample_[static_cast<size_t>(index)];
    while (row < rows) {
      if (samplers_[static_cast<size_t>(index)]->Advance()) {
        row += static_cast<int32_t>(samplers_.size());
        if (row < rows) BeginSample(step, logits, row);
      }
      if (pause != nullptr && pause->ShouldPause()) return;
    }
  };
  pool_->ParallelFor(samplers, task);
  return std::all_of(next_sample_.begin(), next_sample_.begin() + samplers,
                     [&](int32_t row) { return row >= rows; });
}

// The index-th row of `logits`, which stand in sample_order.
void CpuContext::BeginSample(const StepView& step, const float* logits, int32_t index) {
  samplers_[static_cast<size_t>(index) % samplers_.size()]->Begin(
      logits + int64_t{index} * spec_.vocabulary_size, &step.samples[scratch_.sample_order[index]]);
}

bool CpuContext::IncomingFits(const Region& region, const StepView& step,
                              const RegionProgress& progress) const {
  const auto layer = static_cast<size_t>(region.layer);
  switch (region.kind) {
    case RegionKind::kEmbed:
      return vocabulary_.RowsFit(progress.incoming, step, spec_.hidden_size);
    case RegionKind::kOutput:
      return output_sums_[layer].Fits(progress.incoming, step.row_count, spec_.hidden_size);
    case RegionKind::kDown:
      return down_sums_[layer].Fits(progress.incoming, step.row_count, spec_.hidden_size);
    case RegionKind::kSample:
      return vocabulary_.SlicesFit(progress.incoming, step.sample_count,
                                   RankVocabulary::OrderSamples(step, scratch_.sample_order));
    default:
      return false;
  }
}

}  // namespace

absl::StatusOr<ContextMemory> PlanCpuContext(const CpuBackendOptions& options, const ModelSpec& spec,
                                             const BackendLimits& limits) {
  TSR_RETURN_IF_ERROR(CheckLimits(spec, limits));
  CpuScratch scratch;
  ContextMemory memory;
  memory.scratch_bytes =
      LayScratch(ShapesOf(spec, options.activations), spec, limits, /*base=*/nullptr, &scratch);
  memory.object_bytes =
      static_cast<size_t>(SamplerCount(spec, limits)) * Sampler::HeapBytes(spec.vocabulary_size);
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
