// The plan of a batch as bytes: whoever has them can carry it out.
#include "core/schedule/batch_plan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace tessera {
namespace {

// Reads the record as another rank would: from a copy at any address, with memcpy.
struct ReadPlan {
  explicit ReadPlan(absl::Span<const uint8_t> record) {
    std::vector<uint8_t> moved(record.size() + 3);
    std::memcpy(moved.data() + 3, record.data(), record.size());
    const uint8_t* at = moved.data() + 3;
    std::memcpy(&header, at, sizeof(header));
    at += sizeof(header);
    sequences.resize(header.sequence_count);
    if (!sequences.empty()) std::memcpy(sequences.data(), at, sequences.size() * sizeof(PlanSequence));
    at += sequences.size() * sizeof(PlanSequence);
    tokens.resize(header.row_count);
    if (!tokens.empty()) std::memcpy(tokens.data(), at, tokens.size() * sizeof(int32_t));
    at += tokens.size() * sizeof(int32_t);
    size_bytes = static_cast<size_t>(at - moved.data() - 3);
  }
  PlanHeader header;
  std::vector<PlanSequence> sequences;
  std::vector<int32_t> tokens;
  size_t size_bytes;
};

TEST(BatchPlan, ItsBytesAreReadAnywhereWithoutTheObjectThatMadeThem) {
  BatchPlan plan(8, 4);
  plan.Begin(42);
  const std::vector<int32_t> prompt = {5, 6, 7};
  plan.Add(1001, 10, prompt, false);
  plan.Add(1002, 99, {&kLastToken, 1}, true);
  plan.End();
  const ReadPlan read(plan.record());
  EXPECT_EQ(read.header.magic, kPlanMagic);
  EXPECT_EQ(read.header.version, kPlanVersion);
  EXPECT_EQ(read.header.step, 42u);
  EXPECT_EQ(read.header.size_bytes, plan.record().size());
  EXPECT_EQ(read.size_bytes, plan.record().size());
  EXPECT_EQ(read.header.reserved, 0u);
  ASSERT_EQ(read.sequences.size(), 2u);
  EXPECT_EQ(read.sequences[0].session, 1001u);
  EXPECT_EQ(read.sequences[0].first_row, 0);
  EXPECT_EQ(read.sequences[0].row_count, 3);
  EXPECT_EQ(read.sequences[0].first_position, 10);
  EXPECT_EQ(read.sequences[0].sample, 0);
  EXPECT_EQ(read.sequences[1].first_row, 3);
  EXPECT_EQ(read.sequences[1].first_position, 99);
  EXPECT_EQ(read.sequences[1].sample, 1);
  EXPECT_EQ(read.tokens, (std::vector<int32_t>{5, 6, 7, kLastToken}));
}

TEST(BatchPlan, IsTheSameBytesForTheSamePlanWhateverWasThereBefore) {
  BatchPlan fresh(8, 4), used(8, 4);
  const std::vector<int32_t> many = {9, 9, 9, 9, 9, 9, 9};
  used.Begin(1);
  used.Add(7, 3, many, true);
  used.End();
  for (BatchPlan* plan : {&fresh, &used}) {
    plan->Begin(2);
    plan->Add(8, 0, {many.data(), 2}, true);
    plan->End();
  }
  EXPECT_EQ(std::vector<uint8_t>(fresh.record().begin(), fresh.record().end()),
            std::vector<uint8_t>(used.record().begin(), used.record().end()));
}

TEST(BatchPlan, HasRoomUntilItsRowsOrItsSequencesAreUsedUp) {
  BatchPlan plan(5, 2);
  const std::vector<int32_t> tokens = {1, 2, 3};
  EXPECT_TRUE(plan.empty());
  EXPECT_TRUE(plan.HasRoom(5));
  EXPECT_FALSE(plan.HasRoom(6));
  plan.Add(1, 0, tokens, true);
  EXPECT_EQ(plan.rows_left(), 2);
  EXPECT_TRUE(plan.HasRoom(2));
  EXPECT_FALSE(plan.HasRoom(3));
  plan.Add(2, 0, {tokens.data(), 1}, true);
  EXPECT_FALSE(plan.HasRoom(1));  // a row is left, but no sequence
  plan.Begin(1);
  EXPECT_TRUE(plan.empty());
  EXPECT_TRUE(plan.HasRoom(5));
}

TEST(BatchPlan, AnEmptyOneIsAHeaderAlone) {
  BatchPlan plan(5, 2);
  plan.Begin(3);
  plan.End();
  EXPECT_EQ(plan.record().size(), sizeof(PlanHeader));
  EXPECT_EQ(ReadPlan(plan.record()).header.step, 3u);
}

}  // namespace
}  // namespace tessera
