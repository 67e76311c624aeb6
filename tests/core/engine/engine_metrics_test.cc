// Counters add up with what the events said.
#include <gtest/gtest.h>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

TEST(EngineMetrics, CountWhatTheEventsTell) {
  EngineHarness h;
  h.simulation->TakeTime(&h.clock, 3);
  for (uint64_t tag = 0; tag < 6; ++tag) {
    h.Generate(h.SessionOf(Prompt(static_cast<int>(tag), 10 + tag * 7)), tag, static_cast<int64_t>(tag) * 2);
  }
  EXPECT_EQ(h.engine->GetMetrics().requests_queued, 6);
  StepStats sum;
  for (bool work = true; work;) {
    const StepStats stats = h.Step();
    sum.prompt_tokens += stats.prompt_tokens;
    sum.generated_tokens += stats.generated_tokens;
    sum.elapsed_ns += stats.elapsed_ns;
    work = stats.work_left;
    const EngineMetrics now = h.engine->GetMetrics();
    EXPECT_EQ(now.requests_accepted, now.requests_finished + static_cast<uint64_t>(now.requests_running) +
                                         static_cast<uint64_t>(now.requests_queued));
  }
  h.Drain();
  uint64_t prompt = 0, generated = 0;
  for (const auto& [tag, events] : h.events.all()) {
    prompt += events.finished.prompt_tokens;
    generated += events.finished.generated_tokens;
  }
  const EngineMetrics metrics = h.engine->GetMetrics();
  EXPECT_EQ(metrics.prompt_tokens, prompt);
  EXPECT_EQ(metrics.generated_tokens, generated);
  EXPECT_EQ(sum.prompt_tokens, prompt);
  EXPECT_EQ(sum.generated_tokens, generated);
  EXPECT_EQ(prompt, 10u * 6 + 7 * 15);
  EXPECT_EQ(generated, 2u * 15);
  EXPECT_EQ(metrics.batches, static_cast<uint64_t>(h.simulation->steps()));
  EXPECT_EQ(metrics.compute_ns, static_cast<uint64_t>(3 * h.simulation->regions()));
  EXPECT_EQ(static_cast<uint64_t>(sum.elapsed_ns), metrics.compute_ns);
  EXPECT_EQ(metrics.sessions, 6);
  EXPECT_EQ(metrics.batches_failed, 0u);
}

TEST(EngineMetrics, SayWhatTheEngineHolds) {
  EngineOptions options = HarnessOptions();
  options.threads = 1;
  EngineHarness h(options);
  const EngineMetrics metrics = h.engine->GetMetrics();
  EXPECT_EQ(metrics.block_tokens, 4);
  EXPECT_EQ(metrics.blocks_total, 8 * 64 / 4);
  EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
  EXPECT_EQ(metrics.threads, 1);
  EXPECT_EQ(metrics.scratch_bytes, 32u * 8);
  // Three layers of keys and values, one head of 16 floats.
  EXPECT_EQ(metrics.cache_bytes, 3u * 2 * 16 * 4 * 8 * 64);
}

}  // namespace
}  // namespace tessera
