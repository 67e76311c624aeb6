// The bounded buffer of one request's events.
#include "core/request/outbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "tests/doubles/event_reader.h"

namespace tessera {
namespace {

constexpr uint64_t kTag = 77;

TokenOutput Token(int32_t token, absl::string_view text = "") {
  TokenOutput output;
  output.tag = kTag;
  output.request = 5;
  output.has_token = true;
  output.token = token;
  output.text = text;
  return output;
}

// A host's buffer, poisoned, so that what is not written shows.
struct Buffer {
  explicit Buffer(size_t size_bytes) : bytes(size_bytes, 0xEE) {}
  std::vector<uint8_t> bytes;
  size_t Drain(Outbox& outbox, size_t* needed) { return outbox.Drain(bytes.data(), bytes.size(), needed); }
};

TEST(Outbox, GivesBackWhatWasPutInOrder) {
  Outbox outbox(Outbox::MostRecordBytes(32, 0));
  outbox.PutToken(Token(7, "ab"));
  outbox.PutToken(Token(8));
  FinishedRecord finished;
  finished.head.tag = kTag;
  finished.generated_tokens = 2;
  outbox.PutTerminal(finished, "done");
  Buffer buffer(4096);
  size_t needed = 1;
  const size_t used = buffer.Drain(outbox, &needed);
  EXPECT_EQ(needed, 0u);
  EventReader reader;
  reader.Read(buffer.bytes.data(), used);
  EXPECT_EQ(reader.Of(kTag).tokens, (std::vector<int32_t>{7, 8}));
  EXPECT_EQ(reader.Of(kTag).text, "ab");
  EXPECT_EQ(reader.Of(kTag).terminals, 1);
  EXPECT_EQ(reader.Of(kTag).finished.generated_tokens, 2u);
  EXPECT_EQ(reader.Of(kTag).message, "done");
  EXPECT_TRUE(outbox.empty());
  EXPECT_TRUE(outbox.drained_after_terminal());
  EXPECT_EQ(buffer.bytes[used], 0xEE);  // nothing behind what it says it wrote
}

TEST(Outbox, CarriesLogProbabilitiesAndAlternatives) {
  Outbox outbox(Outbox::MostRecordBytes(8, 2));
  TokenOutput output = Token(9, "xyz");
  const TokenLogprob top[] = {{9, -0.5f}, {4, -1.5f}};
  output.has_logprob = true;
  output.logprob = -0.5f;
  output.top = top;
  outbox.PutToken(output);
  Buffer buffer(1024);
  size_t needed;
  EventReader reader;
  reader.Read(buffer.bytes.data(), buffer.Drain(outbox, &needed));
  const ReadEvents& events = reader.Of(kTag);
  EXPECT_EQ(events.logprobs, std::vector<float>{-0.5f});
  ASSERT_EQ(events.tops[0].size(), 2u);
  EXPECT_EQ(events.tops[0][1].token, 4);
  EXPECT_EQ(events.tops[0][1].logprob, -1.5f);
  EXPECT_EQ(events.text, "xyz");
}

TEST(Outbox, ARecordOfTextAloneHasNoToken) {
  Outbox outbox(Outbox::MostRecordBytes(8, 0));
  TokenOutput rest;
  rest.tag = kTag;
  rest.text = "rest";
  outbox.PutToken(rest);
  Buffer buffer(1024);
  size_t needed;
  EventReader reader;
  reader.Read(buffer.bytes.data(), buffer.Drain(outbox, &needed));
  EXPECT_TRUE(reader.Of(kTag).tokens.empty());
  EXPECT_EQ(reader.Of(kTag).text, "rest");
}

TEST(Outbox, NoRecordIsLargerThanMostRecordBytes) {
  for (size_t text = 0; text < 40; ++text) {
    for (const size_t tops : {0u, 1u, 3u, 20u}) {
      const size_t most = Outbox::MostRecordBytes(text, tops);
      Outbox outbox(most);
      TokenOutput output = Token(1);
      const std::string full(text, 'x');
      const std::vector<TokenLogprob> top(tops);
      output.text = full;
      output.has_logprob = true;
      output.top = top;
      outbox.PutToken(output);
      Buffer buffer(4096);
      size_t needed;
      EXPECT_LE(buffer.Drain(outbox, &needed), most);
    }
  }
}

TEST(Outbox, ABufferTooSmallForTheFirstRecordLeavesItThereAndTellsItsSize) {
  Outbox outbox(Outbox::MostRecordBytes(32, 0));
  outbox.PutToken(Token(7, "some text here"));
  Buffer large(1024);
  size_t needed = 0;
  for (const size_t size : {0u, 8u, 72u}) {
    Buffer small(size);
    EXPECT_EQ(small.Drain(outbox, &needed), 0u);
    EXPECT_EQ(needed, 80u);
  }
  Buffer exact(80);
  EXPECT_EQ(exact.Drain(outbox, &needed), 80u);
  EXPECT_EQ(needed, 0u);
  EXPECT_TRUE(outbox.empty());
}

TEST(Outbox, WhatDoesNotFitStaysWholeRecordsOnly) {
  Outbox outbox(Outbox::MostRecordBytes(0, 0));
  for (int32_t token = 0; token < 10; ++token) outbox.PutToken(Token(token));
  FinishedRecord finished;
  finished.head.tag = kTag;
  outbox.PutTerminal(finished, "");
  EventReader reader;
  size_t polls = 0, needed = 1;
  while (!outbox.empty()) {
    Buffer buffer(150);  // two records of 64 and a piece
    const size_t used = buffer.Drain(outbox, &needed);
    EXPECT_LE(used, 150u);
    EXPECT_EQ(needed == 0, outbox.empty());
    reader.Read(buffer.bytes.data(), used);
    ASSERT_LT(++polls, 20u);
  }
  EXPECT_EQ(reader.Of(kTag).tokens.size(), 10u);
  EXPECT_EQ(reader.Of(kTag).terminals, 1);
}

TEST(Outbox, TheTerminalRecordsPlaceIsReservedHoweverFullItIs) {
  Outbox outbox(Outbox::MostRecordBytes(16, 4));
  size_t put = 0;
  for (; outbox.HasRoom(); ++put) outbox.PutToken(Token(1, "0123456789abcdef"));
  EXPECT_GE(put, 6u);
  // One token of a batch that was planned before, and the text held back.
  TokenOutput rest;
  rest.tag = kTag;
  rest.text = "0123456789abcdef";
  FinishedRecord finished;
  finished.head.tag = kTag;
  outbox.PutToken(rest);
  outbox.PutTerminal(finished, "message");
  EXPECT_FALSE(outbox.HasRoom());
  EventReader reader;
  Buffer buffer(64 << 10);
  size_t needed;
  reader.Read(buffer.bytes.data(), buffer.Drain(outbox, &needed));
  EXPECT_EQ(reader.Of(kTag).tokens.size(), put);
  EXPECT_EQ(reader.Of(kTag).text.size(), 16 * (put + 1));
  EXPECT_EQ(reader.Of(kTag).terminals, 1);
}

TEST(Outbox, OnlyTheFirstTerminalRecordCounts) {
  Outbox outbox(64);
  FinishedRecord finished;
  finished.head.tag = kTag;
  finished.reason = 1;
  outbox.PutTerminal(finished, "");
  finished.reason = 2;
  outbox.PutTerminal(finished, "");
  Buffer buffer(1024);
  size_t needed;
  EventReader reader;
  reader.Read(buffer.bytes.data(), buffer.Drain(outbox, &needed));
  EXPECT_EQ(reader.Of(kTag).terminals, 1);
  EXPECT_EQ(reader.Of(kTag).finished.reason, 1);
  outbox.PutTerminal(finished, "");
  EXPECT_TRUE(outbox.empty());
}

TEST(Outbox, LosesAndMixesNothingInAnyOrderOfPutsAndPolls) {
  std::mt19937 random(1);
  const auto below = [&random](uint32_t bound) { return random() % bound; };
  for (int round = 0; round < 20; ++round) {
    Outbox outbox(Outbox::MostRecordBytes(1500, 0));
    EventReader reader;
    std::vector<int32_t> tokens;
    std::string text;
    while (tokens.size() < 500) {
      if (below(3) != 0) {
        if (!outbox.HasRoom()) continue;
        const std::string piece(below(1500), static_cast<char>('a' + below(26)));
        outbox.PutToken(Token(static_cast<int32_t>(tokens.size()), piece));
        tokens.push_back(static_cast<int32_t>(tokens.size()));
        text += piece;
      } else {
        Buffer buffer(8 * below(600));
        size_t needed;
        reader.Read(buffer.bytes.data(), buffer.Drain(outbox, &needed));
      }
    }
    Buffer rest(64 << 10);
    size_t needed;
    reader.Read(rest.bytes.data(), rest.Drain(outbox, &needed));
    EXPECT_EQ(reader.Of(kTag).tokens, tokens);
    EXPECT_EQ(reader.Of(kTag).text, text);
  }
}

}  // namespace
}  // namespace tessera
