#include "tests/doubles/event_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

namespace tessera {
namespace {

template <typename T>
T At(const uint8_t* data, size_t offset) {
  T value;
  std::memcpy(&value, data + offset, sizeof(value));
  return value;
}

void ReadTokens(const uint8_t* record, ReadEvents* events) {
  const auto tokens = At<TokensRecord>(record, 0);
  ASSERT_LE(tokens.text_offset + tokens.text_size, tokens.head.size);
  ++events->token_records;
  for (uint32_t i = 0; i < tokens.token_count; ++i) {
    events->tokens.push_back(At<int32_t>(record, tokens.token_offset + i * sizeof(int32_t)));
    if (tokens.logprob_offset == 0) continue;
    events->logprobs.push_back(At<float>(record, tokens.logprob_offset + i * sizeof(float)));
    std::vector<TokenLogprob> tops;
    for (uint32_t top = 0; top < tokens.top_count; ++top) {
      const size_t index = i * tokens.top_count + top;
      tops.push_back(At<TokenLogprob>(record, tokens.top_offset + index * sizeof(TokenLogprob)));
    }
    events->tops.push_back(tops);
  }
  events->text.append(reinterpret_cast<const char*>(record) + tokens.text_offset, tokens.text_size);
}

}  // namespace

void EventReader::Read(const uint8_t* data, size_t size_bytes) {
  for (size_t at = 0; at < size_bytes;) {
    ASSERT_LE(at + sizeof(EventHead), size_bytes);
    const auto head = At<EventHead>(data, at);
    ASSERT_EQ(head.size % 8, 0u);
    ASSERT_GE(head.size, sizeof(EventHead));
    ASSERT_LE(at + head.size, size_bytes);
    ReadEvents& events = by_tag_[head.tag];
    order_.push_back(head.tag);
    EXPECT_EQ(events.terminals, 0) << "an event after the terminal one, tag " << head.tag;
    if (head.kind == kEventTokens) {
      ASSERT_NO_FATAL_FAILURE(ReadTokens(data + at, &events));
    } else {
      ASSERT_EQ(head.kind, kEventFinished);
      ++events.terminals;
      events.finished = At<FinishedRecord>(data, at);
      events.message.assign(reinterpret_cast<const char*>(data) + at + events.finished.message_offset,
                            events.finished.message_size);
    }
    at += head.size;
  }
}

ReadEvents EventReader::Take(uint64_t tag) {
  ReadEvents events = std::move(by_tag_[tag]);
  by_tag_.erase(tag);
  std::erase(order_, tag);
  return events;
}

void EventReader::Drain(EventQueue& queue, size_t buffer_bytes) {
  std::vector<uint64_t> buffer(buffer_bytes / 8);
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(buffer.data());
  for (;;) {
    const EventQueue::PollResult result = queue.Poll(0, bytes, buffer_bytes);
    ASSERT_EQ(result.needed, 0u) << "a record larger than the buffer";
    if (result.used == 0) return;
    ASSERT_NO_FATAL_FAILURE(Read(bytes, result.used));
  }
}

void EventReader::WaitForEnd(EventQueue& queue, uint64_t tag) {
  std::vector<uint64_t> buffer(512);
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(buffer.data());
  while (!Ended(tag)) {
    const EventQueue::PollResult result = queue.Poll(-1, bytes, buffer.size() * 8);
    ASSERT_FALSE(result.closed || result.busy);
    ASSERT_EQ(result.needed, 0u);
    ASSERT_NO_FATAL_FAILURE(Read(bytes, result.used));
  }
}

}  // namespace tessera
