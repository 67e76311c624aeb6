// One step's attention, as tests and their bounds see it: inputs, a launch, and the worst of its results
// against double precision.
#ifndef TESSERA_TESTS_GPU_ATTENTION_PROBLEM_H_
#define TESSERA_TESTS_GPU_ATTENTION_PROBLEM_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpu/kernels/attention/attention.h"
#include "tests/gpu/gpu_test.h"
#include "tests/gpu/paged_cache.h"

namespace tessera::gpu {

struct AttentionCase {
  ElementType type = ElementType::kBF16;
  ElementType cache_type = ElementType::kBF16;
  int32_t heads = 4;
  int32_t kv_heads = 1;
  int32_t head_size = 128;
  int32_t block_tokens = 16;
  int32_t window_tokens = 0;
  std::vector<TestSequence> sequences;
  bool batch_invariant = false;
  int32_t cluster_blocks = 0;
  float query_deviation = 1;  // of scores too
  int64_t spare_bytes = 0;
  uint32_t seed = 1;
};

inline float FromBits(ElementType type, uint16_t bits) {
  if (type == ElementType::kF16) return __half2float(__half(__half_raw{bits}));
  return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits}));
}

inline uint16_t ToBits(ElementType type, float x) {
  if (type == ElementType::kF16) return static_cast<__half_raw>(__float2half_rn(x)).x;
  return static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x;
}

class AttentionProblem {
 public:
  static constexpr int32_t kSpareRows = 5;
  static constexpr uint16_t kPoison = 0xFFFF;

