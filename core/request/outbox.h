// One request's undelivered events: a bounded buffer of token records and a reserved place for the terminal
// one. Guarded by the EventQueue that it belongs to. Allocates at construction only.
#ifndef TESSERA_CORE_REQUEST_OUTBOX_H_
#define TESSERA_CORE_REQUEST_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/request/event_records.h"

namespace tessera {

struct TokenOutput {
  uint64_t tag = 0;
  uint64_t request = 0;
  bool has_token = false;  // false: a record of text alone
  int32_t token = -1;
  bool has_logprob = false;
  float logprob = 0;
  absl::Span<const TokenLogprob> top;
  absl::string_view text;
};

class Outbox {
 public:
  // Most bytes of one token's record.
  static size_t MostRecordBytes(size_t text_bytes, size_t top_count);

  // Takes at least 8 records of `most_record_bytes`.
  explicit Outbox(size_t most_record_bytes);

  // True when the token that a batch in flight may bring, one more and the final text still fit: otherwise
  // the request must not be scheduled.
  bool HasRoom() const { return capacity_ - (tail_ - head_) >= 3 * most_record_bytes_; }
  bool empty() const { return head_ == tail_ && !terminal_waiting_; }
  bool terminal_posted() const { return terminal_posted_; }
  bool drained_after_terminal() const { return terminal_posted_ && empty(); }

  void PutToken(const TokenOutput& output) noexcept;  // HasRoom held when its batch was planned
  // `message` must live as long as the outbox (it is static text or the request's own).
  void PutTerminal(const FinishedRecord& record, absl::string_view message) noexcept;

  // Moves whole records to buffer[0, capacity); returns the bytes written. `needed` gets the size of the
  // first record that did not fit, 0 when all did.
  size_t Drain(uint8_t* buffer, size_t capacity, size_t* needed) noexcept;

 private:
  size_t most_record_bytes_;
  size_t capacity_;
  std::unique_ptr<uint8_t[]> bytes_;
  size_t head_ = 0, tail_ = 0;
  FinishedRecord terminal_;
  absl::string_view terminal_message_;
  bool terminal_waiting_ = false;
  bool terminal_posted_ = false;
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_OUTBOX_H_
