// The parts of the step driver and of the device's seam that need no GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/status.h"
#include "core/cache/cache_view.h"
#include "gpu/device/cuda_error.h"
#include "gpu/device/device_api.h"
#include "gpu/device/device_query.h"
#include "gpu/device/upload_ring.h"
#include "gpu/graph/context_layout.h"
#include "gpu/graph/step_packet.h"
#include "gpu/graph/step_run.h"

namespace tessera::gpu {
namespace {

TEST(DeviceQuery, CodeForAnArchitectureRunsOnThatMajorVersionFromItsMinorOneOn) {
  EXPECT_TRUE(RunsOn("80", 8, 0));
  EXPECT_TRUE(RunsOn("80", 8, 6));
  EXPECT_FALSE(RunsOn("86", 8, 0));
  EXPECT_FALSE(RunsOn("80", 9, 0));
  EXPECT_TRUE(RunsOn("80 90a", 9, 0));
  EXPECT_FALSE(RunsOn("90a", 9, 1));
  EXPECT_FALSE(RunsOn("90a", 10, 0));
  EXPECT_FALSE(RunsOn("", 9, 0));
}

TEST(CudaError, ErrorsAContextDoesNotRecoverFromLoseTheDevice) {
  EXPECT_EQ(CodeOfCudaError(cudaErrorIllegalAddress), ErrorCode::kLost);
  EXPECT_EQ(CodeOfCudaError(cudaErrorLaunchFailure), ErrorCode::kLost);
  EXPECT_EQ(CodeOfCudaError(cudaErrorECCUncorrectable), ErrorCode::kLost);
  EXPECT_EQ(CodeOfCudaError(cudaErrorMemoryAllocation), ErrorCode::kOutOfMemory);
  EXPECT_EQ(CodeOfCudaError(cudaErrorInsufficientDriver), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOfCudaError(cudaErrorInvalidDevice), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOfCudaError(cudaErrorInvalidValue), ErrorCode::kInternal);
}

TEST(DeviceApi, TheCallThatIsToFailIsNotMadeAndTheOthersAre) {
  DeviceApi api("cuda device 3");
  int made = 0;
  const auto call = [&] { return api.Do("adding", [&] { return ++made, cudaSuccess; }); };
  api.InjectFailure(2, cudaErrorUnknown, false);
  EXPECT_TRUE(call().ok());
  const absl::Status failed = call();
  EXPECT_TRUE(call().ok());

  EXPECT_EQ(made, 2);
  EXPECT_EQ(CodeOf(failed), ErrorCode::kInternal);
  EXPECT_EQ(PlaceOf(failed), "cuda device 3");
  EXPECT_NE(failed.message().find("adding"), absl::string_view::npos) << failed;
  EXPECT_FALSE(api.lost());
}

TEST(DeviceApi, AStickyFailureStaysAndOneThatLosesTheDeviceIsNamedByItsFirstCause) {
  DeviceApi api("cuda device 0");
  int made = 0;
  const auto call = [&] { return api.Do("adding", [&] { return ++made, cudaSuccess; }); };
  api.InjectFailure(1, cudaErrorIllegalAddress, true);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(CodeOf(call()), ErrorCode::kLost);
  EXPECT_EQ(made, 0);
  EXPECT_TRUE(api.lost());
  const absl::Status later = api.Fail("freeing", cudaErrorInvalidValue);
  EXPECT_EQ(CodeOf(later), ErrorCode::kLost);
  EXPECT_NE(later.message().find("illegal memory access"), absl::string_view::npos) << later;
}

TEST(UploadShape, PiecesFillTheMemoryThatIsGiven) {
  EXPECT_EQ(UploadShape(0).pieces * UploadShape(0).piece_bytes, size_t{64} << 20);
  EXPECT_EQ(UploadShape(size_t{256} << 20).pieces, 64u);
  EXPECT_EQ(UploadShape(1 << 20).pieces, 2u);
  EXPECT_EQ(UploadShape(1 << 20).piece_bytes, size_t{512} << 10);
  EXPECT_EQ(UploadShape(1).pieces, 2u);
}

TEST(DecodeBuckets, CoverEveryNumberOfRowsWithAtMostAThirdToSpareAboveEight) {
  for (const int32_t most : {1, 2, 3, 8, 16, 20, 64, 65, 100, 256, 1000}) {
    const std::vector<int32_t> buckets = DecodeBuckets(most);
    EXPECT_EQ(buckets.front(), 1);
    EXPECT_EQ(buckets.back(), most);
    for (size_t i = 1; i < buckets.size(); ++i) {
      EXPECT_LT(buckets[i - 1], buckets[i]);
      if (buckets[i] <= 16) continue;
      EXPECT_GE(3 * (buckets[i - 1] + 1), 2 * buckets[i]) << most;
    }
  }
}

// A step of three sequences, one of whose rows is sampled by the step before.
class StepPacketTest : public ::testing::Test {
 protected:
  StepPacketTest() {
    capacity_.rows = 8;
    capacity_.sequences = 4;
    capacity_.samples = 3;
    capacity_.groups = 2;
    capacity_.copies = 8;
    capacity_.biases = 5;
    capacity_.window_tokens = 12;
    capacity_.positions = 100;
    capacity_.block_tokens = 16;
    capacity_.table_stride = 8;
    memory_.assign(PacketBytes(capacity_), 0xA5);
    for (int s = 0; s < 3; ++s) {
      sequences_[s].blocks = &pointers_[2 * s];
      for (int group = 0; group < 2; ++group) {
        for (int i = 0; i < 8; ++i) ids_[2 * s + group][i] = 100 * s + 10 * group + i;
        pointers_[2 * s + group] = ids_[2 * s + group];
      }
    }
    sequences_[0].row_count = 3;
    sequences_[0].first_position = 14;
    sequences_[1].first_row = 3;
    sequences_[1].row_count = 1;
    sequences_[1].first_position = 79;
    sequences_[2].first_row = 4;
    sequences_[2].row_count = 1;
    samples_[0].row = 3;
    samples_[1].row = 4;
    for (tsr_device_sample& sample : samples_) {
      sample.repetition_penalty = 1.0f;
      sample.top_logprobs = -1;
    }
    step_.row_count = 5;
    step_.sequence_count = 3;
    step_.sample_count = 2;
    step_.tokens = tokens_;
    step_.positions = positions_;
    step_.sources = sources_;
    step_.sequences = sequences_;
    step_.samples = samples_;
  }

