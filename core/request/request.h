// One accepted request, from submit to its terminal event. All that it will need is allocated here.
#ifndef TESSERA_CORE_REQUEST_REQUEST_H_
#define TESSERA_CORE_REQUEST_REQUEST_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/request/event_queue.h"
#include "core/request/request_params.h"
#include "core/request/text_assembler.h"

namespace tessera {

// Guarded by the engine's mutex, but for the immutable part and what EventSource says of itself.
class Request : public EventSource {
 public:
  // `stop_tokens` of the params are merged with `end_tokens` by the engine. May throw std::bad_alloc.
  Request(uint64_t tag, uint64_t id, RequestParams params, std::shared_ptr<EventQueue> queue,
          size_t longest_token_bytes);

  const RequestParams params;
  const std::shared_ptr<EventQueue> queue;

  int64_t submitted_ns = 0;
  int64_t deadline_ns = 0;  // on the engine's clock; 0: none
  int64_t started_ns = 0;   // first planned; 0: not yet
  int64_t first_token_ns = 0;
  size_t start_tokens = 0;    // the session's tokens at submission: what a dropped request leaves
  size_t start_computed = 0;  // of these, in the cache then
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  int64_t token_limit = 0;  // the session's tokens may grow to this many
  int64_t rank = 0;         // the scheduler's order: lower comes first
  uint64_t planned_at = 0;  // the scheduler's count of placements when it was placed last
  uint32_t preemptions = 0;
  int32_t last_token = -1;
  bool admitted = false;   // it runs
  bool paused = false;     // it runs, but its host does not poll
  int32_t in_batches = 0;  // batches in flight that have rows of it
  bool finished = false;   // its terminal event is posted

  // A copy of the sequence's last tokens, made when a batch is planned, so that the host may append while it
  // runs.
  std::vector<int32_t> history;
  TextAssembler text;

  // Posts the text held back (when `flush`), then the terminal event. Once. True: call queue->CallReady
  // without locks.
  bool Finish(FinishReason reason, int32_t status, absl::string_view static_message, bool flush,
              int64_t now_ns) noexcept;
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_REQUEST_H_
