#include "bench/gpu/bench_engine.h"

#include <algorithm>

namespace tessera_bench {

BenchEngine::BenchEngine(tsr_runtime* runtime, tsr_model* model, const EngineSettings& settings)
    : stepped_(settings.stepped), buffer_(size_t{1} << 16) {
  tsr_options* options = NewOptions();
  const int64_t requests = settings.requests == 0 ? settings.sequences : settings.requests;
  SetInt(options, "engine.batch_sequences", settings.sequences);
  SetInt(options, "engine.batch_tokens", settings.batch_tokens);
  SetInt(options, "engine.context_tokens", settings.context_tokens);
  SetInt(options, "engine.cache_tokens", settings.cache_tokens);
  SetInt(options, "engine.max_requests", requests);
  SetInt(options, "engine.max_sessions", requests + 64);
  SetBool(options, "engine.stepped", settings.stepped);
  SetBool(options, "engine.batch_invariant", settings.batch_invariant);
  SetBool(options, "engine.share_prefixes", settings.share_prefixes);
  SetBool(options, "engine.time_regions", settings.time_regions);
  Must engine("engine"), queue("queue"), info("info");
  engine = tsr_engine_create(model, options, &engine_, engine);
  queue = tsr_queue_create(runtime, nullptr, &queue_, queue);
  tsr_options_release(options);
  tsr_model_info full = {};
  full.struct_size = sizeof full;
  info = tsr_model_get_info(model, &full, info);
  vocabulary_ = full.vocabulary_size;
}

BenchEngine::~BenchEngine() {
  tsr_queue_release(queue_);
  tsr_engine_release(engine_);
}

tsr_session* BenchEngine::NewSession() {
  tsr_session* session = nullptr;
  Must must("session");
  must = tsr_session_create(engine_, nullptr, &session, must);
  return session;
}

void BenchEngine::AppendRandom(tsr_session* session, int64_t count) {
  const std::vector<int32_t> tokens = RandomTokens(static_cast<size_t>(count), vocabulary_, ++seed_);
  Must must("append");
  must = tsr_session_append_tokens(session, tokens.data(), tokens.size(), must);
}

void BenchEngine::Generate(tsr_session* session, const RequestSettings& request, uint64_t tag) {
  tsr_options* options = NewOptions();
  SetInt(options, "request.max_tokens", request.new_tokens);
  SetBool(options, "request.ignore_end", true);
  SetFloat(options, "sampling.temperature", request.temperature);
  SetFloat(options, "sampling.top_p", request.top_p);
  SetInt(options, "sampling.seed", static_cast<int64_t>(tag));
  Must must("generate");
  must = tsr_session_generate(session, options, queue_, tag, nullptr, must);
  tsr_options_release(options);
}

bool BenchEngine::Step() {
  tsr_step_stats stats = {};
  stats.struct_size = sizeof stats;
  Must must("step");
  must = tsr_engine_step(engine_, -1, &stats, must);
  return stats.work_left != 0;
}

tsr_engine_metrics BenchEngine::Metrics() const {
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof metrics;
  Must must("metrics");
  must = tsr_engine_get_metrics(engine_, &metrics, must);
  return metrics;
}

double BenchEngine::CacheBytesPerToken() const {
  const tsr_engine_metrics metrics = Metrics();
  return static_cast<double>(metrics.cache_bytes) /
         (static_cast<double>(metrics.blocks_total) * metrics.block_tokens);
}

void BenchEngine::Await(size_t requests) {
  while (requests > 0) {
    if (stepped_) Step();
    Poll(
        stepped_ ? 0 : -1, [](uint64_t, int64_t) {},
        [&](uint64_t, const tsr_event_finished&) { --requests; });
  }
}

size_t BenchEngine::FillBuffer(int64_t timeout_ns) {
  Must must("poll");
  size_t used = 0;
  must = tsr_queue_poll(queue_, timeout_ns, buffer_.data(), buffer_.size() * sizeof(uint64_t), &used, must);
  return used;
}

}  // namespace tessera_bench
