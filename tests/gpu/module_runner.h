// Drives the module's table for tests: a device with counted memory, a tiny model's weights and caches on it,
// a context, and steps made of sequences. Every call returns whether it went well, so that a test can make
// any of them fail.
#ifndef TESSERA_TESTS_GPU_MODULE_RUNNER_H_
#define TESSERA_TESTS_GPU_MODULE_RUNNER_H_

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/cache/cache_view.h"
#include "core/device/device_module.h"
#include "tests/gpu/tiny_model.h"

namespace tessera::gpu {

// The host's allocators: count what is out, and may refuse.
struct CountingMemory {
  std::map<void*, size_t> device, pinned;
  size_t refuse_above = ~size_t{0};

  static void* AllocateDevice(void* user, int32_t, size_t size_bytes) {
    auto* const self = static_cast<CountingMemory*>(user);
    void* data = nullptr;
    if (size_bytes > self->refuse_above || cudaMalloc(&data, size_bytes) != cudaSuccess) return nullptr;
    // Not zero: who needs zeros must write them.
    if (cudaMemset(data, 0xA5, size_bytes) != cudaSuccess) return nullptr;
    self->device[data] = size_bytes;
    return data;
  }
  static void FreeDevice(void* user, int32_t, void* data, size_t size_bytes) {
    auto* const self = static_cast<CountingMemory*>(user);
    EXPECT_EQ(self->device[data], size_bytes);
    self->device.erase(data);
    cudaFree(data);
  }
  static void* AllocatePinned(void* user, int32_t, size_t size_bytes) {
    auto* const self = static_cast<CountingMemory*>(user);
    void* data = nullptr;
    if (cudaMallocHost(&data, size_bytes) != cudaSuccess) return nullptr;
    std::memset(data, 0xA5, size_bytes);
    self->pinned[data] = size_bytes;
    return data;
  }
  static void FreePinned(void* user, int32_t, void* data, size_t size_bytes) {
    auto* const self = static_cast<CountingMemory*>(user);
    EXPECT_EQ(self->pinned[data], size_bytes);
    self->pinned.erase(data);
    cudaFreeHost(data);
  }
  size_t bytes_out() const {
    size_t bytes = 0;
    for (const auto& [data, size] : device) bytes += size;
    for (const auto& [data, size] : pinned) bytes += size;
    return bytes;
  }
};

struct RunnerOptions {
  int32_t max_rows = 64;
  int32_t max_samples = 16;
  int32_t max_sequences = 8;
  int32_t max_positions = 256;
  int32_t block_tokens = 16;
  int32_t blocks = 64;  // of each cache group
  CacheType cache_type = CacheType::kBF16;
  int32_t depth = 2;
  bool batch_invariant = false;
  bool overlap = true;
  bool graphs = true;
  bool library = true;
  bool time_regions = false;
  bool joined = false;  // query, key and value lie one behind the other, and so do gate and up
};

class ModuleRunner {
 public:
  ModuleRunner(const TinyModel& model, const RunnerOptions& options)
      : table_(tsr_device_module()), model_(model), options_(options) {}
  ~ModuleRunner() {
    if (context_ != nullptr) table_->destroy_context(context_);
    for (const auto& [data, size] : allocated_) table_->release(device_, 0, data, size);
    if (device_ != nullptr) table_->close(device_);
  }
  ModuleRunner(const ModuleRunner&) = delete;
  ModuleRunner& operator=(const ModuleRunner&) = delete;

  const tsr_device_functions& table() const { return *table_; }
  tsr_device* device() const { return device_; }
  tsr_device_context* context() const { return context_; }
  const tsr_device_failure& failure() const { return failure_; }
  std::string message() const { return failure_.message; }
  const tsr_device_model& description() const { return description_; }
  const RunnerOptions& options() const { return options_; }

  // `memory` and a stream of the host's: may be null.
  bool Open(CountingMemory* memory, void* stream = nullptr) {
    tsr_device_options options = {};
    options.struct_size = sizeof(options);
    options.stream = stream;
    options.staging_bytes = 1 << 20;
    if (memory != nullptr) {
      options.device_memory = {CountingMemory::AllocateDevice, CountingMemory::FreeDevice, memory};
      options.pinned_memory = {CountingMemory::AllocatePinned, CountingMemory::FreePinned, memory};
    }
    return table_->open(&options, &device_, &failure_) == 0;
  }

