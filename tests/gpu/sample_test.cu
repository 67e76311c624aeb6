// Sampling on the GPU against the CPU's sampler: the same tokens, faults and most probable tokens, and
// log-probabilities within a bound.
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
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kPoison = -1431655766;  // 0xAAAAAAAA

// Relative errors of the probabilities: the exponentials' of both sides, in units of the last place, and what
// sums make of them.
constexpr double kTolerance = 1e-6;
// Logits that are farther apart than a float reaches have one of -infinity.
bool IsLogprob(float actual, float expected) {
  if (!std::isfinite(expected)) return actual == expected;
  return std::abs(static_cast<double>(actual) - static_cast<double>(expected)) <=
         1e-6 + 3e-7 * std::abs(static_cast<double>(expected));
}

enum class Logits { kNormal, kWide, kNarrow, kPeaked, kFlat, kHugeTies, kFewValues, kZeros };
constexpr Logits kAllLogits[] = {Logits::kNormal, Logits::kWide,     Logits::kNarrow,    Logits::kPeaked,
                                 Logits::kFlat,   Logits::kHugeTies, Logits::kFewValues, Logits::kZeros};

std::vector<float> MakeLogits(Logits kind, int32_t vocabulary, uint32_t seed) {
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
SampleCase MakeCase(int32_t vocabulary, std::mt19937* random) {
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

class SampleTest : public GpuTest {
 protected:
  // As many of these as the device runs together.
  std::vector<int32_t> GroupSizes() const {
    return properties_.major >= 9 ? std::vector<int32_t>{16, 8, 4, 2, 1} : std::vector<int32_t>{1};
  }
};

TEST_F(SampleTest, DrawsTheTokensThatTheCpuDrawsInEveryMannerOfSampling) {
  std::mt19937 random(11);
  int32_t draws = 0;
  int32_t differing = 0;
  for (const int32_t vocabulary : {1, 31, 1000, 49152, 128256, 151936}) {
    const int32_t launches = vocabulary <= 1000 ? 120 : 60;
    const int32_t capacity = 64;
    Batch batch(vocabulary, capacity, vocabulary);
    std::vector<std::vector<float>> rows;
    for (int32_t row = 0; row < capacity; ++row) {
      rows.push_back(MakeLogits(kAllLogits[row % std::size(kAllLogits)], vocabulary, 100 + row));
    }
    batch.SetLogits(rows);
    for (int32_t launch = 0; launch < launches; ++launch) {
      std::vector<SampleCase> cases(launch == 0 ? 1 : 1 + random() % capacity);
      if (launch % 2 == 1) cases.resize(capacity);
      for (SampleCase& sample : cases) sample = MakeCase(vocabulary, &random);
      batch.SetCases(cases);
      const std::vector<int32_t> sizes = GroupSizes();
      batch.Prepare(launch % 3 == 0 ? 0 : sizes[launch % sizes.size()]);
      batch.Run(stream_, launch % 2 == 0);
      batch.Compare();
      if (HasFatalFailure()) return;
      draws += static_cast<int32_t>(cases.size());
    }
    differing += batch.differing();
  }
  std::printf("%d samples, %d tokens differ at a boundary\n", draws, differing);
  EXPECT_GE(draws, 20000);
  EXPECT_LE(differing, draws / 100);
}

TEST_F(SampleTest, GivesOneResultWhateverTheNumberOfBlocksAndTheNeighbours) {
  std::mt19937 random(5);
  const int32_t vocabulary = 128256;
  const int32_t capacity = 24;
  std::vector<std::vector<float>> rows;
  std::vector<SampleCase> cases;
  for (int32_t row = 0; row < capacity; ++row) {
    rows.push_back(MakeLogits(kAllLogits[row % std::size(kAllLogits)], vocabulary, 700 + row));
    cases.push_back(MakeCase(vocabulary, &random));
    cases.back().top_logprobs = 20;
  }
  Batch together(vocabulary, capacity, vocabulary + 64);
  together.SetLogits(rows);
  together.SetCases(cases);
  std::vector<SampleResult> first;
  for (const int32_t blocks : GroupSizes()) {
    together.Prepare(blocks);
    together.Run(stream_);
    for (int32_t i = 0; i < capacity; ++i) {
      if (first.size() < static_cast<size_t>(capacity)) first.push_back(together.result(i));
      ASSERT_EQ(std::memcmp(&together.result(i), &first[i], sizeof(SampleResult)), 0)
          << "sample " << i << " with " << blocks << " blocks";
    }
  }
  Batch alone(vocabulary, 1, vocabulary);
  for (int32_t i = 0; i < capacity; ++i) {
    alone.SetLogits({rows[i]});
    alone.SetCases({cases[i]});
    alone.Prepare(0);
    alone.Run(stream_);
    ASSERT_EQ(std::memcmp(&alone.result(0), &first[i], sizeof(SampleResult)), 0)
        << "sample " << i << " alone";
  }
}

TEST_F(SampleTest, SaysThatLogitsAreNoNumbersWhereverTheOneStands) {
  const int32_t vocabulary = 50000;
  const int32_t places[] = {0, 1, 31, 32, 3125, 6249, 6250, 24999, 25000, 49998, 49999};
  const float values[] = {std::nanf(""), -std::nanf(""), kInfinity, -kInfinity};
  const int32_t capacity = static_cast<int32_t>(std::size(places) * std::size(values)) + 1;
  std::vector<std::vector<float>> rows;
  std::vector<SampleCase> cases;
  std::mt19937 random(17);
  for (const int32_t place : places) {
    for (const float value : values) {
      rows.push_back(MakeLogits(Logits::kNormal, vocabulary, static_cast<uint32_t>(place)));
      rows.back()[place] = value;
      cases.push_back(MakeCase(vocabulary, &random));
      if (cases.size() % 3 == 0) cases.back() = SampleCase();
    }
  }
  rows.push_back(MakeLogits(Logits::kNormal, vocabulary, 3));
  cases.emplace_back();
  for (const int32_t tile_tokens : {0, 16}) {
    Batch batch(vocabulary, capacity, vocabulary);
    batch.SetLogits(rows);
    batch.SetCases(cases);
    batch.UseTiles(tile_tokens);
    batch.Prepare(0);
    batch.Run(stream_);
    batch.Compare();
    for (int32_t i = 0; i + 1 < capacity; ++i) EXPECT_EQ(batch.result(i).numeric_fault, 1) << i;
    EXPECT_EQ(batch.result(capacity - 1).numeric_fault, 0);
  }
}

TEST_F(SampleTest, SaysThatNoTokenIsLeftWhereBiasForbidsAll) {
  const int32_t vocabulary = 3000;
  std::vector<SampleCase> cases(4);
  for (int32_t token = 0; token < vocabulary; ++token) {
    for (SampleCase& sample : cases) sample.bias.emplace_back(token, -kInfinity);
  }
  cases[1].temperature = 0.8f;
  cases[2].temperature = 1.0f;
  cases[2].bias[2900].second = 0.0f;  // the only one allowed
  cases[3].bias.pop_back();
  cases[3].top_logprobs = 3;
  Batch batch(vocabulary, 8, vocabulary);
  batch.SetLogits({4, MakeLogits(Logits::kNormal, vocabulary, 9)});
  batch.SetCases(cases);
  batch.Prepare(0);

  batch.Run(stream_);

  batch.Compare();
  EXPECT_EQ(batch.result(0).numeric_fault, 1);
  EXPECT_EQ(batch.result(1).numeric_fault, 1);
  EXPECT_EQ(batch.result(2).token, 2900);
  EXPECT_EQ(batch.result(3).token, vocabulary - 1);
}

TEST_F(SampleTest, FindsTheLargestLogitByTheTilesMaxima) {
  for (const int32_t vocabulary : {1, 31, 1000, 128256, 151936}) {
    const int32_t capacity = 16;
    std::vector<std::vector<float>> rows;
    std::vector<SampleCase> cases(capacity);
    for (int32_t row = 0; row < capacity; ++row) {
      rows.push_back(MakeLogits(kAllLogits[row % std::size(kAllLogits)], vocabulary, 40 + row));
    }
    cases[3].temperature = 0.7f;  // which looks at all logits
    cases[4].top_logprobs = 2;
    cases[5].bias = {{0, 30.0f}};
    Batch batch(vocabulary, capacity, vocabulary);
    batch.SetLogits(rows);
    batch.SetCases(cases);
    batch.UseTiles(vocabulary % 2 == 0 ? 16 : 64);
    batch.Prepare(0);

    batch.Run(stream_, true);

    batch.Compare();
    EXPECT_EQ(batch.differing(), 0);
  }
}

TEST_F(SampleTest, PenalisesTokensThatTheStepBeforeSampled) {
  const int32_t vocabulary = 1000;
  std::vector<int32_t> earlier(64, -1);
  earlier[3] = 17;
  SampleCase sample;
  sample.presence_penalty = 2.0f;
  sample.window = {5, 17, 5};
  std::vector<float> logits(vocabulary, 0.0f);
  logits[17] = 1.0f;
  logits[29] = 0.5f;
  Batch batch(vocabulary, 1, vocabulary);
  batch.UseEarlier(earlier);
  batch.SetLogits({logits});
  // A sample that had no token, and one that there never was, are passed over.
  batch.SetCases({sample}, {kFirstEarlierSample - 4, kFirstEarlierSample - 3, kFirstEarlierSample - 64});
  batch.Prepare(0);

  batch.Run(stream_);

  EXPECT_EQ(batch.result(0).token, 29);
}

TEST_F(SampleTest, ReplaysOfOneGraphGiveTheSameAndTakeTheStepsOwnParameters) {
  std::mt19937 random(23);
  const int32_t vocabulary = 151936;
  const int32_t capacity = 8;
  std::vector<std::vector<float>> rows;
  for (int32_t row = 0; row < capacity; ++row) {
    rows.push_back(MakeLogits(kAllLogits[row], vocabulary, 900 + row));
  }
  Batch batch(vocabulary, capacity, vocabulary);
  batch.SetLogits(rows);
  batch.Prepare(0);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  for (int node = 0; node < 3; ++node) ASSERT_CUDA(batch.Launch(stream_, true));
  ASSERT_CUDA(cudaStreamEndCapture(stream_, &graph));
  ASSERT_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  for (int step = 0; step < 6; ++step) {
    std::vector<SampleCase> cases(1 + random() % capacity);
    for (SampleCase& sample : cases) sample = MakeCase(vocabulary, &random);
    batch.SetCases(cases);
    std::vector<SampleResult> first;
    for (int replay = 0; replay < 3; ++replay) {
      batch.PoisonOutputs();
      ASSERT_CUDA(cudaGraphLaunch(executable, stream_));
      ASSERT_CUDA(cudaStreamSynchronize(stream_));
      batch.Compare();
      for (size_t i = 0; i < cases.size(); ++i) {
        if (replay == 0) first.push_back(batch.result(static_cast<int32_t>(i)));
        EXPECT_EQ(std::memcmp(&batch.result(static_cast<int32_t>(i)), &first[i], sizeof(SampleResult)), 0);
      }
    }
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

TEST_F(SampleTest, RefusesVocabulariesAndGroupsThatItCannotServe) {
  SampleSetup setup;
  EXPECT_EQ(PrepareSample(0, 1, &setup), cudaErrorInvalidValue);
  EXPECT_EQ(PrepareSample(kMostSampledVocabulary + 1, 1, &setup), cudaErrorInvalidValue);
  EXPECT_EQ(PrepareSampleWith(1000, 1, 3, &setup), cudaErrorInvalidValue);
  EXPECT_EQ(PrepareSample(kMostSampledVocabulary, 64, &setup), cudaSuccess);
}

TEST_F(SampleTest, SamplesTheLargestVocabulary) {
  std::mt19937 random(31);
  Batch batch(kMostSampledVocabulary, 3, kMostSampledVocabulary);
  batch.SetLogits({MakeLogits(Logits::kFlat, kMostSampledVocabulary, 1),
                   MakeLogits(Logits::kNormal, kMostSampledVocabulary, 2),
                   MakeLogits(Logits::kNarrow, kMostSampledVocabulary, 3)});
  for (const int32_t blocks : GroupSizes()) {
    std::vector<SampleCase> cases(3);
    for (SampleCase& sample : cases) sample = MakeCase(kMostSampledVocabulary, &random);
    cases[0] = SampleCase();
    cases[0].temperature = 1.0f;  // every token at probability 1: the largest sum there is
    cases[0].top_p = 0.999f;
    batch.SetCases(cases);
    batch.Prepare(blocks);
    batch.Run(stream_);
    batch.Compare();
  }
}

TEST_F(SampleTest, ResolvesTokensOfTheStepBefore) {
  const int32_t capacity = 300;
  std::vector<int32_t> tokens(capacity);
  std::vector<int32_t> sources(capacity, -1);
  for (int32_t row = 0; row < capacity; ++row) tokens[row] = 1000 + row;
  sources[0] = 2;
  sources[7] = 0;
  sources[8] = 1;  // a sample without a token
  sources[259] = 2;
  sources[260] = 2;  // past the step's rows
  DeviceBuffer<int32_t> counts(std::vector<int32_t>{260});
  DeviceBuffer<int32_t> sampled(std::vector<int32_t>{41, -1, 43});
  DeviceBuffer<int32_t> device_sources(sources);
  DeviceBuffer<int32_t> device_tokens(tokens);
  ResolveTokensArgs args;
  args.row_count = counts.get();
  args.capacity = capacity;
  args.sources = device_sources.get();
  args.sampled = sampled.get();
  args.tokens = device_tokens.get();
  LaunchContext context;
  context.stream = stream_;

  ASSERT_CUDA(LaunchResolveTokens(context, args));

  tokens[0] = 43;
  tokens[7] = 41;
  tokens[8] = 0;
  tokens[259] = 43;
  EXPECT_EQ(device_tokens.Read(), tokens);
}

}  // namespace
}  // namespace tessera::gpu
