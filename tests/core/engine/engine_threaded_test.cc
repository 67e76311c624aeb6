// An engine with its own thread under many hosts' threads: results are those of the oracle whatever the
// interleaving.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

TEST(EngineThreaded, ManyHostsGetTheirOwnResults) {
  EngineHarness h(ThreadedOptions());
  std::vector<std::thread> hosts;
  for (int host = 0; host < 4; ++host) {
    hosts.emplace_back([&h, host] {
      const std::shared_ptr<EventQueue> queue = *EventQueue::Create(nullptr);
      EventReader events;
      for (uint64_t round = 0; round < 8; ++round) {
        const std::vector<int32_t> prompt = Prompt(host * 100 + static_cast<int>(round), 5 + 3 * round);
        const std::shared_ptr<Session> session = *h.engine->CreateSession(false);
        ASSERT_TRUE(h.engine->Append(*session, prompt).ok());
        ASSERT_TRUE(h.engine->Generate(session, Params(12), queue, round).ok());
        events.WaitForEnd(*queue, round);
        EXPECT_EQ(events.Of(round).tokens, h.oracle.Continue(prompt, 12));
        // At once, without BUSY: the terminal event has been posted.
        ASSERT_TRUE(h.engine->Append(*session, {5}).ok());
        h.engine->ReleaseSession(*session);
      }
    });
  }
  for (std::thread& host : hosts) host.join();
  const EngineMetrics metrics = h.engine->GetMetrics();
  EXPECT_EQ(metrics.requests_finished, 32u);
  EXPECT_EQ(metrics.generated_tokens, 32u * 12);
  EXPECT_EQ(metrics.sessions, 0);
  EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
}

TEST(EngineThreaded, CancelsFromOtherThreadsLeaveConsistentSessions) {
  EngineHarness h(ThreadedOptions());
  constexpr int kSessions = 4;
  std::vector<std::shared_ptr<Session>> sessions;
  for (int i = 0; i < kSessions; ++i) sessions.push_back(h.SessionOf(Prompt(i, 10)));
  std::atomic<bool> done{false};
  std::thread canceller([&] {
    std::mt19937 random(1);
    while (!done.load()) {
      h.engine->Cancel(*sessions[random() % kSessions],
                       random() % 2 ? CancelEffect::kKeep : CancelEffect::kDrop);
      h.engine->GetMetrics();
      h.queue->Wake();
      std::this_thread::yield();
    }
  });
  uint64_t tag = 0;
  for (int round = 0; round < 30; ++round) {
    const uint64_t first = tag;
    for (const auto& session : sessions) h.Generate(session, tag++, 5);
    for (uint64_t t = first; t < tag; ++t) h.events.WaitForEnd(*h.queue, t);
  }
  done.store(true);
  canceller.join();
  for (int i = 0; i < kSessions; ++i) {
    const std::vector<int32_t> generated = h.TokensAfter(sessions[static_cast<size_t>(i)], 10);
    EXPECT_EQ(generated, h.oracle.Continue(Prompt(i, 10), generated.size()));
  }
  const EngineMetrics metrics = h.engine->GetMetrics();
  EXPECT_EQ(metrics.requests_accepted, tag);
  EXPECT_EQ(metrics.requests_finished, tag);
}

TEST(EngineThreaded, APausedRequestGoesOnWhenItsQueueIsRead) {
  EngineHarness h(ThreadedOptions());
  RequestParams params = Params(200);
  params.sampling.top_logprobs = kMaxTopLogprobs;
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, params);
  // A second one, on a queue of its own, begins and ends while the first is full or filling.
  const std::shared_ptr<EventQueue> other = *EventQueue::Create(nullptr);
  ASSERT_TRUE(h.engine->Generate(h.SessionOf(Prompt(2, 10)), Params(240), other, 2).ok());
  h.events.WaitForEnd(*other, 2);
  h.events.WaitForEnd(*h.queue, 1);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 200));
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 240));
}

TEST(EngineThreaded, AbandoningAQueueLetsItsPausedRequestRunToItsEnd) {
  EngineHarness h(ThreadedOptions());
  RequestParams params = Params(200);
  params.sampling.top_logprobs = kMaxTopLogprobs;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  const std::shared_ptr<EventQueue> abandoned = *EventQueue::Create(nullptr);
  ASSERT_TRUE(h.engine->Generate(session, params, abandoned, 1).ok());
  abandoned->Abandon();
  while (h.engine->GetMetrics().requests_finished == 0) std::this_thread::yield();
  EXPECT_EQ(h.TokensAfter(session, 10), h.oracle.Continue(Prompt(1, 10), 200));
}

}  // namespace
}  // namespace tessera