  bool LoadWeights() {
    const TinyShape& shape = model_.shape();
    layers_.assign(static_cast<size_t>(shape.layers), tsr_device_layer{});
    for (int32_t i = 0; i < shape.layers; ++i) {
      if (!LoadLayer(i, &layers_[static_cast<size_t>(i)])) return false;
    }
    description_.struct_size = sizeof(description_);
    description_.hidden_size = shape.hidden;
    description_.feed_forward_size = shape.feed_forward;
    description_.vocabulary_size = shape.vocabulary;
    description_.layer_count = shape.layers;
    description_.norm_epsilon = static_cast<float>(TinyModel::kEpsilon);
    description_.rotary_pairing = shape.halves ? 1 : 0;
    description_.rotary_dimensions = shape.rotary_dimensions;
    description_.rotary_magnitude = 1.0f;
    description_.rotary_inverse_frequencies = model_.inverse_frequencies().data();
    description_.layers = layers_.data();
    description_.cache_group_count = groups();
    return Load(model_.embedding(), &description_.embedding) &&
           Load(model_.output_norm(), &description_.output_norm) && Load(model_.head(), &description_.head) &&
           Ok(table_->wait_uploads(device_, &failure_));
  }

  tsr_device_limits Limits() const {
    tsr_device_limits limits = {};
    limits.struct_size = sizeof(limits);
    limits.max_rows = options_.max_rows;
    limits.max_samples = options_.max_samples;
    limits.max_sequences = options_.max_sequences;
    limits.max_positions = options_.max_positions;
    limits.block_tokens = options_.block_tokens;
    limits.cache_type = static_cast<int32_t>(options_.cache_type);
    limits.depth = options_.depth;
    limits.batch_invariant = options_.batch_invariant ? 1 : 0;
    limits.no_overlap = options_.overlap ? 0 : 1;
    limits.no_graphs = options_.graphs ? 0 : 1;
    limits.no_matrix_library = options_.library ? 0 : 1;
    limits.time_regions = options_.time_regions ? 1 : 0;
    return limits;
  }

  bool CreateContext() {
    const tsr_device_limits limits = Limits();
    return Ok(table_->create_context(device_, &description_, &limits, &context_, &failure_));
  }

  bool SetCaches() {
    caches_.clear();
    for (int32_t group = 0; group < groups(); ++group) {
      tsr_device_cache cache = {};
      cache.type = static_cast<int32_t>(options_.cache_type);
      cache.block_tokens = options_.block_tokens;
      cache.kv_heads = model_.shape().kv_heads;
      cache.head_size = model_.shape().head_size;
      cache.layer_count = groups() == 1 ? model_.shape().layers : LayersOf(group);
      cache.window_tokens = group == 0 ? 0 : model_.shape().window_tokens;
      CacheView view;
      view.type = options_.cache_type;
      view.block_tokens = cache.block_tokens;
      view.kv_heads = cache.kv_heads;
      view.head_size = cache.head_size;
      view.layer_count = cache.layer_count;
      cache.data = Allocate(1, view.block_bytes() * static_cast<size_t>(options_.blocks));
      if (cache.data == nullptr) return false;
      caches_.push_back(cache);
    }
    return Ok(table_->set_caches(context_, caches_.data(), groups(), &failure_));
  }

  // All of the above.
  bool Start(CountingMemory* memory = nullptr) {
    return Open(memory) && LoadWeights() && CreateContext() && SetCaches();
  }

  int32_t groups() const { return model_.shape().window_tokens > 0 ? 2 : 1; }
  const tsr_device_cache& cache(int32_t group) const { return caches_[static_cast<size_t>(group)]; }

  bool Run(const tsr_device_step& step) { return Ok(table_->run_step(context_, &step, &failure_)); }
  // Waits at most ten seconds.
  bool Finish() {
    int32_t done = 0;
    if (!Ok(table_->finish_step(context_, int64_t{10} * 1000 * 1000 * 1000, &done, &failure_))) return false;
    EXPECT_EQ(done, 1) << "the step did not end within ten seconds";
    return done == 1;
  }

