// A step as it travels to other ranks: nothing is lost, and bytes that are no step are refused.
#include "core/ranks/step_record.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "core/base/status.h"

namespace tessera {
namespace {

constexpr int32_t kGroups = 2;
constexpr int32_t kBlockTokens = 4;

RecordLimits Limits() {
  RecordLimits limits;
  limits.rows = 16;
  limits.sequences = 4;
  limits.samples = 4;
  limits.groups = kGroups;
  limits.positions = 64;
  limits.vocabulary = 100;
  limits.block_tokens = kBlockTokens;
  limits.blocks = 50;
  return limits;
}

// Two sequences: three rows of a prompt from position 6 on, and one that decodes at position 9 and samples.
struct Step {
  Step() {
    tokens = {10, 11, 12, 13};
    positions = {6, 7, 8, 9};
    for (int32_t block = 0; block < 12; ++block) blocks.push_back(block == 2 ? -1 : block);
    for (size_t list = 0; list < 4; ++list) lists.push_back(blocks.data() + 3 * list);
    sequences.resize(2);
    sequences[0].row_count = 3;
    sequences[0].first_position = 6;
    sequences[0].blocks = lists.data();
    sequences[1].first_row = 3;
    sequences[1].row_count = 1;
    sequences[1].first_position = 9;
    sequences[1].blocks = lists.data() + kGroups;
    copies = {{1, 40, 41}};
    history = {7, 8, 9};
    params.temperature = 0.7f;
    params.top_k = 5;
    params.top_p = 0.9f;
    params.min_p = 0.1f;
    params.repetition_penalty = 1.1f;
    params.frequency_penalty = 0.2f;
    params.presence_penalty = 0.3f;
    params.penalty_window_tokens = 17;
    params.seed = 0x123456789abcdef0u;
    params.logit_bias = {{3, -std::numeric_limits<float>::infinity()}, {99, 2.5f}};
    params.top_logprobs = 4;
    samples.resize(1);
    samples[0].row = 3;
    samples[0].params = &params;
    samples[0].position = 10;
    samples[0].history = history.data();
    samples[0].history_count = 3;
    samples[0].logits_out = &logits;
    view.row_count = 4;
    view.tokens = tokens.data();
    view.positions = positions.data();
    view.sequence_count = 2;
    view.sequences = sequences.data();
    view.copies = copies.data();
    view.copy_count = 1;
    view.sample_count = 1;
    view.samples = samples.data();
  }
  Step(const Step&) = delete;

