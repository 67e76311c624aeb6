// Closing: every request gets its last event, every call its answer, memory goes back, in any order of hands.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/core/engine/engine_harness.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

void ExpectClosed(EngineHarness& h, const std::shared_ptr<Session>& session) {
  StepStats stats;
  int32_t token;
  EXPECT_EQ(CodeOf(h.engine->CreateSession(false).status()), ErrorCode::kClosed);
  EXPECT_EQ(CodeOf(h.engine->Append(*session, {5})), ErrorCode::kClosed);
  EXPECT_EQ(h.TryGenerate(session, 99, Params(1)), ErrorCode::kClosed);
  EXPECT_EQ(CodeOf(h.engine->CopyTokens(*session, 0, &token, 1).status()), ErrorCode::kClosed);
  if (h.engine->options().stepped) {
    EXPECT_EQ(CodeOf(h.engine->Step(-1, &stats)), ErrorCode::kClosed);
  }
  h.engine->Cancel(*session, CancelEffect::kDrop);
  h.engine->ReleaseSession(*session);
  h.engine->Close();
  EXPECT_EQ(h.simulation->contexts(), 0);
}

TEST(EngineClose, EndsQueuedRunningAndInFlightRequests) {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 128;
  EngineHarness h(options);
  const std::shared_ptr<Session> running = h.SessionOf(Prompt(1, 10)), queued = h.SessionOf(Prompt(2, 10));
  h.Generate(running, 1, 60);
  h.Generate(queued, 2, 60);
  for (int i = 0; i < 3; ++i) h.Step();
  h.Step(0);
  ASSERT_TRUE(running->in_flight);
  h.engine->Close();
  h.Drain();
  for (const uint64_t tag : {1u, 2u}) {
    EXPECT_EQ(h.events.Of(tag).terminals, 1);
    EXPECT_EQ(h.events.Of(tag).reason(), FinishReason::kClosed);
    EXPECT_EQ(h.events.Of(tag).finished.status, static_cast<int32_t>(ErrorCode::kClosed));
  }
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 3));
  EXPECT_EQ(h.FreeBlocks(), h.TotalBlocks());
  ExpectClosed(h, running);
}

TEST(EngineClose, GivesItsMemoryBackAtOnce) {
  FailingMemory memory;
  auto simulation = std::make_shared<Simulation>();
  auto engine = Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(simulation),
                               HarnessOptions(), MonotonicClock(), &memory, Logger());
  ASSERT_TRUE(engine.ok());
  EXPECT_GT(memory.live_bytes(), 0u);
  const std::shared_ptr<Session> session = *(*engine)->CreateSession(false);
  (*engine)->Close();
  EXPECT_EQ(memory.live_bytes(), 0u);  // although the engine and a session of it are still held
}

TEST(EngineClose, OnAThreadedEngineLeavesALongRegionAtItsNextTask) {
  EngineHarness h(ThreadedOptions());
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.simulation->CutRegions(1000);
  h.simulation->HoldAtTask(2200);
  h.Generate(session, 1, 100);
  h.simulation->WaitUntilHeld();
  std::thread closer([&h] { h.engine->Close(); });
  while (!h.engine->closed()) std::this_thread::yield();
  h.simulation->Release();
  closer.join();
  h.Drain();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kClosed);
  EXPECT_EQ(h.simulation->tasks(), 2201);
  ExpectClosed(h, session);
}

TEST(EngineClose, OnAThreadedEngineLeavesTheBatchInFlightAtItsNextStopPoint) {
  EngineHarness h(ThreadedOptions());
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.simulation->HoldAt(3, 5);
  h.Generate(session, 1, 100);
  h.simulation->WaitUntilHeld();
  const int64_t regions = h.simulation->regions();
  std::thread closer([&h] { h.engine->Close(); });
  while (!h.engine->closed()) std::this_thread::yield();
  h.simulation->Release();
  closer.join();
  h.Drain();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kClosed);
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 10), 3));
  EXPECT_EQ(h.simulation->regions(), regions);
  ExpectClosed(h, session);
}

TEST(EngineClose, OfASteppedEngineWaitsForTheStepOfAnotherThread) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.simulation->HoldAt(0, 5);
  h.Generate(session, 1, 100);
  std::thread stepper([&h] {
    StepStats stats;
    EXPECT_TRUE(h.engine->Step(-1, &stats).ok());
    EXPECT_FALSE(stats.generated_tokens);
  });
  h.simulation->WaitUntilHeld();
  std::thread closer([&h] { h.engine->Close(); });
  while (!h.engine->closed()) std::this_thread::yield();
  h.simulation->Release();
  stepper.join();
  closer.join();
  h.Drain();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kClosed);
  ExpectClosed(h, session);
}

TEST(EngineClose, ByManyThreadsAtOnceIsOneClose) {
  for (const bool stepped : {false, true}) {
    EngineHarness h(stepped ? HarnessOptions() : ThreadedOptions());
    const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
    h.Generate(session, 1, 240);
    std::vector<std::thread> closers;
    for (int i = 0; i < 4; ++i) closers.emplace_back([&h] { h.engine->Close(); });
    for (std::thread& closer : closers) closer.join();
    h.Drain();
    EXPECT_EQ(h.events.Of(1).terminals, 1);
    ExpectClosed(h, session);
  }
}

TEST(EngineClose, RacingWithSubmissionsAnswersEachOfThemOnce) {
  for (int round = 0; round < 20; ++round) {
    EngineHarness h(ThreadedOptions());
    std::vector<std::thread> hosts;
    std::atomic<int> accepted{0};
    for (int i = 0; i < 3; ++i) {
      hosts.emplace_back([&h, &accepted, i] {
        for (int n = 0; n < 10; ++n) {
          auto session = h.engine->CreateSession(false);
          if (!session.ok() || !h.engine->Append(**session, Prompt(i, 5)).ok()) return;
          const uint64_t tag = static_cast<uint64_t>(i * 100 + n);
          if (h.engine->Generate(*session, Params(3), h.queue, tag).ok()) accepted.fetch_add(1);
        }
      });
    }
    std::thread closer([&h] { h.engine->Close(); });
    for (std::thread& host : hosts) host.join();
    closer.join();
    h.Drain();
    int terminals = 0;
    for (const auto& [tag, events] : h.events.all()) terminals += events.terminals;
    EXPECT_EQ(terminals, accepted.load());
  }
}

TEST(EngineClose, QueuesOutliveTheEngineAndDeliverWhatWasPosted) {
  const std::shared_ptr<EventQueue> queue = *EventQueue::Create(nullptr);
  {
    EngineHarness h;
    ASSERT_TRUE(h.engine->Generate(h.SessionOf(Prompt(1, 10)), Params(3), queue, 1).ok());
    while (h.Step().work_left) {
    }
  }
  EventReader events;
  events.Drain(*queue);
  EXPECT_EQ(events.Of(1).tokens.size(), 3u);
  EXPECT_EQ(events.Of(1).reason(), FinishReason::kLength);
}

}  // namespace
}  // namespace tessera
