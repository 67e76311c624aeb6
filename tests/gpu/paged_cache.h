// A paged cache for tests: random keys and values in shuffled blocks, encoded by plain host code, and what
// they are in double precision. Everything that no token owns is poisoned.
#ifndef TESSERA_TESTS_GPU_PAGED_CACHE_H_
#define TESSERA_TESTS_GPU_PAGED_CACHE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "gpu/kernels/common/step_arrays.h"
#include "tests/gpu/gpu_test.h"

namespace tessera::gpu {

inline int32_t RowBytes(ElementType type, int32_t size) {
  return type == ElementType::kInt8Rows ? (size + 1) / 2 * 2 + 2 * ((size + 31) / 32) : 2 * size;
}

// Values as they come back from the row go to `exact`.
inline void EncodeRow(ElementType type, const float* x, int32_t size, uint8_t* row, double* exact) {
  if (type == ElementType::kInt8Rows) {
    auto* const scales = reinterpret_cast<__half*>(row + (size + 1) / 2 * 2);
    for (int32_t first = 0; first < size; first += 32) {
      const int32_t end = std::min(size, first + 32);
      float largest = 0;
      for (int32_t i = first; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
      const __half scale = __float2half_rn(largest / 127.0f);
      const float wide = __half2float(scale);
      const float inverse = wide > 0 ? 1.0f / wide : 0.0f;
      scales[first / 32] = scale;
      for (int32_t i = first; i < end; ++i) {
        const float rounded = std::min(std::max(std::nearbyint(x[i] * inverse), -127.0f), 127.0f);
        reinterpret_cast<int8_t*>(row)[i] = static_cast<int8_t>(rounded);
        exact[i] = static_cast<double>(rounded) * wide;
      }
    }
    return;
  }
  for (int32_t i = 0; i < size; ++i) {
    if (type == ElementType::kBF16) {
      const __nv_bfloat16 value = __float2bfloat16_rn(x[i]);
      std::memcpy(row + 2 * i, &value, 2);
      exact[i] = __bfloat162float(value);
    } else {
      const __half value = __float2half_rn(x[i]);
      std::memcpy(row + 2 * i, &value, 2);
      exact[i] = __half2float(value);
    }
  }
}

// About normal, deviation 1: quick, since tests need millions.
class QuickRandom {
 public:
  explicit QuickRandom(uint64_t seed) : state_(seed * 2862933555777941757u + 3037000493u) {}
  float operator()() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state_ >> 40) * 0x1p-24f - 0.5f;
    }
    return sum * 1.7320508f;
  }

 private:
  uint64_t state_;
};

struct TestSequence {
  int32_t first_position = 0;
  int32_t row_count = 1;
  int32_t end() const { return first_position + row_count; }
};

struct PagedCacheOptions {
  ElementType type = ElementType::kBF16;
  int32_t kv_heads = 1;
  int32_t head_size = 64;
  int32_t block_tokens = 16;
  int32_t window_tokens = 0;  // blocks that no row sees are -1
  int64_t spare_bytes = 0;    // of unused blocks before those in use
  uint32_t seed = 1;
};

// The second of two layers; both sides of it are poison.
class PagedCache {
 public:
  PagedCache(const PagedCacheOptions& options, const std::vector<TestSequence>& sequences)
      : options_(options), sequences_(sequences) {
    layout_.type = options.type;
    layout_.block_tokens = options.block_tokens;
    layout_.kv_heads = options.kv_heads;
    layout_.head_size = options.head_size;
    layout_.row_bytes = RowBytes(options.type, options.head_size);
    const int64_t plane = int64_t{layout_.row_bytes} * options.kv_heads * options.block_tokens;
    layout_.block_bytes = 4 * plane;
    layout_.layer_offset_bytes = 2 * plane;
    layout_.value_offset_bytes = plane;
    PlaceBlocks();
    FillTokens();
  }

  const CacheLayout& layout() const { return layout_; }
  const std::vector<int32_t>& table() const { return table_; }
  int32_t table_stride() const { return table_stride_; }
  // [head_size] of what the cache holds.
  const double* exact(bool value, int32_t sequence, int32_t kv_head, int32_t token) const {
    return exact_.data() + ExactIndex(value, sequence, kv_head, token);
  }
  uint8_t* device_row(bool value, int32_t sequence, int32_t kv_head, int32_t token) const {
    const int32_t block =
        table_[static_cast<size_t>(sequence * table_stride_ + token / layout_.block_tokens)];
    return layout_.data + block * layout_.block_bytes + RowOffset(value, kv_head, token);
  }

 private:
  int64_t RowOffset(bool value, int32_t kv_head, int32_t token) const {
    return layout_.layer_offset_bytes + (value ? layout_.value_offset_bytes : 0) +
           int64_t{kv_head * layout_.block_tokens + token % layout_.block_tokens} * layout_.row_bytes;
  }
  int64_t ExactIndex(bool value, int32_t sequence, int32_t kv_head, int32_t token) const {
    const int64_t rows = 2 * (first_token_[static_cast<size_t>(sequence)] * options_.kv_heads +
                              int64_t{kv_head} * sequences_[static_cast<size_t>(sequence)].end()) +
                         2 * token + (value ? 1 : 0);
    return rows * options_.head_size;
  }

