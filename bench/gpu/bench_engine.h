// An engine with its queue, as the benchmark's host code holds it. Stands on the C header alone.
#ifndef TESSERA_BENCH_GPU_BENCH_ENGINE_H_
#define TESSERA_BENCH_GPU_BENCH_ENGINE_H_

#include <chrono>
#include <cstdint>
#include <vector>

#include "bench/host.h"

namespace tessera_bench {

using Clock = std::chrono::steady_clock;

inline double Milliseconds(Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

struct EngineSettings {
  int64_t sequences = 1;  // in a batch
  int64_t batch_tokens = 256;
  int64_t context_tokens = 0;  // the longest session
  int64_t cache_tokens = 0;    // for all sessions
  int64_t requests = 0;        // that wait or run; 0: as many as `sequences`
  bool stepped = false;
  bool batch_invariant = false;
  bool share_prefixes = false;
  bool time_regions = false;
};

struct RequestSettings {
  int64_t new_tokens = 0;  // the model's end tokens do not end it
  double temperature = 0;
  double top_p = 1;
};

// The blocks that so many tokens may need, in tokens: a session's last block need not be full.
inline int64_t CacheTokens(int64_t sessions, int64_t tokens) { return sessions * (tokens + 64); }

class BenchEngine {
 public:
  BenchEngine(tsr_runtime* runtime, tsr_model* model, const EngineSettings& settings);
  ~BenchEngine();
  BenchEngine(const BenchEngine&) = delete;
  BenchEngine& operator=(const BenchEngine&) = delete;

  tsr_session* NewSession();
  void AppendRandom(tsr_session* session, int64_t count);  // other tokens each time
  void Generate(tsr_session* session, const RequestSettings& request, uint64_t tag);
  // One batch, on a stepped engine. False: there is nothing to do.
  bool Step();
  tsr_engine_metrics Metrics() const;
  double CacheBytesPerToken() const;

  // Waits so long for events (-1: without end) and calls tokens(tag, count) and finished(tag, event) for
  // each. What failed ends the program.
  template <typename Tokens, typename Finished>
  void Poll(int64_t timeout_ns, Tokens&& tokens, Finished&& finished);
  // Steps, or waits, until so many requests have ended.
  void Await(size_t requests);

 private:
  size_t FillBuffer(int64_t timeout_ns);

  const bool stepped_;
  tsr_engine* engine_ = nullptr;
  tsr_queue* queue_ = nullptr;
  int32_t vocabulary_ = 0;
  uint64_t seed_ = 0;
  std::vector<uint64_t> buffer_;
};

template <typename Tokens, typename Finished>
void BenchEngine::Poll(int64_t timeout_ns, Tokens&& tokens, Finished&& finished) {
  const size_t used = FillBuffer(timeout_ns);
  ForEachEvent(buffer_.data(), used, [&](const tsr_event& head, const char* record) {
    if (head.kind == TSR_EVENT_TOKENS) {
      tsr_event_tokens event;
      std::memcpy(&event, record, sizeof event);
      tokens(head.tag, static_cast<int64_t>(event.token_count));
    } else if (head.kind == TSR_EVENT_FINISHED) {
      tsr_event_finished event;
      std::memcpy(&event, record, sizeof event);
      if (event.reason == TSR_FINISH_ERROR) {
        const std::string message(record + event.message_offset, event.message_size);
        Fail("gpu_bench", "a request failed", message.c_str());
      }
      finished(head.tag, event);
    }
  });
}

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_BENCH_ENGINE_H_
