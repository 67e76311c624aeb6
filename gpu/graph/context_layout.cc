#include "gpu/graph/context_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/checked.h"
#include "core/base/status.h"
#include "core/cache/cache_view.h"
#include "gpu/blas/matmul.h"
#include "gpu/graph/step_packet.h"
#include "gpu/graph/stream_regions.h"
#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/cache_append/cache_append.h"
#include "gpu/kernels/sample/sample.h"
#include "gpu/kernels/step_io/step_io.h"

namespace tessera::gpu {
namespace {

// Tokens that penalties of one sample may look at: what the setting 'sampling.penalty_window' allows.
constexpr int32_t kMostWindowTokens = 65536;
// Pinned memory for logits that the host wants to see, of all slots together; at least a row each. A step
// that wants more is waited for when it is run.
constexpr size_t kStagedLogitsBytes = size_t{32} << 20;
// Devices from here on have clusters that hold a whole row of logits of this size in shared memory.
constexpr int32_t kClusterCapability = 90;
constexpr int32_t kMostClusterVocabulary = 1 << 18;

constexpr size_t kAlignment = 256;

// Hands out places one behind the other.
class Planner {
 public:
  size_t Take(size_t count, size_t element_bytes) {
    const size_t place = bytes_;
    bytes_ += AlignUp(count * element_bytes, kAlignment);
    return place;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

absl::Status CheckLimits(const DeviceModel& model, const tsr_device_limits& limits) {
  const bool known_type =
      limits.cache_type >= 0 && limits.cache_type <= static_cast<int32_t>(CacheType::kInt8);
  if (!known_type || limits.cache_type == static_cast<int32_t>(CacheType::kF32)) {
    return Unsupported("setting 'engine.cache_type'", absl::StrCat("on a GPU it is bf16, f16 or int8, not ",
                                                                   CacheTypeName(limits.cache_type)));
  }
  if (limits.max_rows < 1 || limits.max_samples < 1 || limits.max_sequences < 1 || limits.max_positions < 1 ||
      limits.block_tokens < 1) {
    return InvalidArgument("context limits", "every one of them must be 1 or more");
  }
  if (limits.depth < 1 || limits.depth > 2) {
    return InvalidArgument("context limits",
                           absl::StrCat("1 or 2 steps may be in flight, not ", limits.depth));
  }
  constexpr int64_t kMostTogether = int64_t{1} << 30;  // sizes of lists are 32-bit numbers
  if (limits.max_rows > (1 << 20) || limits.max_samples > (1 << 18) ||
      static_cast<int64_t>(limits.max_positions) * std::max(limits.max_sequences, limits.max_samples) *
              model.description.cache_group_count >
          kMostTogether) {
    return InvalidArgument(
        "context limits",
        "at most 2^20 rows, 2^18 samples, and 2^30 positions of all sequences and cache groups together");
  }
  if (model.description.vocabulary_size > kMostSampledVocabulary) {
    return Unsupported("model", absl::StrCat("its vocabulary has ", model.description.vocabulary_size,
                                             " tokens; on a GPU at most ", kMostSampledVocabulary));
  }
  return absl::OkStatus();
}

StepCapacity CapacityOf(const DeviceModel& model, const tsr_device_limits& limits) {
  StepCapacity capacity;
  capacity.rows = limits.max_rows;
  capacity.sequences = std::min(limits.max_sequences, limits.max_rows);
  capacity.samples = std::min(limits.max_samples, limits.max_rows);
  capacity.groups = model.description.cache_group_count;
  capacity.copies = limits.max_sequences * capacity.groups;
  // Room for all that a sample may have, whatever the others of its step have; it has each token once.
  capacity.biases = std::min(model.description.vocabulary_size, TSR_DEVICE_MOST_BIASES) * capacity.samples;
  capacity.window_tokens = std::min(limits.max_positions, kMostWindowTokens) * capacity.samples;
  capacity.positions = limits.max_positions;
  capacity.block_tokens = limits.block_tokens;
  capacity.table_stride = static_cast<int32_t>(AlignUp(
      CeilDivide(static_cast<uint64_t>(limits.max_positions), static_cast<uint64_t>(limits.block_tokens)),
      4));
  return capacity;
}

SlotLayout PlanSlot(const DeviceModel& model, const StepCapacity& capacity, int32_t depth) {
  Planner planner;
  SlotLayout slot;
  slot.input_bytes = PacketBytes(capacity);
  slot.input = planner.Take(slot.input_bytes, 1);
  slot.results = planner.Take(static_cast<size_t>(capacity.samples), sizeof(SampleResult));
  slot.times = planner.Take(1, sizeof(StepTimes));
  const size_t row_bytes = static_cast<size_t>(model.description.vocabulary_size) * sizeof(float);
  const size_t affordable = kStagedLogitsBytes / static_cast<size_t>(depth) / row_bytes;
  slot.staged_logits =
      static_cast<int32_t>(std::clamp<size_t>(affordable, 1, static_cast<size_t>(capacity.samples)));
  slot.logits = planner.Take(static_cast<size_t>(slot.staged_logits), row_bytes);
  slot.slot_bytes = planner.bytes();
  return slot;
}

bool SameHeads(const tsr_device_layer& a, const tsr_device_layer& b) {
  return a.heads == b.heads && a.kv_heads == b.kv_heads && a.head_size == b.head_size;
}

// Attention keeps counters in its scratch that are zero between launches, at places that its shape gives:
// only layers of one shape can share one.
void PlanAttention(const DeviceModel& model, const StepCapacity& capacity, const DeviceTraits& traits,
                   bool batch_invariant, Planner* planner, ScratchLayout* scratch) {
  for (size_t i = 0; i < model.layers.size(); ++i) {
    size_t same = 0;
    while (!SameHeads(model.layers[same], model.layers[i])) ++same;
    scratch->attention_scratch.push_back(
        same < i ? scratch->attention_scratch[same]
                 : planner->Take(
                       AttentionScratchBytes(ShapeOfAttention(model, model.layers[i]), capacity.sequences,
                                             traits.multiprocessors, batch_invariant),
                       1));
  }
}

void PlanArrays(const StepCapacity& capacity, Planner* planner, ScratchLayout* scratch) {
  const auto rows = static_cast<size_t>(capacity.rows);
  const auto sequences = static_cast<size_t>(capacity.sequences);
  const auto samples = static_cast<size_t>(capacity.samples);
  constexpr size_t kIndex = sizeof(int32_t);
  scratch->counts = planner->Take(StepArrays::kCountsSize, kIndex);
  scratch->tokens = planner->Take(rows, kIndex);
  scratch->positions = planner->Take(rows, kIndex);
  scratch->row_sequence = planner->Take(rows, kIndex);
  scratch->first_row = planner->Take(sequences, kIndex);
  scratch->row_count = planner->Take(sequences, kIndex);
  scratch->first_position = planner->Take(sequences, kIndex);
  scratch->sample_rows = planner->Take(rows, kIndex);  // graphs sample as many rows as they have
  scratch->block_tables = planner->Take(
      static_cast<size_t>(capacity.groups) * sequences * static_cast<size_t>(capacity.table_stride), kIndex);
  scratch->params = planner->Take(samples, sizeof(SampleParams));
  scratch->biases = planner->Take(static_cast<size_t>(capacity.biases), sizeof(tsr_device_bias));
  scratch->window_tokens = planner->Take(static_cast<size_t>(capacity.window_tokens), kIndex);
  scratch->outlet = planner->Take(1, sizeof(StepOutlet));
  scratch->sampled = planner->Take(samples, kIndex);
  scratch->results = planner->Take(samples, sizeof(SampleResult));
}

void PlanActivations(const DeviceModel& model, const StepCapacity& capacity, Planner* planner,
                     ScratchLayout* scratch) {
  const auto rows = static_cast<size_t>(capacity.rows);
  const auto samples = static_cast<size_t>(capacity.samples);
  const auto hidden = static_cast<size_t>(model.description.hidden_size);
  const auto ffn = static_cast<size_t>(model.description.feed_forward_size);
  const auto vocabulary = static_cast<size_t>(model.description.vocabulary_size);
  constexpr size_t kElement = 2;  // F16 and BF16
  scratch->hidden = planner->Take(rows * hidden, sizeof(float));
  scratch->normed = planner->Take(rows * hidden, kElement);
  scratch->qkv = planner->Take(rows * static_cast<size_t>(model.qkv_columns), kElement);
  scratch->query = planner->Take(rows * static_cast<size_t>(model.query_columns), kElement);
  scratch->context = planner->Take(rows * static_cast<size_t>(model.query_columns), kElement);
  scratch->gate_up = planner->Take(rows * 2 * ffn, kElement);
  scratch->active = planner->Take(rows * ffn, kElement);
  scratch->logits = planner->Take(samples * vocabulary, sizeof(float));
}

size_t SampleWorkspaceBytes(const DeviceModel& model, const StepCapacity& capacity,
                            const DeviceTraits& traits) {
  const int32_t vocabulary = model.description.vocabulary_size;
  if (traits.compute_capability >= kClusterCapability && vocabulary <= kMostClusterVocabulary) return 0;
  return static_cast<size_t>(capacity.samples) * static_cast<size_t>(vocabulary) * sizeof(float);
}

}  // namespace

AttentionShape ShapeOfAttention(const DeviceModel& model, const tsr_device_layer& layer) {
  AttentionShape shape;
  shape.type = model.type;
  shape.heads = layer.heads;
  shape.kv_heads = layer.kv_heads;
  shape.head_size = layer.head_size;
  shape.window_tokens = layer.window_tokens;
  shape.scale = layer.attention_scale;
  return shape;
}

absl::StatusOr<ContextLayout> ContextLayout::Plan(const DeviceModel& model, const tsr_device_limits& limits,
                                                  const DeviceTraits& traits) {
  TSR_RETURN_IF_ERROR(CheckLimits(model, limits));
  ContextLayout layout;
  layout.capacity = CapacityOf(model, limits);
  layout.depth = limits.depth;
  layout.slot = PlanSlot(model, layout.capacity, limits.depth);
  layout.pinned_bytes = layout.slot.slot_bytes * static_cast<size_t>(limits.depth);

  Planner planner;
  ScratchLayout& scratch = layout.scratch;
  PlanArrays(layout.capacity, &planner, &scratch);
  PlanActivations(model, layout.capacity, &planner, &scratch);
  const size_t pairs = model.inverse_frequencies.size();
  scratch.inverse_frequencies = planner.Take(pairs, sizeof(float));
  scratch.rotary = planner.Take(RotaryTableBytes(limits.max_positions, static_cast<int32_t>(pairs)), 1);
  PlanAttention(model, layout.capacity, traits, limits.batch_invariant != 0, &planner, &scratch);
  scratch.sample_workspace_bytes = SampleWorkspaceBytes(model, layout.capacity, traits);
  scratch.sample_workspace = planner.Take(scratch.sample_workspace_bytes, 1);
  scratch.matmul_workspace = planner.Take(Matmul::kWorkspaceBytes, 1);
  scratch.handed_on = planner.Take(StreamScratchBytes(model, layout.capacity.sequences), 1);
  scratch.bytes = planner.bytes();

  // A graph's nodes on the host, about, for each of its sizes, beside the copy of the model.
  constexpr size_t kGraphLayerBytes = size_t{16} << 10;
  constexpr size_t kGraphs = 16;
  layout.object_bytes = model.layers.size() * (sizeof(tsr_device_layer) + kGraphs * kGraphLayerBytes);
  return layout;
}

}  // namespace tessera::gpu