  AttentionProblem(const AttentionCase& test, int32_t sm_count)
      : test_(test),
        cache_({test.cache_type, test.kv_heads, test.head_size, test.block_tokens, test.window_tokens,
                test.spare_bytes, test.seed},
               test.sequences) {
    int32_t rows = kSpareRows;
    for (const TestSequence& sequence : test.sequences) rows += sequence.row_count;
    const auto sequences = static_cast<int32_t>(test.sequences.size());
    step_ = std::make_unique<TestStep>(test.sequences, cache_, rows, sequences + 2);
    QuickRandom random(test.seed + 1000);
    query_.assign(static_cast<size_t>(rows * width()), kPoison);
    for (size_t i = 0; i < static_cast<size_t>(step_->rows() * width()); ++i) {
      query_[i] = ToBits(test.type, random() * test.query_deviation);
    }
    device_query_ = std::make_unique<DeviceBuffer<uint16_t>>(query_);
    context_ = std::make_unique<DeviceBuffer<uint16_t>>(query_.size());
    call_.shape = {test.type,      test.heads,         test.kv_heads,
                   test.head_size, test.window_tokens, 1.0f / std::sqrt(static_cast<float>(test.head_size))};
    call_.cache = cache_.layout();
    call_.step = step_->arrays();
    call_.capacity = rows;
    call_.max_sequences = sequences + 2;
    call_.query = device_query_->get();
    call_.context = context_->get();
    call_.batch_invariant = test.batch_invariant;
    call_.cluster_blocks = test.cluster_blocks;
    scratch_ = std::make_unique<DeviceBuffer<uint8_t>>(
        AttentionScratchBytes(call_.shape, call_.max_sequences, sm_count, test.batch_invariant));
    call_.scratch = scratch_->get();
    EXPECT_EQ(cudaMemset(call_.scratch, 0, scratch_->bytes()), cudaSuccess);
    EXPECT_EQ(PrepareAttention(call_.shape, call_.cache), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  const AttentionCall& call() const { return call_; }
  const PagedCache& cache() const { return cache_; }
  const std::vector<uint16_t>& query() const { return query_; }
  int32_t width() const { return test_.heads * test_.head_size; }
  int32_t rows() const { return step_->rows(); }

  void PoisonContext() {
    context_->Poison();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  std::vector<uint16_t> ReadContext() const { return context_->Read(); }

  // Both launches, one after the other, into a poisoned context.
  std::vector<uint16_t> Run(const LaunchContext& context) {
    PoisonContext();
    EXPECT_EQ(LaunchAttentionDecode(context, call_), cudaSuccess);
    EXPECT_EQ(LaunchAttentionPrefill(context, call_), cudaSuccess);
    return ReadContext();
  }

  // Over the rows whose sequences have one row (decode), or more: the largest distance of a head's context
  // from the expected one, over the length of the latter. Infinite where a result is no number.
  double WorstError(const std::vector<uint16_t>& context, bool decode) const {
    double worst = 0;
    int32_t row = 0;
    for (size_t s = 0; s < test_.sequences.size(); ++s) {
      const TestSequence& sequence = test_.sequences[s];
      for (int32_t r = 0; r < sequence.row_count; ++r, ++row) {
        if ((sequence.row_count == 1) != decode) continue;
        for (int32_t head = 0; head < test_.heads; ++head) {
          const double error =
              HeadError(context, static_cast<int32_t>(s), sequence.first_position + r, row, head);
          worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
        }
      }
    }
    return worst;
  }

  // Rows beyond the step's, and those of the other kind.
  bool IsUntouched(const std::vector<uint16_t>& context, bool decode_ran, bool prefill_ran) const {
    std::vector<bool> written(context.size() / static_cast<size_t>(width()), false);
    size_t row = 0;
    for (const TestSequence& sequence : test_.sequences) {
      for (int32_t r = 0; r < sequence.row_count; ++r) {
        written[row++] = sequence.row_count == 1 ? decode_ran : prefill_ran;
      }
    }
    for (size_t i = 0; i < context.size(); ++i) {
      if (!written[i / static_cast<size_t>(width())] && context[i] != kPoison) return false;
    }
    return true;
  }

 private:
  double HeadError(const std::vector<uint16_t>& context, int32_t sequence, int32_t position, int32_t row,
                   int32_t head) const {
    const int32_t size = test_.head_size;
    const int32_t kv_head = head / (test_.heads / test_.kv_heads);
    const auto first_element = static_cast<size_t>(row * width() + head * size);
    std::vector<double> query(static_cast<size_t>(size));
    for (int32_t i = 0; i < size; ++i) {
      query[static_cast<size_t>(i)] = FromBits(test_.type, query_[first_element + static_cast<size_t>(i)]);
    }
    const int32_t window = test_.window_tokens;
    const int32_t first = window > 0 ? std::max(0, position - window + 1) : 0;
    std::vector<double> scores;
    double most = -INFINITY;
    for (int32_t token = first; token <= position; ++token) {
      const double* const key = cache_.exact(false, sequence, kv_head, token);
      double score = 0;
      for (int32_t i = 0; i < size; ++i) score += query[static_cast<size_t>(i)] * key[i];
      scores.push_back(score * call_.shape.scale);
      most = std::max(most, scores.back());
    }
    std::vector<double> expected(static_cast<size_t>(size), 0.0);
    double total = 0;
    for (int32_t token = first; token <= position; ++token) {
      const double weight = std::exp(scores[static_cast<size_t>(token - first)] - most);
      const double* const value = cache_.exact(true, sequence, kv_head, token);
      total += weight;
      for (int32_t i = 0; i < size; ++i) expected[static_cast<size_t>(i)] += weight * value[i];
    }
    double distance = 0;
    double length = 0;
    for (int32_t i = 0; i < size; ++i) {
      const double wanted = expected[static_cast<size_t>(i)] / total;
      const double difference =
          static_cast<double>(FromBits(test_.type, context[first_element + static_cast<size_t>(i)])) - wanted;
      distance += difference * difference;
      length += wanted * wanted;
    }
    return std::sqrt(distance / length);
  }

  AttentionCase test_;
  PagedCache cache_;
  std::unique_ptr<TestStep> step_;
  std::vector<uint16_t> query_;
  std::unique_ptr<DeviceBuffer<uint16_t>> device_query_;
  std::unique_ptr<DeviceBuffer<uint16_t>> context_;
  std::unique_ptr<DeviceBuffer<uint8_t>> scratch_;
  AttentionCall call_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_ATTENTION_PROBLEM_H_