  std::vector<int32_t> tokens, positions, blocks, history;
  std::vector<const int32_t*> lists;
  std::vector<SequenceView> sequences;
  std::vector<BlockCopy> copies;
  std::vector<SampleRow> samples;
  SamplingParams params;
  float logits = 0;
  StepView view;
};

std::vector<uint8_t> RecordOf(const StepView& view) {
  std::vector<uint8_t> record(1000, 0xff);
  WriteStepRecord(view, kGroups, kBlockTokens, &record);
  return record;
}

TEST(StepRecord, WhatIsReadIsWhatWasWritten) {
  const Step step;
  ReceivedStep received(Limits(), nullptr);

  const absl::Status status = received.Read(RecordOf(step.view));

  ASSERT_TRUE(status.ok()) << status.message();
  const StepView& view = received.view();
  EXPECT_EQ(std::vector<int32_t>(view.tokens, view.tokens + view.row_count), step.tokens);
  EXPECT_EQ(std::vector<int32_t>(view.positions, view.positions + view.row_count), step.positions);
  ASSERT_EQ(view.sequence_count, 2);
  for (int32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(view.sequences[i].first_row, step.sequences[i].first_row);
    EXPECT_EQ(view.sequences[i].row_count, step.sequences[i].row_count);
    EXPECT_EQ(view.sequences[i].first_position, step.sequences[i].first_position);
    for (int32_t group = 0; group < kGroups; ++group) {
      for (int32_t block = 0; block < 3; ++block) {
        EXPECT_EQ(view.sequences[i].blocks[group][block], step.sequences[i].blocks[group][block]);
      }
    }
  }
  ASSERT_EQ(view.copy_count, 1);
  EXPECT_EQ(view.copies[0].group, 1);
  EXPECT_EQ(view.copies[0].from, 40);
  EXPECT_EQ(view.copies[0].to, 41);
  ASSERT_EQ(view.sample_count, 1);
  const SampleRow& sample = view.samples[0];
  EXPECT_EQ(sample.row, 3);
  EXPECT_EQ(sample.position, 10u);
  EXPECT_EQ(std::vector<int32_t>(sample.history, sample.history + sample.history_count), step.history);
  ASSERT_NE(sample.logits_out, nullptr);
  sample.logits_out[99] = 1;  // it has room for the vocabulary
  EXPECT_EQ(sample.params->temperature, 0.7f);
  EXPECT_EQ(sample.params->top_k, 5);
  EXPECT_EQ(sample.params->top_p, 0.9f);
  EXPECT_EQ(sample.params->min_p, 0.1f);
  EXPECT_EQ(sample.params->repetition_penalty, 1.1f);
  EXPECT_EQ(sample.params->frequency_penalty, 0.2f);
  EXPECT_EQ(sample.params->presence_penalty, 0.3f);
  EXPECT_EQ(sample.params->penalty_window_tokens, 17);
  EXPECT_EQ(sample.params->seed, 0x123456789abcdef0u);
  EXPECT_EQ(sample.params->logit_bias, step.params.logit_bias);
  EXPECT_EQ(sample.params->top_logprobs, 4);
}

TEST(StepRecord, ASecondStepReplacesTheFirst) {
  const Step first;
  Step second;
  second.params.logit_bias.clear();
  second.samples[0].logits_out = nullptr;
  second.samples[0].history_count = 0;
  second.view.copy_count = 0;
  ReceivedStep received(Limits(), nullptr);
  ASSERT_TRUE(received.Read(RecordOf(first.view)).ok());

  ASSERT_TRUE(received.Read(RecordOf(second.view)).ok());

  EXPECT_EQ(received.view().copy_count, 0);
  EXPECT_EQ(received.view().samples[0].logits_out, nullptr);
  EXPECT_EQ(received.view().samples[0].history_count, 0);
  EXPECT_TRUE(received.view().samples[0].params->logit_bias.empty());
}

TEST(StepRecord, EveryShorterOrLongerRecordIsRefused) {
  const Step step;
  const std::vector<uint8_t> record = RecordOf(step.view);
  ReceivedStep received(Limits(), nullptr);
  for (size_t size = 0; size < record.size(); ++size) {
    // A copy of its own length, so that a read beyond it is a sanitizer's report.
    const std::vector<uint8_t> cut(record.begin(), record.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(CodeOf(received.Read(cut)), ErrorCode::kCorrupt) << size;
  }
  std::vector<uint8_t> longer = record;
  longer.push_back(0);
  EXPECT_EQ(CodeOf(received.Read(longer)), ErrorCode::kCorrupt);
}

TEST(StepRecord, AStepThatAsksForMoreThanTheRankWasMadeForIsRefused) {
  const Step step;
  const std::vector<uint8_t> record = RecordOf(step.view);
  const auto refused = [&](auto&& change) {
    RecordLimits limits = Limits();
    change(limits);
    return CodeOf(ReceivedStep(limits, nullptr).Read(record)) == ErrorCode::kCorrupt;
  };
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.rows = 3; }));
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.sequences = 1; }));
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.samples = 0; }));
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.groups = 1; }));
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.positions = 9; }));
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.vocabulary = 99; }));  // of a bias
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.blocks = 11; }));
  EXPECT_TRUE(refused([](RecordLimits& limits) { limits.blocks = 41; }));  // of a copy
  EXPECT_FALSE(refused([](RecordLimits&) {}));
}

TEST(StepRecord, DamagedBytesAreRefusedOrGiveAStepWithinTheLimits) {
  const Step step;
  const std::vector<uint8_t> record = RecordOf(step.view);
  std::mt19937 random(7);
  ReceivedStep received(Limits(), nullptr);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> damaged = record;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    const absl::Status status = received.Read(damaged);
    if (!status.ok()) {
      ++refused;
      continue;
    }
    const StepView& view = received.view();
    ASSERT_LE(view.row_count, 16);
    for (int32_t i = 0; i < view.sequence_count; ++i) {
      ASSERT_LE(view.sequences[i].first_position + view.sequences[i].row_count, 64);
      ASSERT_LT(view.sequences[i].blocks[1][0], 50);
    }
    for (int32_t i = 0; i < view.sample_count; ++i) ASSERT_LT(view.samples[i].row, view.row_count);
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace tessera
