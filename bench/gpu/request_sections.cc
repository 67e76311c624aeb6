// Prompts and many requests together.
#include <algorithm>
#include <cstdio>
#include <string>

#include "bench/gpu/bench_engine.h"
#include "bench/gpu/sections.h"

namespace tessera_bench {
namespace {

// Milliseconds until each of `prompts` has its first token. The engine is stepped, so that the first batch
// finds all of them.
double PromptMs(BenchEngine* engine, int64_t prompts, int64_t prompt_tokens) {
  std::vector<tsr_session*> sessions;
  for (int64_t i = 0; i < prompts; ++i) {
    sessions.push_back(engine->NewSession());
    engine->AppendRandom(sessions.back(), prompt_tokens);
  }
  RequestSettings request;
  request.new_tokens = 1;
  int64_t waiting = prompts;
  size_t running = sessions.size();
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  for (size_t i = 0; i < sessions.size(); ++i) engine->Generate(sessions[i], request, i);
  while (running > 0) {
    engine->Step();
    engine->Poll(
        0,
        [&](uint64_t, int64_t count) {
          waiting -= count;
          if (waiting == 0 && count > 0) last = Clock::now();
        },
        [&](uint64_t, const tsr_event_finished&) { --running; });
  }
  for (tsr_session* session : sessions) tsr_session_release(session);
  return Milliseconds(last - start);
}

// Of the peer's own matrix product, in multiply-adds; attention's are left out.
std::optional<double> ShareOfProducts(const Place& place, int64_t prompts, double ms) {
  if (place.peer.tera_products() <= 0) return std::nullopt;
  const auto head =
      static_cast<double>(prompts) * static_cast<double>(place.shape.vocabulary) * place.shape.hidden;
  const double products = static_cast<double>(place.shaped.token_products()) *
                              static_cast<double>(prompts * place.a.prompt_tokens) +
                          head;
  return products / 1e9 / ms / place.peer.tera_products();
}

}  // namespace

void MeasurePrompt(const Place& place) {
  const Arguments& a = place.a;
  const int64_t most = *std::max_element(a.prompts.begin(), a.prompts.end());
  std::vector<std::vector<double>> best(a.prompts.size());
  std::vector<int64_t> best_batch(a.prompts.size(), 0);
  for (const int64_t batch_tokens : a.batch_tokens) {
    EngineSettings settings;
    settings.sequences = most;
    settings.batch_tokens = batch_tokens;
    settings.context_tokens = a.prompt_tokens + 16;
    settings.cache_tokens = CacheTokens(most, settings.context_tokens);
    settings.stepped = true;
    BenchEngine engine(place.runtime, place.model, settings);
    for (size_t i = 0; i < a.prompts.size(); ++i) {
      std::vector<double> runs;
      PromptMs(&engine, a.prompts[i], a.prompt_tokens);  // not counted
      for (int64_t run = 0; run < a.runs; ++run) {
        runs.push_back(PromptMs(&engine, a.prompts[i], a.prompt_tokens));
      }
      std::printf("prompts %lld x %lld, batch_tokens %lld: %.2f ms\n", static_cast<long long>(a.prompts[i]),
                  static_cast<long long>(a.prompt_tokens), static_cast<long long>(batch_tokens),
                  Median(runs));
      if (best[i].empty() || Median(runs) < Median(best[i])) {
        best[i] = runs;
        best_batch[i] = batch_tokens;
      }
    }
  }
  for (size_t i = 0; i < a.prompts.size(); ++i) {
    Record record;
    record.name = "prompt/" + a.model_name() + "/" + std::to_string(a.prompts[i]) + "x" +
                  std::to_string(a.prompt_tokens);
    record.unit = "ms";
    record.runs = best[i];
    record.value = Median(best[i]);
    record.share_of_limit = ShareOfProducts(place, a.prompts[i], record.value);
    if (a.type == "bf16") record.peer_time = place.peer.PromptMs(a.shape, a.prompts[i], a.prompt_tokens);
    record.more = "\"batch_tokens\": " + std::to_string(best_batch[i]);
    place.report.Add(record);
  }
}

void MeasureThroughput(const Place& place) {
  const Arguments& a = place.a;
  EngineSettings settings;
  settings.sequences = std::min(a.sequences, a.requests);
  settings.batch_tokens = a.request_batch_tokens;
  settings.context_tokens = a.request_in + a.request_out + 16;
  settings.cache_tokens = CacheTokens(settings.sequences, settings.context_tokens);
  settings.requests = a.requests;
  BenchEngine engine(place.runtime, place.model, settings);
  Record record;
  for (int64_t run = 0; run < a.runs; ++run) {
    std::vector<tsr_session*> sessions;
    for (int64_t i = 0; i < a.requests; ++i) {
      sessions.push_back(engine.NewSession());
      engine.AppendRandom(sessions.back(), a.request_in);
    }
    RequestSettings request;
    request.new_tokens = a.request_out;
    const Clock::time_point start = Clock::now();
    for (size_t i = 0; i < sessions.size(); ++i) engine.Generate(sessions[i], request, i);
    size_t running = sessions.size();
    int64_t tokens = 0;
    while (running > 0) {
      engine.Poll(
          -1, [&](uint64_t, int64_t count) { tokens += count; },
          [&](uint64_t tag, const tsr_event_finished&) {
            tsr_session_release(sessions[tag]);  // its blocks are for those who wait
            --running;
          });
    }
    if (tokens != a.requests * a.request_out) Fail("gpu_bench", "throughput", "tokens are missing");
    record.runs.push_back(static_cast<double>(tokens) * 1e3 / Milliseconds(Clock::now() - start));
  }
  record.name = "throughput/" + a.model_name() + "/" + std::to_string(a.requests) + "requests/in" +
                std::to_string(a.request_in) + "/out" + std::to_string(a.request_out);
  record.unit = "output tok/s";
  record.value = Median(record.runs);
  record.more = "\"batch_sequences\": " + std::to_string(settings.sequences) +
                ", \"batch_tokens\": " + std::to_string(settings.batch_tokens) +
                ", \"preemptions\": " + std::to_string(engine.Metrics().preemptions);
  place.report.Add(record);
}

}  // namespace tessera_bench
