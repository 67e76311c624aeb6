// Reads a queue's records as a host would, from the bytes alone, and gathers them by tag. What breaks the
// records' rules (sizes, kinds, an event after the terminal one) is a test failure at once.
#ifndef TESSERA_TESTS_DOUBLES_EVENT_READER_H_
#define TESSERA_TESTS_DOUBLES_EVENT_READER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/request/event_queue.h"
#include "core/request/request_params.h"

namespace tessera {

struct ReadEvents {
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> tops;  // of each token
  int token_records = 0;
  int terminals = 0;
  FinishedRecord finished;  // when terminals is 1
  std::string message;

  FinishReason reason() const { return static_cast<FinishReason>(finished.reason); }
};

class EventReader {
 public:
  // Polls without waiting until nothing comes, `buffer_bytes` at a time.
  void Drain(EventQueue& queue, size_t buffer_bytes = 4096);
  // Waits until the request with this tag has ended.
  void WaitForEnd(EventQueue& queue, uint64_t tag);
  void Read(const uint8_t* data, size_t size_bytes);

  const ReadEvents& Of(uint64_t tag) { return by_tag_[tag]; }
  // Of a tag that has ended, and forgets it: for tests that run for long.
  ReadEvents Take(uint64_t tag);
  bool Ended(uint64_t tag) { return by_tag_[tag].terminals > 0; }
  const std::vector<uint64_t>& order() const { return order_; }  // tags, record by record
  const std::map<uint64_t, ReadEvents>& all() const { return by_tag_; }

 private:
  std::map<uint64_t, ReadEvents> by_tag_;
  std::vector<uint64_t> order_;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_EVENT_READER_H_