  absl::Status Pack(const int32_t* known = nullptr) {
    TSR_RETURN_IF_ERROR(CheckStepFits(capacity_, step_, 2));
    return PackStep(capacity_, step_, known, {memory_.data(), memory_.data()}, &packed_);
  }

  StepCapacity capacity_;
  std::vector<uint8_t> memory_;
  int32_t ids_[6][8] = {};
  const int32_t* pointers_[6] = {};
  int32_t tokens_[5] = {1, 2, 3, -1, 5};
  int32_t positions_[5] = {14, 15, 16, 79, 0};
  int32_t sources_[5] = {-1, -1, -1, 1, -1};
  tsr_device_sequence sequences_[3] = {};
  tsr_device_sample samples_[2] = {};
  tsr_device_step step_ = {};
  PackedStep packed_;
};

TEST_F(StepPacketTest, RowsAndTheBlocksThatTheyNeedArePacked) {
  ASSERT_TRUE(Pack().ok());
  const StepInput& input = packed_.input;
  EXPECT_EQ(std::vector<int32_t>(input.tokens, input.tokens + 5),
            (std::vector<int32_t>{1, 2, 3, kFirstEarlierSample - 1, 5}));
  EXPECT_EQ(std::vector<int32_t>(input.row_sequence, input.row_sequence + 5),
            (std::vector<int32_t>{0, 0, 0, 1, 2}));
  const int32_t needed[] = {2, 5, 1};
  for (int s = 0; s < 3; ++s) {
    for (int group = 0; group < 2; ++group) {
      const TableSource table = input.tables[2 * s + group];
      EXPECT_EQ(table.count, needed[s]);
      EXPECT_EQ(table.first % 4, 0);
      EXPECT_EQ(std::memcmp(input.table_blocks + table.first, ids_[2 * s + group],
                            static_cast<size_t>(table.count) * sizeof(int32_t)),
                0);
    }
  }
  EXPECT_EQ(reinterpret_cast<uintptr_t>(input.table_blocks) % 16,
            reinterpret_cast<uintptr_t>(memory_.data()) % 16);
}

TEST_F(StepPacketTest, AWindowEndsWithTheTokenThatIsBeingSampled) {
  const int32_t history[] = {1, 2, 3, 4, 5, 6};
  for (tsr_device_sample& sample : samples_) {
    sample.presence_penalty = 1.0f;
    sample.penalty_window_tokens = 3;
    sample.history = history;
    sample.history_count = 6;
  }
  ASSERT_TRUE(Pack().ok());
  const StepInput& input = packed_.input;
  EXPECT_EQ(input.window_token_count, 6);
  EXPECT_EQ(std::vector<int32_t>(input.window_tokens, input.window_tokens + 6),
            (std::vector<int32_t>{5, 6, kFirstEarlierSample - 1, 4, 5, 6}));
  EXPECT_EQ(input.params[1].first_window_token, 3);

  const int32_t known[] = {70, 71};  // the device does not have them any more
  ASSERT_TRUE(Pack(known).ok());
  EXPECT_EQ(input.tokens[3], 71);
  EXPECT_EQ(input.window_tokens[2], 71);
}

TEST_F(StepPacketTest, SamplesWithoutPenaltiesHaveNoWindow) {
  const int32_t history[] = {1, 2, 3};
  samples_[0].history = history;
  samples_[0].history_count = 3;
  samples_[0].penalty_window_tokens = 64;
  ASSERT_TRUE(Pack().ok());
  EXPECT_EQ(packed_.input.window_token_count, 0);
}

TEST_F(StepPacketTest, CopiesAreSortedByGroupAndKeepTheirOrder) {
  const tsr_device_copy copies[] = {{1, 5, 6}, {0, 1, 2}, {1, 6, 7}};
  step_.copies = copies;
  step_.copy_count = 3;
  ASSERT_TRUE(Pack().ok());
  ASSERT_NE(packed_.copies[0].count, nullptr);
  EXPECT_EQ(*packed_.copies[0].count, 1);
  EXPECT_EQ(*packed_.copies[1].count, 2);
  const std::vector<int32_t> pairs(packed_.copies[1].pairs, packed_.copies[1].pairs + 4);
  EXPECT_EQ(pairs, (std::vector<int32_t>{5, 6, 6, 7}));
}

TEST_F(StepPacketTest, TheLargestStepStaysWithinThePacket) {
  constexpr uint8_t kMark = 0x5A;
  memory_.push_back(kMark);
  int32_t tokens[8] = {}, positions[8] = {};
  std::vector<tsr_device_sequence> sequences(4);
  std::vector<tsr_device_sample> samples(3);
  for (int s = 0; s < 4; ++s) {
    sequences[static_cast<size_t>(s)] = {2 * s, 2, 98, 0, &pointers_[0]};
  }
  const int32_t history[] = {1, 2, 3, 4};
  const tsr_device_bias bias[] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}};
  for (tsr_device_sample& sample : samples) {
    sample.repetition_penalty = 2.0f;
    sample.penalty_window_tokens = 4;
    sample.history = history;
    sample.history_count = 4;
  }
  samples[0].bias = bias;
  samples[0].bias_count = 5;
  const std::vector<tsr_device_copy> copies(8, tsr_device_copy{1, 2, 3});
  step_.row_count = 8;
  step_.sequence_count = 4;
  step_.sample_count = 3;
  step_.copy_count = 8;
  step_.tokens = tokens;
  step_.positions = positions;
  step_.sequences = sequences.data();
  step_.samples = samples.data();
  step_.copies = copies.data();
  ASSERT_TRUE(Pack().ok());
  EXPECT_EQ(memory_.back(), kMark);

