#include "tests/core/cpu/model_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "core/model/gguf.h"

namespace tessera {
namespace {

MemoryRegion NewRegion(MemoryClass memory_class, size_t bytes) {
  absl::StatusOr<MemoryRegion> region = MemoryRegion::Create(SystemMemory(), memory_class, bytes, "a test");
  EXPECT_TRUE(region.ok()) << region.status();
  return *std::move(region);
}

}  // namespace

LoadedTinyModel LoadTinyModel(const TinyModelOptions& options) {
  LoadedTinyModel model;
  model.bytes = MakeTinyModel(options);
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Read(FileOf(model.bytes));
  EXPECT_TRUE(file.ok()) << file.status();
  absl::StatusOr<ModelSpec> spec = ReadModelSpec(**file);
  EXPECT_TRUE(spec.ok()) << spec.status();
  model.spec = *std::move(spec);
  return model;
}

ModelRunner::ModelRunner(const LoadedTinyModel* model, const Backend* backend, const RunnerOptions& options)
    : model_(model), options_(options), lengths_(static_cast<size_t>(options.max_sequences), 0) {
  const ModelSpec& spec = model->spec;
  for (const TensorSpec& tensor : spec.tensors) {
    weights_.push_back(
        NewRegion(MemoryClass::kWeights, backend->PackedBytes(tensor.type, tensor.rows, tensor.columns)));
    const uint8_t* const source = model->bytes.data() + tensor.file_offset;
    // In two parts, as a loader would that reads the file bit by bit.
    const int64_t cut = tensor.rows / 2 / backend->PackRows() * backend->PackRows();
    uint8_t* const packed = weights_.back().data();
    const uint8_t* const rest =
        source + static_cast<uint64_t>(cut) * RowBytes(tensor.type, static_cast<uint64_t>(tensor.columns));
    EXPECT_TRUE(backend->Pack(tensor.type, tensor.rows, tensor.columns, 0, cut, source, packed).ok());
    EXPECT_TRUE(
        backend->Pack(tensor.type, tensor.rows, tensor.columns, cut, tensor.rows - cut, rest, packed).ok());
  }

  const int32_t per_sequence = (options.max_positions + options.block_tokens - 1) / options.block_tokens;
  const int32_t block_count = per_sequence * options.max_sequences;
  blocks_.resize(static_cast<size_t>(options.max_sequences));
  block_lists_.resize(static_cast<size_t>(options.max_sequences));
  for (const CacheGroupSpec& group : spec.cache_groups) {
    CacheView view;
    view.type = options.cache_type;
    view.block_tokens = options.block_tokens;
    view.kv_heads = group.kv_heads;
    view.head_size = group.head_size;
    view.layer_count = static_cast<int32_t>(group.layers.size());
    cache_memory_.push_back(
        NewRegion(MemoryClass::kCache, static_cast<size_t>(block_count) * view.block_bytes()));
    view.data = cache_memory_.back().data();
    std::fill_n(view.data, cache_memory_.back().size_bytes(), uint8_t{0xFF});  // NaN in every type
    caches_.push_back(view);

    std::vector<int32_t> ids(static_cast<size_t>(block_count));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(5));
    for (int32_t s = 0; s < options.max_sequences; ++s) {
      const auto first = ids.begin() + s * per_sequence;
      blocks_[static_cast<size_t>(s)].emplace_back(first, first + per_sequence);
    }
  }
  for (size_t s = 0; s < blocks_.size(); ++s) {
    for (const std::vector<int32_t>& list : blocks_[s]) block_lists_[s].push_back(list.data());
  }

  BackendLimits limits;
  limits.max_rows = options.max_rows;
  limits.max_samples = options.max_rows;
  limits.max_sequences = options.max_sequences;
  limits.max_positions = options.max_positions;
  limits.block_tokens = options.block_tokens;
  limits.cache_type = options.cache_type;
  limits.threads = options.threads;
  absl::StatusOr<std::unique_ptr<BackendContext>> context =
      backend->CreateContext(spec, limits, nullptr, SystemMemory());
  EXPECT_TRUE(context.ok()) << context.status();
  context_ = *std::move(context);
}

