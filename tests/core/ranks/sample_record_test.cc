// A step's results as they travel to the leader.
#include "core/ranks/sample_record.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/base/status.h"

namespace tessera {
namespace {

constexpr int32_t kVocabulary = 5;

// Two samples: a token with an alternative and its logits, and a fault.
struct Results {
  Results() {
    samples.resize(2);
    samples[0].token = 4;
    samples[0].logprob = -0.5f;
    samples[0].top_count = 1;
    samples[0].top_tokens[0] = 4;
    samples[0].top_logprobs[0] = -0.5f;
    samples[0].logits_out = logits;
    samples[1].numeric_fault = true;
    view.sample_count = 2;
    view.samples = samples.data();
  }
  Results(const Results&) = delete;
  std::vector<SampleRow> samples;
  float logits[kVocabulary] = {1, 2, 3, 4, 5};
  StepView view;
};

// The leader's own step: the same wishes, no results.
void Forget(Results* results) {
  for (SampleRow& sample : results->samples) {
    sample.token = -7;
    sample.numeric_fault = false;
    sample.top_count = -1;
  }
  for (float& logit : results->logits) logit = -1;
}

TEST(SampleRecord, WhatIsReadIsWhatWasWritten) {
  const Results from;
  Results to;
  Forget(&to);
  std::vector<uint8_t> record;
  WriteSampleRecord(from.view, kVocabulary, &record);
  EXPECT_LE(record.size(), MostSampleRecordBytes(2, kVocabulary));

  ASSERT_TRUE(ReadSampleRecord(record, to.view, kVocabulary).ok());

  EXPECT_EQ(to.samples[0].token, 4);
  EXPECT_FALSE(to.samples[0].numeric_fault);
  EXPECT_EQ(to.samples[0].logprob, -0.5f);
  EXPECT_EQ(to.samples[0].top_count, 1);
  EXPECT_EQ(to.samples[0].top_tokens[0], 4);
  EXPECT_EQ(to.samples[0].top_logprobs[0], -0.5f);
  EXPECT_EQ(std::vector<float>(to.logits, to.logits + kVocabulary), std::vector<float>({1, 2, 3, 4, 5}));
  EXPECT_TRUE(to.samples[1].numeric_fault);
}

TEST(SampleRecord, EveryOtherLengthIsRefused) {
  Results results;
  std::vector<uint8_t> record;
  WriteSampleRecord(results.view, kVocabulary, &record);
  for (size_t size = 0; size < record.size(); ++size) {
    const std::vector<uint8_t> cut(record.begin(), record.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(CodeOf(ReadSampleRecord(cut, results.view, kVocabulary)), ErrorCode::kCorrupt) << size;
  }
  record.push_back(0);
  EXPECT_EQ(CodeOf(ReadSampleRecord(record, results.view, kVocabulary)), ErrorCode::kCorrupt);
}

TEST(SampleRecord, ATokenOutsideTheVocabularyIsRefused) {
  Results results;
  results.samples[0].token = kVocabulary;
  std::vector<uint8_t> record;
  WriteSampleRecord(results.view, kVocabulary, &record);
  EXPECT_EQ(CodeOf(ReadSampleRecord(record, results.view, kVocabulary)), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace tessera