  void PlaceBlocks() {
    const int32_t block_tokens = options_.block_tokens;
    int32_t count = 0;
    int64_t tokens = 0;
    for (const TestSequence& sequence : sequences_) {
      const int32_t blocks = (sequence.end() + block_tokens - 1) / block_tokens;
      count += blocks;
      table_stride_ = std::max(table_stride_, blocks);
      first_token_.push_back(tokens);
      tokens += sequence.end();
    }
    exact_.resize(static_cast<size_t>(2 * tokens * options_.kv_heads * options_.head_size));
    const auto spare = static_cast<int32_t>(options_.spare_bytes / layout_.block_bytes);
    std::vector<int32_t> ids(static_cast<size_t>(count));
    std::iota(ids.begin(), ids.end(), spare);
    std::mt19937 generator(options_.seed);
    std::shuffle(ids.begin(), ids.end(), generator);
    // Entries past a sequence's end hold what must not be used.
    table_.assign(sequences_.size() * static_cast<size_t>(table_stride_), 0x7FFFFFFF);
    size_t next = 0;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      const int32_t window = options_.window_tokens;
      const int32_t first_seen = window > 0 ? std::max(0, sequences_[s].first_position - window + 1) : 0;
      for (int32_t b = 0; b * block_tokens < sequences_[s].end(); ++b) {
        const bool seen = (b + 1) * block_tokens > first_seen;
        table_[s * static_cast<size_t>(table_stride_) + static_cast<size_t>(b)] = seen ? ids[next] : -1;
        ++next;
      }
    }
    memory_ = std::make_unique<DeviceBuffer<uint8_t>>((static_cast<size_t>(spare) + count) *
                                                      static_cast<size_t>(layout_.block_bytes));
    layout_.data = memory_->get();
  }

  void FillTokens() {
    QuickRandom random(options_.seed);
    std::vector<float> x(static_cast<size_t>(options_.head_size));
    std::vector<uint8_t> block(static_cast<size_t>(layout_.block_bytes));
    for (int32_t s = 0; s < static_cast<int32_t>(sequences_.size()); ++s) {
      const int32_t end = sequences_[static_cast<size_t>(s)].end();
      for (int32_t first = 0; first < end; first += options_.block_tokens) {
        std::fill(block.begin(), block.end(), uint8_t{0xFF});
        for (int32_t token = first; token < std::min(end, first + options_.block_tokens); ++token) {
          for (int32_t i = 0; i < 2 * options_.kv_heads; ++i) {
            for (float& value : x) value = random();
            EncodeRow(options_.type, x.data(), options_.head_size,
                      block.data() + RowOffset(i % 2 != 0, i / 2, token),
                      exact_.data() + ExactIndex(i % 2 != 0, s, i / 2, token));
          }
        }
        const int32_t id = table_[static_cast<size_t>(s * table_stride_ + first / options_.block_tokens)];
        if (id < 0) continue;
        ASSERT_EQ(cudaMemcpy(layout_.data + id * layout_.block_bytes, block.data(), block.size(),
                             cudaMemcpyHostToDevice),
                  cudaSuccess);
      }
    }
  }

  PagedCacheOptions options_;
  std::vector<TestSequence> sequences_;
  CacheLayout layout_;
  std::vector<int32_t> table_;
  int32_t table_stride_ = 1;
  std::vector<int64_t> first_token_;
  std::vector<double> exact_;
  std::unique_ptr<DeviceBuffer<uint8_t>> memory_;
};

// A step's arrays for such sequences, in device memory.
class TestStep {
 public:
  // capacity: at least the rows; max_sequences: at least the sequences. What is beyond is as a step leaves
  // it.
  TestStep(const std::vector<TestSequence>& sequences, const PagedCache& cache, int32_t capacity,
           int32_t max_sequences) {
    std::vector<int32_t> positions(static_cast<size_t>(capacity), 0);
    std::vector<int32_t> owners(static_cast<size_t>(capacity), -1);
    std::vector<int32_t> first_row(static_cast<size_t>(max_sequences), 0x7FFFFFFF);
    std::vector<int32_t> row_count(static_cast<size_t>(max_sequences), 1);
    std::vector<int32_t> first_position(static_cast<size_t>(max_sequences), 0x7FFFFF);
    for (size_t s = 0; s < sequences.size(); ++s) {
      first_row[s] = rows_;
      row_count[s] = sequences[s].row_count;
      first_position[s] = sequences[s].first_position;
      for (int32_t r = 0; r < sequences[s].row_count; ++r) {
        positions[static_cast<size_t>(rows_)] = sequences[s].first_position + r;
        owners[static_cast<size_t>(rows_)] = static_cast<int32_t>(s);
        ++rows_;
      }
    }
    const std::vector<int32_t> counts = {rows_, static_cast<int32_t>(sequences.size()), 0, 0};
    arrays_.counts = Keep(counts);
    arrays_.positions = Keep(positions);
    arrays_.row_sequence = Keep(owners);
    arrays_.first_row = Keep(first_row);
    arrays_.row_count = Keep(row_count);
    arrays_.first_position = Keep(first_position);
    arrays_.block_table = Keep(cache.table());
    arrays_.table_stride = cache.table_stride();
  }

  const StepArrays& arrays() const { return arrays_; }
  int32_t rows() const { return rows_; }

 private:
  const int32_t* Keep(const std::vector<int32_t>& values) {
    kept_.push_back(std::make_unique<DeviceBuffer<int32_t>>(values));
    return kept_.back()->get();
  }

  StepArrays arrays_;
  int32_t rows_ = 0;
  std::vector<std::unique_ptr<DeviceBuffer<int32_t>>> kept_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_PAGED_CACHE_H_
