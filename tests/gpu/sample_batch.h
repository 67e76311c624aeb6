// A launch of sampling and the same samples on the CPU: logits and parameters of every kind, and what both
// make of them. For CUDA's compiler.
#ifndef TESSERA_TESTS_GPU_SAMPLE_BATCH_H_
#define TESSERA_TESTS_GPU_SAMPLE_BATCH_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gpu/kernels/sample/sample.h"
#include "tests/gpu/gpu_test.h"
#include "tests/gpu/sample_reference.h"

namespace tessera::gpu {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr int32_t kPoison = -1431655766;  // 0xAAAAAAAA

// Relative errors of the probabilities: the exponentials' of both sides, in units of the last place, and what
// sums make of them.
inline constexpr double kTolerance = 1e-6;
// Logits that are farther apart than a float reaches have one of -infinity.
inline bool IsLogprob(float actual, float expected) {
  if (!std::isfinite(expected)) return actual == expected;
  return std::abs(static_cast<double>(actual) - static_cast<double>(expected)) <=
         1e-6 + 3e-7 * std::abs(static_cast<double>(expected));
}

enum class Logits { kNormal, kWide, kNarrow, kPeaked, kFlat, kHugeTies, kFewValues, kZeros };
inline constexpr Logits kAllLogits[] = {Logits::kNormal,    Logits::kWide, Logits::kNarrow,
                                        Logits::kPeaked,    Logits::kFlat, Logits::kHugeTies,
                                        Logits::kFewValues, Logits::kZeros};

inline std::vector<float> MakeLogits(Logits kind, int32_t vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> logits(vocabulary);
  for (float& logit : logits) {
    switch (kind) {
      case Logits::kNormal:
        logit = normal(random);
        break;
      case Logits::kWide:
        logit = 4 * normal(random) - 3;
        break;
      case Logits::kNarrow:
        logit = 20 + 0.01f * normal(random);
        break;
      case Logits::kPeaked:
        logit = 2 * normal(random) + (random() % 1024 == 0 ? 15.0f : 0.0f);
        break;
      case Logits::kFlat:
        logit = 1.5f;
        break;
      case Logits::kHugeTies:
        logit = random() % 3 == 0 ? 3e38f : -3e38f;
        break;
      case Logits::kFewValues:
        logit = static_cast<float>(random() % 6) - 3;
        break;
      case Logits::kZeros:
        logit = random() % 2 == 0 ? 0.0f : -0.0f;
        break;
    }
  }
  return logits;
}

// Parameters of every kind and their combinations, by number.
inline SampleCase MakeCase(int32_t vocabulary, std::mt19937* random) {
  const auto any_of = [&](const std::vector<float>& values) { return values[(*random)() % values.size()]; };
  const auto one_in = [&](uint32_t n) { return (*random)() % n == 0; };
  SampleCase sample;
  sample.temperature = one_in(6) ? 0.0f : any_of({0.8f, 1.0f, 0.1f, 2.0f, 40.0f, 1e-35f});
  const std::vector<int32_t> ks = {1, 40, 1000, vocabulary - 1, vocabulary, 2 * vocabulary};
  if (one_in(2)) sample.top_k = ks[(*random)() % ks.size()];
  if (!one_in(3)) sample.top_p = any_of({0.0f, 0.01f, 0.3f, 0.5f, 0.9f, 0.95f, 0.999f, 1.0f});
  if (one_in(3)) sample.min_p = any_of({1e-4f, 0.02f, 0.1f, 1.0f, 1.5f});
  sample.seed = (static_cast<uint64_t>((*random)()) << 32) | (*random)();
  sample.position = one_in(4) ? (static_cast<uint64_t>((*random)()) << 20) : (*random)() % 100000;
  if (one_in(3)) {
    sample.repetition_penalty = any_of({1.0f, 1.1f, 1.8f, 0.7f});
    sample.frequency_penalty = any_of({0.0f, 0.25f, -0.5f});
    sample.presence_penalty = any_of({0.0f, 1.5f, -1.0f});
    const int32_t count = one_in(8) ? 5000 : static_cast<int32_t>((*random)() % 100);
    const int32_t range = one_in(2) ? std::min(vocabulary, 40) : vocabulary;
    for (int32_t i = 0; i < count; ++i) {
      sample.window.push_back(static_cast<int32_t>((*random)() % range) + (one_in(20) ? vocabulary : 0));
    }
    if (one_in(10)) sample.window.push_back(-1);
  }
  if (one_in(3)) {
    const int32_t stride = one_in(6) ? 1 : 1 + vocabulary / 50;
    for (int32_t token = static_cast<int32_t>((*random)() % stride); token < vocabulary + 2;
         token += stride) {
      sample.bias.emplace_back(token, any_of({-kInfinity, 2.0f, -2.0f, 12.0f, 3e38f}));
      if (sample.bias.size() >= 3000) break;
    }
  }
  if (one_in(3)) sample.top_logprobs = static_cast<int32_t>(any_of({0, 1, 5, 20}));
  return sample;
}

// Mapped host memory of `count` samples' results; poisoned.
class Results {
 public:
  explicit Results(size_t count) : count_(count) {
    EXPECT_EQ(
        cudaHostAlloc(reinterpret_cast<void**>(&host_), count * sizeof(SampleResult), cudaHostAllocMapped),
        cudaSuccess);
    EXPECT_EQ(cudaHostGetDevicePointer(reinterpret_cast<void**>(&device_), host_, 0), cudaSuccess);
    Poison();
  }
  ~Results() { cudaFreeHost(host_); }
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;
  void Poison() { std::memset(host_, 0xAA, count_ * sizeof(SampleResult)); }
  const SampleResult& operator[](size_t i) const { return host_[i]; }
  SampleResult* device() const { return device_; }