  void* Allocate(int32_t memory_class, size_t size_bytes) {
    void* const data = table_->allocate(device_, memory_class, size_bytes, &failure_);
    if (data != nullptr) allocated_.emplace_back(data, size_bytes);
    return data;
  }
  bool Upload(const void* source, void* target, size_t size_bytes) {
    const size_t most = table_->upload_piece_bytes(device_);
    for (size_t at = 0; at < size_bytes; at += most) {
      const size_t count = std::min(most, size_bytes - at);
      void* piece = nullptr;
      if (!Ok(table_->begin_upload(device_, &piece, &failure_))) return false;
      std::memcpy(piece, static_cast<const uint8_t*>(source) + at, count);
      if (!Ok(table_->end_upload(device_, piece, static_cast<uint8_t*>(target) + at, count, &failure_))) {
        return false;
      }
    }
    return true;
  }

 private:
  static bool Ok(int32_t code) { return code == 0; }
  int32_t LayersOf(int32_t group) const { return (model_.shape().layers + 1 - group) / 2; }

  std::vector<uint16_t> Narrowed(const TinyMatrix& matrix) const {
    std::vector<uint16_t> bits;
    for (const double value : matrix.values) {
      uint16_t element = 0;
      const auto narrow = static_cast<float>(value);
      if (model_.f16()) {
        const __half half = __float2half_rn(narrow);
        std::memcpy(&element, &half, sizeof(element));
      } else {
        const __nv_bfloat16 half = __float2bfloat16_rn(narrow);
        std::memcpy(&element, &half, sizeof(element));
      }
      bits.push_back(element);
    }
    return bits;
  }
  bool Load(const TinyMatrix& matrix, tsr_device_weight* weight) { return Load({{&matrix, weight}}); }
  // Into one allocation, one behind the other.
  bool Load(const std::vector<std::pair<const TinyMatrix*, tsr_device_weight*>>& matrices) {
    std::vector<uint16_t> bits;
    for (const auto& [matrix, weight] : matrices) {
      const std::vector<uint16_t> more = Narrowed(*matrix);
      bits.insert(bits.end(), more.begin(), more.end());
    }
    const size_t size_bytes = bits.size() * sizeof(uint16_t);
    auto* target = static_cast<uint8_t*>(Allocate(0, size_bytes));
    if (target == nullptr || !Upload(bits.data(), target, size_bytes)) return false;
    for (const auto& [matrix, weight] : matrices) {
      *weight = {target, model_.f16() ? 1 : 30, 0, matrix->rows, matrix->columns};
      target += matrix->values.size() * sizeof(uint16_t);
    }
    return true;
  }
  bool LoadProducts(const TinyLayer& source, tsr_device_layer* layer) {
    if (!options_.joined) {
      return Load(source.query, &layer->query) && Load(source.key, &layer->key) &&
             Load(source.value, &layer->value) && Load(source.gate, &layer->gate) &&
             Load(source.up, &layer->up);
    }
    return Load({{&source.query, &layer->query},
                 {&source.key, &layer->key},
                 {&source.value, &layer->value}}) &&
           Load({{&source.gate, &layer->gate}, {&source.up, &layer->up}});
  }
  bool Load(const std::vector<double>& values, tsr_device_weight* weight) {
    if (values.empty()) return true;
    const std::vector<float> floats(values.begin(), values.end());
    void* const target = Allocate(0, floats.size() * sizeof(float));
    if (target == nullptr || !Upload(floats.data(), target, floats.size() * sizeof(float))) return false;
    *weight = {target, 0, 0, 1, static_cast<int64_t>(floats.size())};
    return true;
  }

  bool LoadLayer(int32_t index, tsr_device_layer* layer) {
    const TinyShape& shape = model_.shape();
    const TinyLayer& source = model_.layers()[static_cast<size_t>(index)];
    layer->heads = shape.heads;
    layer->kv_heads = shape.kv_heads;
    layer->head_size = shape.head_size;
    layer->window_tokens = model_.WindowOf(index);
    layer->attention_scale = 1.0f / std::sqrt(static_cast<float>(shape.head_size));
    layer->cache_group = groups() == 1 ? 0 : index % 2;
    layer->layer_in_group = groups() == 1 ? index : index / 2;
    return Load(source.attention_norm, &layer->attention_norm) && LoadProducts(source, layer) &&
           Load(source.query_bias, &layer->query_bias) && Load(source.key_bias, &layer->key_bias) &&
           Load(source.value_bias, &layer->value_bias) && Load(source.output, &layer->output) &&
           Load(source.output_bias, &layer->output_bias) &&
           Load(source.feed_forward_norm, &layer->feed_forward_norm) && Load(source.down, &layer->down);
  }