WeightView ModelRunner::ViewOf(TensorId tensor) const {
  if (tensor == kNoTensor) return {};
  const TensorSpec& spec = model_->spec.tensors[static_cast<size_t>(tensor)];
  return {weights_[static_cast<size_t>(tensor)].data(), spec.type, spec.rows, spec.columns};
}

RegionWeights ModelRunner::WeightsOf(const Region& region) const {
  const ModelSpec& spec = model_->spec;
  RegionWeights weights;
  if (region.kind == RegionKind::kEmbed) weights.matrix = ViewOf(spec.embedding);
  if (region.kind == RegionKind::kHead) {
    weights.norm = ViewOf(spec.output_norm);
    weights.matrix = ViewOf(spec.head);
  }
  if (region.layer < 0) return weights;
  const LayerSpec& layer = spec.layers[static_cast<size_t>(region.layer)];
  switch (region.kind) {
    case RegionKind::kNormQkv:
      weights.norm = ViewOf(layer.attention_norm);
      weights.query = ViewOf(layer.query);
      weights.key = ViewOf(layer.key);
      weights.value = ViewOf(layer.value);
      weights.query_bias = ViewOf(layer.query_bias);
      weights.key_bias = ViewOf(layer.key_bias);
      weights.value_bias = ViewOf(layer.value_bias);
      break;
    case RegionKind::kOutput:
      weights.matrix = ViewOf(layer.output);
      weights.matrix_bias = ViewOf(layer.output_bias);
      break;
    case RegionKind::kNormGateUp:
      weights.norm = ViewOf(layer.feed_forward_norm);
      weights.gate = ViewOf(layer.gate);
      weights.up = ViewOf(layer.up);
      break;
    case RegionKind::kDown:
      weights.matrix = ViewOf(layer.down);
      break;
    default:
      break;
  }
  return weights;
}

std::vector<std::vector<float>> ModelRunner::Step(const std::vector<Chunk>& chunks, PauseSource* pause) {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<SequenceView> sequences;
  for (const Chunk& chunk : chunks) {
    const auto s = static_cast<size_t>(chunk.sequence);
    SequenceView view;
    view.first_row = static_cast<int32_t>(tokens.size());
    view.row_count = static_cast<int32_t>(chunk.tokens.size());
    view.first_position = lengths_[s];
    view.blocks = block_lists_[s].data();
    sequences.push_back(view);
    for (const int32_t token : chunk.tokens) {
      tokens.push_back(token);
      positions.push_back(lengths_[s]++);
    }
  }
  const auto rows = static_cast<int32_t>(tokens.size());
  const auto vocabulary = static_cast<size_t>(model_->spec.vocabulary_size);
  std::vector<std::vector<float>> logits(static_cast<size_t>(rows), std::vector<float>(vocabulary, NAN));
  samples_.assign(static_cast<size_t>(rows), {});
  for (int32_t row = 0; row < rows; ++row) {
    SampleRow& sample = samples_[static_cast<size_t>(row)];
    sample.row = row;
    sample.params = &params_;
    sample.position = static_cast<uint64_t>(positions[static_cast<size_t>(row)]) + 1;
    sample.logits_out = logits[static_cast<size_t>(row)].data();
  }

  StepView step;
  step.row_count = rows;
  step.tokens = tokens.data();
  step.positions = positions.data();
  step.sequence_count = static_cast<int32_t>(sequences.size());
  step.sequences = sequences.data();
  step.caches = caches_.data();
  step.sample_count = rows;
  step.samples = samples_.data();
  slices_ = 0;
  context_->BeginStep(step);
  for (const Region& region : BuildRegions(model_->spec)) {
    const RegionWeights weights = WeightsOf(region);
    if (pause == nullptr) {
      const absl::Status status = context_->Execute(region, weights, step);
      EXPECT_TRUE(status.ok()) << status;
      continue;
    }
    for (RegionProgress progress; !progress.done; ++slices_) {
      const absl::Status status = context_->ExecuteSlice(region, weights, step, *pause, &progress);
      EXPECT_TRUE(status.ok()) << status;
      context_->EndStep();  // as an engine does that hands the host's thread back
      context_->BeginStep(step);
    }
  }
  context_->EndStep();
  return logits;
}

}  // namespace tessera
