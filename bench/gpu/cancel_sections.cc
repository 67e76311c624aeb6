// Cancels: how soon their events and blocks come back, and that all of them do.
#include <cstdio>
#include <string>
#include <thread>

#include "bench/gpu/bench_engine.h"
#include "bench/gpu/sections.h"

namespace tessera_bench {
namespace {

class Random {
 public:
  // 0 to bound - 1.
  int64_t Below(int64_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>((state_ >> 33) % static_cast<uint64_t>(bound));
  }

 private:
  uint64_t state_ = 1;
};

void Cancel(tsr_session* session, int32_t effect) {
  Must must("cancel");
  must = tsr_session_cancel(session, effect, must);
}

struct CancelTimes {
  double event_ms = 0;   // until the terminal event is polled
  double blocks_ms = 0;  // until every block that it held is free
};

// Milliseconds of the whole prompt.
double WholeMs(BenchEngine* engine, int64_t tokens) {
  tsr_session* const session = engine->NewSession();
  engine->AppendRandom(session, tokens);
  const Clock::time_point start = Clock::now();
  engine->Generate(session, {}, 0);
  engine->Await(1);
  const double time = Milliseconds(Clock::now() - start);
  tsr_session_release(session);
  return time;
}

// Nothing where the prompt had ended before.
std::optional<CancelTimes> CancelOnce(BenchEngine* engine, int64_t tokens, int64_t after_us) {
  const int64_t free_before = engine->Metrics().blocks_free;
  tsr_session* const session = engine->NewSession();
  engine->AppendRandom(session, tokens);
  engine->Generate(session, {}, 0);
  std::this_thread::sleep_for(std::chrono::microseconds(after_us));
  const Clock::time_point start = Clock::now();
  Cancel(session, TSR_CANCEL_DROP);
  bool cancelled = false, finished = false;
  while (!finished) {
    engine->Poll(
        -1, [](uint64_t, int64_t) {},
        [&](uint64_t, const tsr_event_finished& event) {
          finished = true;
          cancelled = event.reason == TSR_FINISH_CANCELLED;
        });
  }
  CancelTimes times;
  times.event_ms = Milliseconds(Clock::now() - start);
  tsr_session_release(session);
  while (engine->Metrics().blocks_free < free_before) {
    if (Milliseconds(Clock::now() - start) > 30000) Fail("gpu_bench", "cancel", "blocks did not come back");
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  times.blocks_ms = Milliseconds(Clock::now() - start);
  if (!cancelled) return std::nullopt;
  return times;
}

void ReportTimes(const Place& place, const char* what, const std::vector<double>& times) {
  Record record;
  record.name = "cancel/" + place.a.model_name() + "/prompt" + std::to_string(place.a.cancel_prompt) + what;
  record.unit = "ms, p99";
  record.value = Percentile(times, 0.99);
  char more[96];
  std::snprintf(more, sizeof more, "\"p50\": %.3f, \"max\": %.3f, \"count\": %zu", Median(times),
                Percentile(times, 1), times.size());
  record.more = more;
  place.report.Add(record);
}

// Requests in their places: which runs, and whose terminal event is still to come.
class Soak {
 public:
  Soak(BenchEngine* engine, size_t places) : engine_(engine), places_(places) {}

  void Begin(size_t at, int64_t prompt_tokens, int64_t new_tokens) {
    Seat& seat = places_[at];
    seat.session = engine_->NewSession();
    engine_->AppendRandom(seat.session, prompt_tokens);
    RequestSettings request;
    request.new_tokens = new_tokens;
    engine_->Generate(seat.session, request, at);
    seat.runs = true;
  }
  void CancelAt(size_t at, int32_t effect) { Cancel(places_[at].session, effect); }
  void Poll(int64_t timeout_ns) {
    engine_->Poll(
        timeout_ns, [](uint64_t, int64_t) {},
        [&](uint64_t tag, const tsr_event_finished& event) {
          Seat& seat = places_[tag];
          if (!seat.runs) Fail("gpu_bench", "soak", "a request ended twice");
          seat.runs = false;
          if (event.reason == TSR_FINISH_CANCELLED) ++cancelled_;
          tsr_session_release(seat.session);
        });
  }
  bool Runs(size_t at) const { return places_[at].runs; }
  bool AnyRuns() const {
    for (const Seat& seat : places_) {
      if (seat.runs) return true;
    }
    return false;
  }
  int64_t cancelled() const { return cancelled_; }

 private:
  struct Seat {
    tsr_session* session = nullptr;
    bool runs = false;
  };
  BenchEngine* engine_;
  std::vector<Seat> places_;
  int64_t cancelled_ = 0;
};

}  // namespace

void MeasureCancel(const Place& place) {
  EngineSettings settings;
  settings.sequences = 4;
  settings.batch_tokens = 4096;
  settings.context_tokens = place.a.cancel_prompt + 16;
  settings.cache_tokens = CacheTokens(2, settings.context_tokens);
  BenchEngine engine(place.runtime, place.model, settings);
  WholeMs(&engine, place.a.cancel_prompt);  // not counted
  const double whole_us = 1e3 * WholeMs(&engine, place.a.cancel_prompt);
  std::vector<double> to_event, to_blocks;
  Random random;
  for (int64_t i = 0; i < 2 * place.a.cancels; ++i) {
    const int64_t after_us = random.Below(static_cast<int64_t>(0.95 * whole_us) + 1);
    const std::optional<CancelTimes> times = CancelOnce(&engine, place.a.cancel_prompt, after_us);
    if (!times) continue;
    to_event.push_back(times->event_ms);
    to_blocks.push_back(times->blocks_ms);
    if (static_cast<int64_t>(to_event.size()) == place.a.cancels) break;
  }
  if (to_event.empty()) Fail("gpu_bench", "cancel", "no prompt was still running");
  ReportTimes(place, "/event", to_event);
  ReportTimes(place, "/blocks", to_blocks);
}

void MeasureSoak(const Place& place) {
  constexpr int64_t kPlaces = 64, kLongest = 1024, kNewTokens = 64;
  EngineSettings settings;
  settings.sequences = 32;
  settings.requests = kPlaces;
  settings.batch_tokens = 2048;
  settings.context_tokens = kLongest + kNewTokens + 16;
  settings.cache_tokens = CacheTokens(16, settings.context_tokens);  // too few for all: some are preempted
  settings.share_prefixes = true;
  BenchEngine engine(place.runtime, place.model, settings);
  const tsr_engine_metrics before = engine.Metrics();
  Soak soak(&engine, kPlaces);
  Random random;
  const Clock::time_point start = Clock::now();
  while (soak.cancelled() < place.a.random_cancels) {
    const auto at = static_cast<size_t>(random.Below(kPlaces));
    if (soak.Runs(at)) {
      soak.CancelAt(at, random.Below(2) == 0 ? TSR_CANCEL_DROP : TSR_CANCEL_KEEP);
    } else {
      soak.Begin(at, 1 + random.Below(kLongest), random.Below(kNewTokens));
    }
    if (random.Below(4) == 0) std::this_thread::sleep_for(std::chrono::microseconds(random.Below(2000)));
    soak.Poll(0);
  }
  while (soak.AnyRuns()) soak.Poll(-1);
  const double seconds = Milliseconds(Clock::now() - start) / 1e3;
  tsr_engine_metrics after = engine.Metrics();
  while (after.blocks_free < before.blocks_total || after.sessions > 0) {
    if (Milliseconds(Clock::now() - start) / 1e3 > seconds + 30) {
      Fail("gpu_bench", "soak", "blocks or sessions did not come back");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    after = engine.Metrics();
  }
  Record record;
  record.name = "soak/" + place.a.model_name() + "/blocks_missing";
  record.unit = "blocks";
  record.value = static_cast<double>(before.blocks_free - after.blocks_free);
  char more[200];
  std::snprintf(
      more, sizeof more,
      "\"cancels\": %lld, \"blocks\": %lld, \"preemptions\": %llu, \"requests\": %llu, \"seconds\": %.1f",
      static_cast<long long>(soak.cancelled()), static_cast<long long>(before.blocks_total),
      static_cast<unsigned long long>(after.preemptions),
      static_cast<unsigned long long>(after.requests_finished), seconds);
  record.more = more;
  place.report.Add(record);
}

}  // namespace tessera_bench