 private:
  size_t count_;
  SampleResult* host_ = nullptr;
  SampleResult* device_ = nullptr;
};

// A launch of up to `capacity` samples: its device memory, and what the CPU says to the same.
class Batch {
 public:
  Batch(int32_t vocabulary, int32_t capacity, int64_t stride)
      : vocabulary_(vocabulary),
        capacity_(capacity),
        stride_(stride),
        logits_(static_cast<size_t>(capacity) * stride),
        counts_(4),
        params_(capacity),
        biases_(1 << 18),
        window_(1 << 19),
        earlier_(64),
        tokens_(capacity),
        results_(capacity),
        reference_(vocabulary) {}

  const SampleResult& result(int32_t sample) const { return results_[sample]; }
  int32_t differing() const { return differing_; }
  void UseTiles(int32_t tile_tokens) { tile_tokens_ = tile_tokens; }
  void UseEarlier(const std::vector<int32_t>& tokens) { earlier_.Write(tokens); }

  void SetLogits(const std::vector<std::vector<float>>& rows) {
    rows_ = rows;
    std::vector<float> all(static_cast<size_t>(capacity_) * stride_, std::nanf(""));
    for (size_t row = 0; row < rows.size(); ++row) {
      std::copy(rows[row].begin(), rows[row].end(), all.begin() + static_cast<int64_t>(row) * stride_);
    }
    logits_.Write(all);
  }

  // `window_on_device` takes the place of the cases' windows where it is not empty.
  void SetCases(const std::vector<SampleCase>& cases, const std::vector<int32_t>& window_on_device = {}) {
    cases_ = cases;
    std::vector<SampleParams> params(capacity_);
    std::vector<tsr_device_bias> biases;
    std::vector<int32_t> window = window_on_device;
    for (size_t i = 0; i < cases.size(); ++i) {
      const SampleCase& from = cases[i];
      params[i] = {from.temperature,
                   from.top_k,
                   from.top_p,
                   from.min_p,
                   from.repetition_penalty,
                   from.frequency_penalty,
                   from.presence_penalty,
                   from.top_logprobs,
                   from.seed,
                   from.position,
                   static_cast<int32_t>(biases.size()),
                   static_cast<int32_t>(from.bias.size()),
                   window_on_device.empty() ? static_cast<int32_t>(window.size()) : 0,
                   static_cast<int32_t>(from.window.size())};
      for (const auto& bias : from.bias) biases.push_back({bias.first, bias.second});
      if (window_on_device.empty()) window.insert(window.end(), from.window.begin(), from.window.end());
    }
    ASSERT_LE(biases.size(), biases_.size());
    ASSERT_LE(window.size(), window_.size());
    params_.Write(params);
    biases.resize(biases_.size(), {0, kInfinity});
    window.resize(window_.size(), 0);
    biases_.Write(biases);
    window_.Write(window);
    counts_.Write({-1, -1, static_cast<int32_t>(cases.size()), -1});
  }

  // Prepares for launches with `group_blocks` to a sample; 0: as many as the library finds best.
  void Prepare(int32_t group_blocks) {
    ASSERT_CUDA(group_blocks == 0 ? PrepareSample(vocabulary_, capacity_, &setup_)
                                  : PrepareSampleWith(vocabulary_, capacity_, group_blocks, &setup_));
    workspace_ = std::make_unique<DeviceBuffer<uint8_t>>(std::max<size_t>(setup_.workspace_bytes, 1));
    tile_maxima_ = std::make_unique<DeviceBuffer<float>>(1);
    if (tile_tokens_ == 0) return;
    std::vector<float> maxima;
    const int32_t tiles = (vocabulary_ + tile_tokens_ - 1) / tile_tokens_;
    maxima.resize(static_cast<size_t>(capacity_) * tiles, std::nanf(""));
    for (size_t row = 0; row < rows_.size(); ++row) {
      for (int32_t tile = 0; tile < tiles; ++tile) {
        const auto begin = rows_[row].begin() + tile * tile_tokens_;
        const auto end = rows_[row].begin() + std::min((tile + 1) * tile_tokens_, vocabulary_);
        const bool finite = std::all_of(begin, end, [](float logit) { return std::isfinite(logit); });
        maxima[row * tiles + tile] = finite ? *std::max_element(begin, end) : std::nanf("");
      }
    }
    tile_maxima_ = std::make_unique<DeviceBuffer<float>>(maxima);
  }

