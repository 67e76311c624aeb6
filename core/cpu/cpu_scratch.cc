#include "core/cpu/cpu_scratch.h"

#include <algorithm>

#include "core/base/checked.h"
#include "core/cpu/fold_layout.h"
#include "core/cpu/kernels/attention/attention.h"
#include "core/cpu/kernels/rotary/rotary.h"
#include "core/cpu/rank_vocabulary.h"

namespace tessera {
namespace {

constexpr size_t kLineBytes = 64;
// What partial results may take where one sequence of the longest context needs less. More sequences give the
// threads work enough without being split.
constexpr size_t kPartialsBytes = size_t{16} << 20;

// Where an array of no elements, or of a mode that is not used, lies: nowhere.
class Layout {
 public:
  explicit Layout(uint8_t* base) : base_(base) {}
  template <typename T>
  T* Take(size_t bytes) {
    const size_t at = used_;
    used_ += AlignUp(bytes, kLineBytes);
    return base_ == nullptr || bytes == 0 ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  float* Floats(int64_t rows, int64_t columns) {
    return Take<float>(static_cast<size_t>(rows) * static_cast<size_t>(columns) * sizeof(float));
  }
  size_t used() const { return used_; }

 private:
  uint8_t* base_;
  size_t used_ = 0;
};

int64_t LineFloats(int64_t count) {
  return static_cast<int64_t>(AlignUp(static_cast<uint64_t>(count), kLineBytes / sizeof(float)));
}

void AddAttention(const AttentionSpec& attention, CpuShapes* shapes) {
  if (attention.heads == 0) return;
  const int32_t group = attention.heads / attention.kv_heads;
  shapes->query =
      std::max<int64_t>(shapes->query, static_cast<int64_t>(attention.heads) * attention.head_size);
  shapes->key =
      std::max<int64_t>(shapes->key, static_cast<int64_t>(attention.kv_heads) * attention.head_size);
  shapes->heads = std::max(shapes->heads, attention.heads);
  shapes->kv_heads = std::max(shapes->kv_heads, attention.kv_heads);
  shapes->head_size = std::max(shapes->head_size, attention.head_size);
  shapes->tile_queries = std::max(shapes->tile_queries, cpu::AttentionTileRows(group) * group);
  const auto partial = static_cast<size_t>(cpu::AttentionPartialFloats(attention.head_size));
  shapes->chunk_partial_bytes =
      std::max(shapes->chunk_partial_bytes, attention.heads * partial * sizeof(float));
}

void AddFold(const FoldSpec& fold, TensorType type, CpuShapes* shapes) {
  const FoldLayout layout(fold, type);
  shapes->prepared_columns = std::max(shapes->prepared_columns, layout.prepared_columns);
  shapes->padded_columns = std::max(shapes->padded_columns, layout.padded_columns);
  if (fold.ranks() == 1) return;
  const auto nodes = static_cast<int64_t>(
      NodesOf(fold.first_leaf(fold.rank), fold.end_leaf(fold.rank), fold.leaves()).size());
  shapes->exchanged_columns = std::max(shapes->exchanged_columns, nodes * shapes->hidden);
}

}  // namespace

CpuShapes ShapesOf(const ModelSpec& spec, cpu::ActivationMode wanted) {
  CpuShapes shapes;
  shapes.hidden = spec.hidden_size;
  shapes.feed_forward = spec.feed_forward_size;
  shapes.prepared_columns = shapes.hidden;
  if (spec.part.has_head) shapes.vocabulary = RankVocabulary(&spec.part).size();
  if (spec.part.ranks > 1) {
    shapes.exchanged_columns = spec.part.has_embedding ? shapes.hidden : 0;
    if (spec.part.has_head && spec.part.rank == 0) shapes.gathered_columns = spec.vocabulary_size;
  }
  const auto uses = [&](TensorId tensor) {
    if (tensor == kNoTensor) return;
    const TensorType type = spec.tensors[static_cast<size_t>(tensor)].type;
    shapes.uses_mode[static_cast<int32_t>(cpu::ModeFor(wanted, type))] = true;
  };
  uses(spec.head);
  for (const LayerSpec& layer : spec.layers) {
    AddAttention(layer.attention, &shapes);
    AddFold(layer.output_fold, spec.tensors[static_cast<size_t>(layer.output)].type, &shapes);
    AddFold(layer.down_fold, spec.tensors[static_cast<size_t>(layer.down)].type, &shapes);
    for (const TensorId tensor :
         {layer.query, layer.key, layer.value, layer.output, layer.gate, layer.up, layer.down}) {
      uses(tensor);
    }
  }
  return shapes;
}

size_t LayScratch(const CpuShapes& shapes, const ModelSpec& spec, const BackendLimits& limits, uint8_t* base,
                  CpuScratch* scratch) {
  Layout layout(base);
  const int64_t rows = limits.max_rows;
  scratch->hidden = layout.Floats(rows, shapes.hidden);
  scratch->query = layout.Floats(rows, shapes.query);
  scratch->key = layout.Floats(rows, shapes.key);
  scratch->value = layout.Floats(rows, shapes.key);
  scratch->context = layout.Floats(rows, shapes.query);
  scratch->carry = layout.Floats(rows, int64_t{2} * shapes.heads);
  scratch->gate = layout.Floats(rows, shapes.feed_forward);
  scratch->up = layout.Floats(rows, shapes.feed_forward);
  const size_t maxima_bytes =
      AlignUp(static_cast<size_t>(limits.max_samples) * sizeof(SliceMaximum), kLineBytes);
  const size_t slice_bytes =
      static_cast<size_t>(limits.max_samples) * static_cast<size_t>(shapes.vocabulary) * sizeof(float);
  auto* const slices = layout.Take<uint8_t>(maxima_bytes + slice_bytes);
  scratch->logits = slices == nullptr ? nullptr : reinterpret_cast<float*>(slices + maxima_bytes);
  scratch->gathered = layout.Floats(limits.max_samples, shapes.gathered_columns);
  scratch->sample_order = layout.Take<int32_t>(static_cast<size_t>(limits.max_samples) * sizeof(int32_t));
  for (uint8_t*& exchange : scratch->exchange) {
    exchange = layout.Take<uint8_t>(static_cast<size_t>(rows * shapes.exchanged_columns) * sizeof(float));
  }
  const int64_t prepared_rows = std::max(limits.max_rows, limits.max_samples);
  for (int32_t mode = 0; mode < 2; ++mode) {
    const size_t row_bytes =
        cpu::PreparedRowBytes(static_cast<cpu::ActivationMode>(mode), shapes.prepared_columns);
    scratch->prepared[mode] =
        layout.Take<uint8_t>(shapes.uses_mode[mode] ? static_cast<size_t>(prepared_rows) * row_bytes : 0);
  }
  scratch->sequence_of_row = layout.Take<int32_t>(static_cast<size_t>(rows) * sizeof(int32_t));
  scratch->rotary = layout.Take<void>(cpu::RotaryTable::Bytes(spec.rotary, limits.max_positions));

  const size_t chunks = static_cast<size_t>(limits.max_positions) / cpu::kAttentionChunk + 1;
  // One thread walks all chunks itself.
  scratch->partials_bytes =
      limits.threads == 1 ? 0 : std::max(kPartialsBytes, chunks * shapes.chunk_partial_bytes);
  scratch->partials = layout.Take<float>(scratch->partials_bytes);

  scratch->angles_offset = LineFloats(shapes.hidden);
  scratch->padded_offset = scratch->angles_offset + LineFloats(spec.rotary.dimensions);
  scratch->attention_offset = scratch->padded_offset + LineFloats(shapes.padded_columns);
  scratch->worker_bytes = AlignUp(static_cast<size_t>(scratch->attention_offset) * sizeof(float) +
                                      cpu::AttentionScratchBytes(shapes.tile_queries, shapes.head_size),
                                  kLineBytes);
  scratch->workers = layout.Take<uint8_t>(scratch->worker_bytes * static_cast<size_t>(limits.threads));
  return layout.used();
}

}  // namespace tessera
