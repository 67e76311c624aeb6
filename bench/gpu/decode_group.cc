#include "bench/gpu/decode_group.h"

#include <algorithm>
#include <ctime>
#include <numeric>
#include <thread>

namespace tessera_bench {
namespace {

double ProcessorSeconds() {
  timespec used = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

// What counters say at one moment.
struct Moment {
  explicit Moment(const BenchEngine& engine, int64_t all_tokens)
      : time(Clock::now()),
        processor_seconds(ProcessorSeconds()),
        metrics(engine.Metrics()),
        tokens(all_tokens) {}
  Clock::time_point time;
  double processor_seconds;
  tsr_engine_metrics metrics;
  int64_t tokens;
};

DecodeRun Difference(const Moment& from, const Moment& to, int64_t batch) {
  DecodeRun run;
  const double steps = static_cast<double>(to.tokens - from.tokens) / static_cast<double>(batch);
  const double wall_ms = Milliseconds(to.time - from.time);
  run.step_ms = wall_ms / steps;
  run.processor_us = (to.processor_seconds - from.processor_seconds) * 1e6 / steps;
  run.device_steps = to.metrics.device_steps - from.metrics.device_steps;
  if (run.device_steps == 0) return run;
  const auto device_ms = static_cast<double>(to.metrics.device_ns - from.metrics.device_ns) / 1e6;
  const auto idle_ms = static_cast<double>(to.metrics.device_idle_ns - from.metrics.device_idle_ns) / 1e6;
  run.device_ms = device_ms / static_cast<double>(run.device_steps);
  run.idle_percent = 100 * idle_ms / (device_ms + idle_ms);
  run.unused_percent = 100 * std::max(0.0, 1 - run.device_ms / run.step_ms);
  for (size_t i = 0; i < std::size(run.region_ns); ++i) {
    run.region_ns[i] = to.metrics.region_ns[i] - from.metrics.region_ns[i];
  }
  return run;
}

}  // namespace

EngineSettings DecodeGroup::Settings(int64_t batch, int64_t context, int64_t steps) {
  EngineSettings settings;
  settings.sequences = batch;
  settings.batch_tokens = 4096;
  settings.context_tokens = context + kWarmUpSteps + steps + kSlackSteps;
  settings.cache_tokens = CacheTokens(batch, settings.context_tokens);
  return settings;
}

DecodeGroup::DecodeGroup(BenchEngine* engine, int64_t batch, int64_t context)
    : engine_(engine), context_(context) {
  for (int64_t i = 0; i < batch; ++i) {
    sessions_.push_back(engine_->NewSession());
    engine_->AppendRandom(sessions_.back(), context);
    engine_->Generate(sessions_.back(), {}, static_cast<uint64_t>(i));
  }
  engine_->Await(sessions_.size());
}

DecodeGroup::~DecodeGroup() {
  for (tsr_session* session : sessions_) tsr_session_release(session);
}

// The prompt's last token is computed anew by each run's first step.
void DecodeGroup::Begin(int64_t new_tokens, double temperature, double top_p) {
  RequestSettings request;
  request.new_tokens = new_tokens;
  request.temperature = temperature;
  request.top_p = top_p;
  for (tsr_session* session : sessions_) {
    Must must("rewind");
    must = tsr_session_rewind(session, static_cast<size_t>(context_ - 1), must);
    engine_->AppendRandom(session, 1);
  }
  for (size_t i = 0; i < sessions_.size(); ++i) engine_->Generate(sessions_[i], request, i);
}

DecodeRun DecodeGroup::Run(int64_t steps, double temperature, double top_p) {
  constexpr int kAttempts = 20;
  DecodeRun run;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (TryRun(steps, temperature, top_p, &run)) return run;
  }
  Fail("gpu_bench", "decode", "sessions never ran side by side");
}

bool DecodeGroup::TryRun(int64_t steps, double temperature, double top_p, DecodeRun* run) {
  std::vector<int64_t> counts(sessions_.size(), 0);
  size_t running = sessions_.size();
  std::vector<Moment> moments;  // begin and end
  Begin(kWarmUpSteps + steps + kSlackSteps, temperature, top_p);
  while (running > 0) {
    engine_->Poll(
        -1, [&](uint64_t tag, int64_t count) { counts[tag] += count; },
        [&](uint64_t, const tsr_event_finished&) { --running; });
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
    const bool begins = moments.empty() && *least >= kWarmUpSteps;
    const bool ends = moments.size() == 1 && *most >= kWarmUpSteps + steps;
    if ((!begins && !ends) || running < sessions_.size()) continue;
    moments.emplace_back(*engine_, std::accumulate(counts.begin(), counts.end(), int64_t{0}));
    if (!ends) continue;
    for (tsr_session* session : sessions_) {
      Must must("cancel");
      must = tsr_session_cancel(session, TSR_CANCEL_KEEP, must);
    }
  }
  const auto batch = static_cast<int64_t>(sessions_.size());
  if (moments.size() != 2 || moments[1].tokens - moments[0].tokens < batch) return false;
  *run = Difference(moments[0], moments[1], batch);
  const auto middle = static_cast<double>(moments[0].tokens + moments[1].tokens) / 2;
  run->mean_context = static_cast<double>(context_) + middle / static_cast<double>(batch);
  return true;
}

std::vector<double> DecodeGroup::RunApart(int64_t steps, double pause_ms) {
  std::vector<double> times;
  size_t running = sessions_.size();
  Begin(kWarmUpSteps + steps + kSlackSteps, 0, 1);
  const auto poll = [&] {
    engine_->Poll(
        0, [](uint64_t, int64_t) {}, [&](uint64_t, const tsr_event_finished&) { --running; });
  };
  for (int64_t i = 0; i < kWarmUpSteps; ++i) engine_->Step();
  poll();
  for (int64_t i = 0; i < steps && running == sessions_.size(); ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(pause_ms));
    const Clock::time_point start = Clock::now();
    engine_->Step();
    times.push_back(Milliseconds(Clock::now() - start));
    poll();
  }
  engine_->Await(running);
  return times;
}

}  // namespace tessera_bench