  cudaError_t Launch(cudaStream_t stream, bool overlap) {
    SampleArgs args;
    args.logits = logits_.get();
    args.logits_stride = stride_;
    args.vocabulary = vocabulary_;
    args.capacity = capacity_;
    args.sample_count = counts_.get() + 2;
    args.params = params_.get();
    args.biases = biases_.get();
    args.window_tokens = window_.get();
    args.earlier_tokens = earlier_.get();
    args.earlier_capacity = static_cast<int32_t>(earlier_.size());
    args.tile_maxima = tile_tokens_ > 0 ? tile_maxima_->get() : nullptr;
    args.tile_tokens = tile_tokens_;
    args.tokens = tokens_.get();
    args.results = results_.device();
    args.workspace = workspace_->get();
    LaunchContext context;
    context.stream = stream;
    context.overlap = overlap;
    return LaunchSample(context, setup_, args);
  }

  void PoisonOutputs() {
    ASSERT_CUDA(cudaMemset(tokens_.get(), 0xAA, tokens_.bytes()));
    ASSERT_CUDA(cudaDeviceSynchronize());
    results_.Poison();
  }

  void Run(cudaStream_t stream, bool overlap = false) {
    PoisonOutputs();
    ASSERT_CUDA(Launch(stream, overlap));
    ASSERT_CUDA(cudaStreamSynchronize(stream));
  }

  // What the last launch wrote against the CPU's outcomes.
  void Compare() {
    const std::vector<int32_t> tokens = tokens_.Read();
    const std::vector<SampleOutcome> expected = reference_.Sample(rows_, cases_);
    for (size_t i = 0; i < cases_.size(); ++i) CompareSample(i, tokens[i], expected[i]);
    for (int32_t i = static_cast<int32_t>(cases_.size()); i < capacity_; ++i) {
      EXPECT_EQ(tokens[i], kPoison) << "absent sample " << i;
      EXPECT_EQ(results_[i].token, kPoison) << "absent sample " << i;
    }
  }

 private:
  std::string Describe(size_t i) const {
    const SampleCase& sample = cases_[i];
    return "sample " + std::to_string(i) + " of " + std::to_string(cases_.size()) + ", vocabulary " +
           std::to_string(vocabulary_) + ", blocks " + std::to_string(setup_.group_blocks) +
           ", temperature " + std::to_string(sample.temperature) + ", top-k " + std::to_string(sample.top_k) +
           ", top-p " + std::to_string(sample.top_p) + ", min-p " + std::to_string(sample.min_p) +
           ", biases " + std::to_string(sample.bias.size()) + ", window " +
           std::to_string(sample.window.size());
  }

  void CompareSample(size_t i, int32_t slot, const SampleOutcome& expected) {
    const SampleResult& actual = results_[i];
    ASSERT_EQ(actual.numeric_fault, expected.numeric_fault ? 1 : 0) << Describe(i);
    EXPECT_EQ(slot, actual.token) << Describe(i);
    if (actual.token != expected.token) {
      ++differing_;
      ASSERT_TRUE(reference_.MayDraw(rows_[i].data(), cases_[i], actual.token, kTolerance))
          << Describe(i) << ": token " << actual.token << " instead of " << expected.token;
    } else {
      EXPECT_TRUE(IsLogprob(actual.logprob, expected.logprob))
          << Describe(i) << ": " << actual.logprob << " instead of " << expected.logprob;
    }
    ASSERT_EQ(actual.top_count, expected.top_count) << Describe(i);
    for (int32_t place = 0; place < expected.top_count; ++place) {
      EXPECT_EQ(actual.top_tokens[place], expected.top_tokens[place]) << Describe(i) << ", place " << place;
      EXPECT_TRUE(IsLogprob(actual.top_logprobs[place], expected.top_logprobs[place]))
          << Describe(i) << ", place " << place << ": " << actual.top_logprobs[place] << " instead of "
          << expected.top_logprobs[place];
    }
  }

  const int32_t vocabulary_;
  const int32_t capacity_;
  const int64_t stride_;
  std::vector<std::vector<float>> rows_;
  std::vector<SampleCase> cases_;
  DeviceBuffer<float> logits_;
  DeviceBuffer<int32_t> counts_;
  DeviceBuffer<SampleParams> params_;
  DeviceBuffer<tsr_device_bias> biases_;
  DeviceBuffer<int32_t> window_;
  DeviceBuffer<int32_t> earlier_;
  DeviceBuffer<int32_t> tokens_;
  std::unique_ptr<DeviceBuffer<uint8_t>> workspace_;
  std::unique_ptr<DeviceBuffer<float>> tile_maxima_;
  int32_t tile_tokens_ = 0;
  Results results_;
  SampleReference reference_;
  SampleSetup setup_;
  int32_t differing_ = 0;
};

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_SAMPLE_BATCH_H_
