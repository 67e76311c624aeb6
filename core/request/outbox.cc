#include "core/request/outbox.h"

#include <algorithm>
#include <cstring>

#include "core/base/checked.h"

namespace tessera {
namespace {

constexpr size_t kLeastCapacityBytes = 16 << 10;

}  // namespace

size_t Outbox::MostRecordBytes(size_t text_bytes, size_t top_count) {
  return AlignUp(
      sizeof(TokensRecord) + sizeof(int32_t) + sizeof(float) + top_count * sizeof(TokenLogprob) + text_bytes,
      8);
}

Outbox::Outbox(size_t most_record_bytes)
    : most_record_bytes_(most_record_bytes),
      capacity_(std::max(kLeastCapacityBytes, 8 * most_record_bytes)),
      bytes_(new uint8_t[capacity_]) {}

void Outbox::PutToken(const TokenOutput& output) noexcept {
  TokensRecord record;
  uint32_t offset = sizeof(TokensRecord);
  record.token_count = output.has_token ? 1 : 0;
  record.token_offset = offset;
  offset += record.token_count * sizeof(int32_t);
  if (output.has_token && output.has_logprob) {
    record.logprob_offset = offset;
    offset += sizeof(float);
    record.top_count = static_cast<uint32_t>(output.top.size());
    record.top_offset = output.top.empty() ? 0 : offset;
    offset += static_cast<uint32_t>(output.top.size() * sizeof(TokenLogprob));
  }
  record.text_offset = offset;
  record.text_size = static_cast<uint32_t>(output.text.size());
  const size_t size = AlignUp(offset + output.text.size(), 8);
  record.head = {static_cast<uint32_t>(size), kEventTokens, output.tag};
  record.request = output.request;

  if (tail_ + size > capacity_) {  // records stay contiguous: what waits moves to the front
    std::memmove(bytes_.get(), bytes_.get() + head_, tail_ - head_);
    tail_ -= head_;
    head_ = 0;
  }
  uint8_t* at = bytes_.get() + tail_;
  std::memset(at + size - 8, 0, 8);
  std::memcpy(at, &record, sizeof(record));
  if (output.has_token) std::memcpy(at + record.token_offset, &output.token, sizeof(int32_t));
  if (record.logprob_offset != 0) {
    std::memcpy(at + record.logprob_offset, &output.logprob, sizeof(float));
    if (record.top_offset != 0) {
      std::memcpy(at + record.top_offset, output.top.data(), output.top.size() * sizeof(TokenLogprob));
    }
  }
  if (!output.text.empty()) std::memcpy(at + record.text_offset, output.text.data(), output.text.size());
  tail_ += size;
}

void Outbox::PutTerminal(const FinishedRecord& record, absl::string_view message) noexcept {
  if (terminal_posted_) return;
  terminal_ = record;
  terminal_message_ = message;
  terminal_.message_size = static_cast<uint32_t>(message.size());
  terminal_.message_offset = message.empty() ? 0 : sizeof(FinishedRecord);
  terminal_.head.kind = kEventFinished;
  terminal_.head.size = static_cast<uint32_t>(AlignUp(sizeof(FinishedRecord) + message.size(), 8));
  terminal_waiting_ = true;
  terminal_posted_ = true;
}

size_t Outbox::Drain(uint8_t* buffer, size_t capacity, size_t* needed) noexcept {
  *needed = 0;
  size_t used = 0;
  while (head_ != tail_) {
    EventHead head;
    std::memcpy(&head, bytes_.get() + head_, sizeof(head));
    if (head.size > capacity - used) {
      *needed = head.size;
      return used;
    }
    std::memcpy(buffer + used, bytes_.get() + head_, head.size);
    used += head.size;
    head_ += head.size;
  }
  head_ = tail_ = 0;
  if (terminal_waiting_) {
    if (terminal_.head.size > capacity - used) {
      *needed = terminal_.head.size;
      return used;
    }
    std::memset(buffer + used + terminal_.head.size - 8, 0, 8);
    std::memcpy(buffer + used, &terminal_, sizeof(terminal_));
    if (!terminal_message_.empty()) {
      std::memcpy(buffer + used + sizeof(terminal_), terminal_message_.data(), terminal_message_.size());
    }
    used += terminal_.head.size;
    terminal_waiting_ = false;
  }
  return used;
}

}  // namespace tessera
