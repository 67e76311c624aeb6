// The records that a poll writes into a host's buffer. Layout is ABI: capi checks each field against the
// public header.
#ifndef TESSERA_CORE_REQUEST_EVENT_RECORDS_H_
#define TESSERA_CORE_REQUEST_EVENT_RECORDS_H_

#include <cstdint>

namespace tessera {

inline constexpr uint32_t kEventTokens = 1;
inline constexpr uint32_t kEventFinished = 2;

struct EventHead {
  uint32_t size = 0;  // of the whole record, a multiple of 8
  uint32_t kind = 0;
  uint64_t tag = 0;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

// Followed by ids, log-probabilities, alternatives, text, each where its offset says (from the record's
// start).
struct TokensRecord {
  EventHead head;
  uint64_t request = 0;
  uint32_t token_count = 0, token_offset = 0;
  uint32_t text_size = 0, text_offset = 0;
  uint32_t logprob_offset = 0;
  uint32_t top_count = 0, top_offset = 0;
  uint32_t reserved = 0;
};

// Followed by the message.
struct FinishedRecord {
  EventHead head;
  uint64_t request = 0;
  int32_t reason = 0;
  int32_t status = 0;
  uint32_t prompt_tokens = 0, generated_tokens = 0;
  int32_t last_token = -1;
  uint32_t message_size = 0, message_offset = 0;
  uint32_t reserved = 0;
  int64_t queued_ns = 0, prompt_ns = 0, decode_ns = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_EVENT_RECORDS_H_