  samples[1].bias = bias;
  samples[1].bias_count = 1;
  EXPECT_EQ(CodeOf(Pack()), ErrorCode::kLimitExceeded);
}

TEST_F(StepPacketTest, EverySampleOfAContextMayHaveTheLongestListOfBiases) {
  for (const int32_t vocabulary : {100, 128256}) {
    SCOPED_TRACE(vocabulary);
    DeviceModel model;
    model.description.hidden_size = 64;
    model.description.feed_forward_size = 128;
    model.description.vocabulary_size = vocabulary;
    model.description.cache_group_count = capacity_.groups;
    tsr_device_layer layer = {};
    layer.heads = 4;
    layer.kv_heads = 2;
    layer.head_size = 16;
    model.layers = {layer};
    tsr_device_limits limits = {};
    limits.max_rows = capacity_.rows;
    limits.max_samples = 2;
    limits.max_sequences = capacity_.sequences;
    limits.max_positions = capacity_.positions;
    limits.block_tokens = capacity_.block_tokens;
    limits.cache_type = static_cast<int32_t>(CacheType::kBF16);
    limits.depth = 1;
    const auto layout = ContextLayout::Plan(model, limits, DeviceTraits());
    ASSERT_TRUE(layout.ok()) << layout.status();
    capacity_ = layout->capacity;
    memory_.assign(layout->slot.input_bytes, 0xA5);
    std::vector<tsr_device_bias> biases;
    for (int32_t token = 0; token < std::min(vocabulary, TSR_DEVICE_MOST_BIASES); ++token) {
      biases.push_back({token, 1.0f});
    }
    for (tsr_device_sample& sample : samples_) {
      sample.bias = biases.data();
      sample.bias_count = static_cast<int32_t>(biases.size());
    }
    const absl::Status packed = Pack();
    EXPECT_TRUE(packed.ok()) << packed;
  }
}

TEST_F(StepPacketTest, WhatWouldLeadOutsideIsRefused) {
  step_.row_count = 9;
  EXPECT_FALSE(Pack().ok());
  step_.row_count = 5;
  sources_[3] = 2;  // the step before had two samples
  EXPECT_FALSE(Pack().ok());
  sources_[3] = 1;
  sequences_[1].first_position = 100;
  EXPECT_FALSE(Pack().ok());
  sequences_[1].first_position = 79;
  samples_[1].row = 5;
  EXPECT_FALSE(Pack().ok());
  samples_[1].row = 4;
  const tsr_device_copy copy = {2, 0, 1};
  step_.copies = &copy;
  step_.copy_count = 1;
  EXPECT_FALSE(Pack().ok());
  step_.copy_count = 0;
  EXPECT_TRUE(Pack().ok());
}

}  // namespace
}  // namespace tessera::gpu