  const tsr_device_functions* const table_;
  const TinyModel& model_;
  const RunnerOptions options_;
  tsr_device* device_ = nullptr;
  tsr_device_context* context_ = nullptr;
  tsr_device_failure failure_ = {};
  tsr_device_model description_ = {};
  std::vector<tsr_device_layer> layers_;
  std::vector<tsr_device_cache> caches_;
  std::vector<std::pair<void*, size_t>> allocated_;
};

// A step under construction: sequences with their rows, and samples. It owns all that the step points to.
class StepBuilder {
 public:
  explicit StepBuilder(int32_t groups) : groups_(groups) {}

  // The next rows of a sequence; `blocks` [groups], ids in order. Tokens of -1 take sources from `source`.
  void Add(const std::vector<int32_t>& tokens, int32_t first_position,
           const std::vector<std::vector<int32_t>>& blocks, int32_t source = -1) {
    tsr_device_sequence sequence = {};
    sequence.first_row = static_cast<int32_t>(tokens_.size());
    sequence.row_count = static_cast<int32_t>(tokens.size());
    sequence.first_position = first_position;
    sequences_.push_back(sequence);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens_.push_back(tokens[i]);
      positions_.push_back(first_position + static_cast<int32_t>(i));
      sources_.push_back(tokens[i] == -1 ? source : -1);
    }
    blocks_.push_back(std::make_unique<std::vector<std::vector<int32_t>>>(blocks));
  }
  // Of the last row added: greedy, without log-probabilities.
  tsr_device_sample* Sample() {
    tsr_device_sample sample = {};
    sample.row = static_cast<int32_t>(tokens_.size()) - 1;
    sample.top_p = 1.0f;
    sample.repetition_penalty = 1.0f;
    sample.top_logprobs = -1;
    sample.token = -7;
    samples_.push_back(std::make_unique<tsr_device_sample>(sample));
    return samples_.back().get();
  }
  void Copy(int32_t group, int32_t from, int32_t to) { copies_.push_back({group, from, to}); }

  // Valid until the builder changes. The samples' results are there after TakeResults.
  const tsr_device_step& Step() {
    pointers_.clear();
    for (const auto& tables : blocks_) {
      for (int32_t group = 0; group < groups_; ++group) {
        pointers_.push_back((*tables)[static_cast<size_t>(group)].data());
      }
    }
    for (size_t s = 0; s < sequences_.size(); ++s) {
      sequences_[s].blocks = pointers_.data() + s * static_cast<size_t>(groups_);
    }
    flat_.clear();
    for (const auto& sample : samples_) flat_.push_back(*sample);
    step_ = {};
    step_.struct_size = sizeof(step_);
    step_.row_count = static_cast<int32_t>(tokens_.size());
    step_.sequence_count = static_cast<int32_t>(sequences_.size());
    step_.copy_count = static_cast<int32_t>(copies_.size());
    step_.sample_count = static_cast<int32_t>(flat_.size());
    step_.tokens = tokens_.data();
    step_.positions = positions_.data();
    step_.sources = sources_.data();
    step_.sequences = sequences_.data();
    step_.copies = copies_.data();
    step_.samples = flat_.data();
    return step_;
  }
  const tsr_device_sample& result(size_t sample) const { return flat_[sample]; }

 private:
  const int32_t groups_;
  std::vector<int32_t> tokens_, positions_, sources_;
  std::vector<tsr_device_sequence> sequences_;
  std::vector<std::unique_ptr<std::vector<std::vector<int32_t>>>> blocks_;
  std::vector<std::unique_ptr<tsr_device_sample>> samples_;
  std::vector<tsr_device_sample> flat_;
  std::vector<const int32_t*> pointers_;
  std::vector<tsr_device_copy> copies_;
  tsr_device_step step_ = {};
};

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_MODULE_RUNNER_H_
