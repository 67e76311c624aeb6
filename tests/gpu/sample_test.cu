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

#include "tests/gpu/sample_batch.h"

namespace tessera::gpu {
namespace {

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
