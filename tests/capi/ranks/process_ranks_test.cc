// A model divided over processes, through the public API: the bits of one process with one rank, and an
// orderly end.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "tessera/tessera.h"
#include "tests/capi/ranks/rank_group.h"

namespace tessera {
namespace {

std::vector<uint8_t> Model() {
  TinyModelOptions options = TinyOptionsOfType(TensorType::kQ8_0);
  options.layers = 4;
  options.context_tokens = 4096;
  return MakeTinyModel(options);
}

// Far beyond what a crowded machine may make a rank wait.
const std::vector<std::string> kComputes = {"life=computes", "timeout_ms=60000"};

std::string ResultOfOneRank(const std::vector<uint8_t>& model) {
  RankGroup alone(1, 1, model);
  alone.Start(0, kComputes);
  EXPECT_EQ(alone.Await(0), 0);
  return alone.Read("result");
}

TEST(ProcessRanks, GiveTheBitsOfOneProcessAndEndWellWithTheirLeader) {
  const std::vector<uint8_t> model = Model();
  const std::string expected = ResultOfOneRank(model);
  ASSERT_GT(expected.size(), 4u * kTinyVocabulary * sizeof(float));
  for (const auto& [tensor_parallel, stages] : {std::pair{2, 1}, {1, 2}, {3, 1}, {2, 2}}) {
    for (const bool stepped : {false, true}) {
      for (const bool shards : {false, true}) {
        SCOPED_TRACE(std::to_string(tensor_parallel) + " x " + std::to_string(stages) +
                     (stepped ? ", stepped" : "") + (shards ? ", shards" : ""));
        RankGroup group(tensor_parallel, stages, model);
        for (int rank = 0; rank < group.size(); ++rank) {
          std::vector<std::string> settings = kComputes;
          if (shards) settings.push_back("shard=1");
          if (stepped) settings.push_back("stepped=1");
          group.Start(rank, settings);
        }
        for (int rank = 0; rank < group.size(); ++rank) EXPECT_EQ(group.Await(rank), 0) << "rank " << rank;
        EXPECT_TRUE(group.Read("result") == expected);
      }
    }
  }
}

TEST(ProcessRanks, ThatLoadTheirOwnPartHoldThatPartOnly) {
  TinyModelOptions options = TinyOptionsOfType(TensorType::kF32);
  options.layers = 8;
  options.feed_forward = 2048;  // 8 x 3 x 256 x 2048 x 4 = 50 MB
  options.context_tokens = 4096;
  const std::vector<uint8_t> model = MakeTinyModel(options);
  RankGroup alone(1, 1, model);
  alone.Start(0, kComputes);
  ASSERT_EQ(alone.Await(0), 0);
  const int whole = std::stoi(alone.Read("kilobytes.0"));
  for (const auto& [tensor_parallel, stages] : {std::pair{2, 1}, {1, 2}, {2, 2}}) {
    RankGroup group(tensor_parallel, stages, model);
    for (int rank = 0; rank < group.size(); ++rank) {
      std::vector<std::string> settings = kComputes;
      settings.push_back("shard=1");
      group.Start(rank, settings);
    }
    for (int rank = 0; rank < group.size(); ++rank) {
      EXPECT_EQ(group.Await(rank), 0);
      const int part = std::stoi(group.Read("kilobytes." + std::to_string(rank)));
      std::printf("rank %d of %d x %d: %d kB of %d\n", rank, tensor_parallel, stages, part, whole);
      // The staging buffer, the tokenizer and what is on every rank come on top.
      EXPECT_LT(part, whole / group.size() + whole / 8) << whole << " kB whole";
      EXPECT_GT(part, whole / group.size() / 2);
    }
    EXPECT_TRUE(group.Read("result") == alone.Read("result"));
  }
}

TEST(ProcessRanks, ThatWereCreatedDifferentlyAreAllToldSo) {
  const std::vector<uint8_t> model = Model();
  const std::vector<std::vector<std::string>> others = {
      {"cache_tokens=8192"}, {"tensor=1", "stages=2"}, {"bf16_cache=1"}, {"f32_activations=1"}};
  for (const std::vector<std::string>& other : others) {
    RankGroup group(2, 1, model);
    std::vector<std::string> second = kComputes;
    second.insert(second.end(), other.begin(), other.end());
    group.Start(0, kComputes);
    group.Start(1, second);
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(group.Await(rank), TSR_STATUS_INVALID_ARGUMENT) << other[0];
    }
  }
}

}  // namespace
}  // namespace tessera
