// A vocabulary over several ranks: equal logits, empty slices, and what must have which size.
#include "core/cpu/rank_vocabulary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

namespace tessera {
namespace {

// Four ranks; the second has nothing.
constexpr int32_t kRanks = 4;
constexpr int32_t kVocabulary = 9;

class RankVocabularyTest : public testing::Test {
 protected:
  RankVocabularyTest() {
    for (int32_t rank = 0; rank < kRanks; ++rank) {
      parts_[rank].rank = rank;
      parts_[rank].ranks = kRanks;
      parts_[rank].vocabulary_cuts = {0, 3, 3, 5, kVocabulary};
    }
  }
  // What each rank brings of one row, gathered or not.
  void Bring(const std::vector<float>& logits, bool gathered) {
    views_.clear();
    for (int32_t rank = 0; rank < kRanks; ++rank) {
      const RankVocabulary vocabulary(&parts_[rank]);
      const float* const slice = logits.data() + vocabulary.first();
      const SliceMaximum maximum = vocabulary.Maximum(slice);
      std::vector<uint8_t>& bytes = brought_[rank];
      bytes.assign(reinterpret_cast<const uint8_t*>(&maximum),
                   reinterpret_cast<const uint8_t*>(&maximum + 1));
      if (gathered) {
        bytes.insert(bytes.end(), reinterpret_cast<const uint8_t*>(slice),
                     reinterpret_cast<const uint8_t*>(slice + vocabulary.size()));
      }
      views_.emplace_back(bytes);
    }
  }
  SampleRow TokenOf(const std::vector<float>& logits) {
    Bring(logits, false);
    const RankVocabulary vocabulary(&parts_[2]);
    EXPECT_TRUE(vocabulary.SlicesFit(views_, 1, 0));
    SampleRow row;
    row.token = 77;
    row.top_count = 3;
    vocabulary.TakeToken(views_, 0, &row);
    EXPECT_EQ(row.top_count, 0);
    return row;
  }

  ModelPart parts_[kRanks];
  std::vector<uint8_t> brought_[kRanks];
  std::vector<absl::Span<const uint8_t>> views_;
};

TEST_F(RankVocabularyTest, OfEqualLogitsTheLowestIdIsTakenWhoeverHasIt) {
  EXPECT_EQ(TokenOf({1, 2, 1, 0, 2, 2, 0, 0, 2}).token, 1);
  EXPECT_EQ(TokenOf({-3, -2, -3, -1, -1, -1, -5, -1, -1}).token, 3);
  EXPECT_EQ(TokenOf({-1, -0.0f, -1, -1, 0.0f, -1, -1, -1, -1}).token, 1);  // zeros are equal
  EXPECT_EQ(TokenOf({-1, -1, -1, -1, -1, -1, -1, -1, 5}).token, 8);
  EXPECT_FALSE(TokenOf({1, 2, 1, 0, 2, 2, 0, 0, 2}).numeric_fault);
}

TEST_F(RankVocabularyTest, WhatIsNoNumberInAnySliceFaultsTheRow) {
  for (size_t at = 0; at < kVocabulary; ++at) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> logits(kVocabulary, 1.0f);
      logits[at] = bad;
      const SampleRow row = TokenOf(logits);
      EXPECT_TRUE(row.numeric_fault) << at;
      EXPECT_EQ(row.token, -1);
    }
  }
}

TEST_F(RankVocabularyTest, GatheredLogitsAreTheRow) {
  const std::vector<float> logits = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  Bring(logits, true);
  const RankVocabulary vocabulary(&parts_[0]);
  ASSERT_TRUE(vocabulary.SlicesFit(views_, 1, 1));
  std::vector<float> row(kVocabulary, NAN);
  vocabulary.TakeLogits(views_, 0, 1, row.data());
  EXPECT_EQ(row, logits);
}

TEST_F(RankVocabularyTest, ContributionsOfAnotherSizeAreNotTaken) {
  const std::vector<float> logits(kVocabulary, 1.0f);
  Bring(logits, true);
  const RankVocabulary vocabulary(&parts_[0]);
  EXPECT_FALSE(vocabulary.SlicesFit(views_, 1, 0));
  EXPECT_FALSE(vocabulary.SlicesFit(views_, 2, 1));
  views_[3].remove_suffix(1);
  EXPECT_FALSE(vocabulary.SlicesFit(views_, 1, 1));
  views_.pop_back();
  EXPECT_FALSE(vocabulary.SlicesFit(views_, 1, 1));
}

TEST_F(RankVocabularyTest, EmbeddingsComeFromTheirOwnersInTheStepsOrder) {
  const int32_t tokens[] = {8, 0, 4, 2, 5, 0};
  StepView step;
  step.row_count = 6;
  step.tokens = tokens;
  int32_t slots[6];
  for (int32_t rank = 0; rank < kRanks; ++rank) {
    const RankVocabulary vocabulary(&parts_[rank]);
    std::vector<float> rows;  // of two elements
    for (const int32_t token : tokens) {
      if (vocabulary.Owns(token)) rows.insert(rows.end(), {static_cast<float>(token), 0.5f});
    }
    EXPECT_EQ(vocabulary.LayRows(step, slots), static_cast<int64_t>(rows.size() / 2));
    brought_[rank].resize(rows.size() * sizeof(float));
    std::copy_n(reinterpret_cast<const uint8_t*>(rows.data()), brought_[rank].size(), brought_[rank].data());
    views_.emplace_back(brought_[rank]);
  }
  const RankVocabulary vocabulary(&parts_[1]);
  ASSERT_TRUE(vocabulary.RowsFit(views_, step, 2));
  for (int32_t row = 0; row < 6; ++row) {
    float out[2] = {NAN, NAN};
    vocabulary.TakeRow(views_, tokens[row], slots[row], 2, out);
    EXPECT_EQ(out[0], static_cast<float>(tokens[row]));
    EXPECT_EQ(out[1], 0.5f);
  }
  views_[2].remove_suffix(4);
  EXPECT_FALSE(vocabulary.RowsFit(views_, step, 2));
}

TEST_F(RankVocabularyTest, SamplesThatGatherComeFirst) {
  SampleRow samples[5];
  for (int i = 0; i < 5; ++i) samples[i].gather_logits = i % 2 == 1;
  StepView step;
  step.sample_count = 5;
  step.samples = samples;
  int32_t order[5];
  EXPECT_EQ(RankVocabulary::OrderSamples(step, order), 2);
  EXPECT_EQ(std::vector<int32_t>(order, order + 5), (std::vector<int32_t>{1, 3, 0, 2, 4}));
}

}  // namespace
}  // namespace tessera
