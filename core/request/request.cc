#include "core/request/request.h"

#include <algorithm>
#include <utility>

namespace tessera {
namespace {

size_t MostRecordBytes(const RequestParams& params, size_t longest_token_bytes) {
  return Outbox::MostRecordBytes(TextAssembler::MostTextBytes(params.stop, longest_token_bytes),
                                 static_cast<size_t>(std::max(params.sampling.top_logprobs, 0)));
}

bool UsesHistory(const SamplingParams& sampling) {
  return sampling.repetition_penalty != 1.0f || sampling.frequency_penalty != 0.0f ||
         sampling.presence_penalty != 0.0f;
}

}  // namespace

Request::Request(uint64_t tag, uint64_t id, RequestParams request_params,
                 std::shared_ptr<EventQueue> event_queue, size_t longest_token_bytes)
    : EventSource(tag, id, MostRecordBytes(request_params, longest_token_bytes)),
      params(std::move(request_params)),
      queue(std::move(event_queue)),
      text(params.stop, longest_token_bytes) {
  if (UsesHistory(params.sampling)) {
    history.reserve(static_cast<size_t>(std::max(params.sampling.penalty_window_tokens, 0)));
  }
}

bool Request::Finish(FinishReason reason, int32_t status, absl::string_view static_message, bool flush,
                     int64_t now_ns) noexcept {
  if (finished) return false;
  bool became_ready = false;
  finished = true;
  if (flush) {
    TokenOutput rest;
    rest.tag = tag;
    rest.request = id;
    rest.text = text.Finish();
    if (!rest.text.empty()) became_ready = queue->PostToken(*this, rest);
  }
  FinishedRecord record;
  record.head.tag = tag;
  record.request = id;
  record.reason = static_cast<int32_t>(reason);
  record.status = status;
  record.prompt_tokens = prompt_tokens;
  record.generated_tokens = generated_tokens;
  record.last_token = last_token;
  const int64_t started = started_ns != 0 ? started_ns : now_ns;
  const int64_t first = first_token_ns != 0 ? first_token_ns : now_ns;
  record.queued_ns = started - submitted_ns;
  record.prompt_ns = std::max<int64_t>(first - started, 0);
  record.decode_ns = std::max<int64_t>(now_ns - first, 0);
  return queue->PostTerminal(*this, record, static_message) || became_ready;
}

}  // namespace tessera
