// What a host may do inside its callbacks: everything that is marked so, without a deadlock, twice or too
// late.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

class CallingListener final : public ReadyListener {
 public:
  explicit CallingListener(std::function<void()> on_ready, std::function<void()> on_drop = nullptr)
      : on_ready_(std::move(on_ready)), on_drop_(std::move(on_drop)) {}
  ~CallingListener() override {
    if (on_drop_) on_drop_();
  }
  void OnReady() noexcept override { on_ready_(); }

 private:
  std::function<void()> on_ready_;
  std::function<void()> on_drop_;
};

std::shared_ptr<EventQueue> QueueCalling(std::function<void()> on_ready,
                                         std::function<void()> on_drop = nullptr) {
  return *EventQueue::Create(std::make_unique<CallingListener>(std::move(on_ready), std::move(on_drop)));
}

TEST(EngineReady, IsCalledOnceForABatchHoweverManyEventsItBrings) {
  EngineHarness h;
  int calls = 0;
  h.queue = QueueCalling([&calls] { ++calls; });
  for (uint64_t tag = 0; tag < 4; ++tag) h.Generate(h.SessionOf(Prompt(static_cast<int>(tag), 5)), tag, 3);
  EXPECT_EQ(calls, 0);
  h.Step();
  EXPECT_EQ(calls, 1);
  h.Step();
  EXPECT_EQ(calls, 1);  // it was ready already
  h.Drain();
  h.Step();
  EXPECT_EQ(calls, 2);
  h.Drain();
  h.queue->Wake();
  EXPECT_EQ(calls, 3);
  h.queue->Wake();
  EXPECT_EQ(calls, 3);
}

TEST(EngineReady, MayCallWhatIsCallbackSafeBecauseNoLockIsHeld) {
  for (const bool stepped : {true, false}) {
    EngineHarness h(stepped ? HarnessOptions() : ThreadedOptions());
    const std::shared_ptr<Session> victim = h.SessionOf(Prompt(1, 10));
    const std::shared_ptr<Session> released = h.SessionOf(Prompt(2, 10));
    std::atomic<int> calls{0};
    const std::shared_ptr<EventQueue> other = *EventQueue::Create(nullptr);
    std::shared_ptr<EventQueue> queue;
    queue = QueueCalling([&] {
      if (calls.fetch_add(1) != 0) return;
      h.engine->Cancel(*victim, CancelEffect::kKeep);
      h.engine->ReleaseSession(*released);
      h.engine->GetMetrics();
      h.engine->TokenCount(*victim);
      queue->Wake();
      other->Wake();
    });
    // The first batch is the third one's alone, and is there when the others are submitted.
    if (!stepped) h.simulation->HoldAt(0, 0);
    ASSERT_TRUE(h.engine->Generate(h.SessionOf(Prompt(3, 10)), Params(2), queue, 3).ok());
    if (!stepped) h.simulation->WaitUntilHeld();
    ASSERT_TRUE(h.engine->Generate(victim, Params(200), other, 1).ok());
    ASSERT_TRUE(h.engine->Generate(released, Params(200), other, 2).ok());
    h.simulation->Release();
    if (stepped) {
      while (h.Step().work_left) {
      }
    }
    h.events.WaitForEnd(*queue, 3);
    h.events.WaitForEnd(*other, 1);
    h.events.WaitForEnd(*other, 2);
    EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kCancelled);
    EXPECT_EQ(h.events.Of(2).reason(), FinishReason::kCancelled);
    EXPECT_EQ(h.events.Of(3).tokens, h.oracle.Continue(Prompt(3, 10), 2));
    EXPECT_GE(calls.load(), 1);
    h.engine->Close();  // from here on nobody calls back
  }
}

TEST(EngineReady, MayCancelTheVeryRequestThatItTellsOf) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.queue = QueueCalling([&] { h.engine->Cancel(*session, CancelEffect::kKeep); });
  h.Generate(session, 1, 20);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kCancelled);
  EXPECT_EQ(h.events.Of(1).tokens.size(), 1u);
}

TEST(EngineReady, AStepInsideItIsBusy) {
  EngineHarness h;
  ErrorCode code = ErrorCode::kOk;
  h.queue = QueueCalling([&] {
    StepStats stats;
    code = CodeOf(h.engine->Step(-1, &stats));
  });
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 1);
  h.Step();
  EXPECT_EQ(code, ErrorCode::kBusy);
}

TEST(EngineReady, ACloseInsideItTakesPlaceWhenTheStepReturns) {
  EngineHarness h;
  h.queue = QueueCalling([&] { h.engine->Close(); });
  h.Generate(h.SessionOf(Prompt(1, 10)), 1, 20);
  h.Generate(h.SessionOf(Prompt(2, 60)), 2, 20);
  for (int i = 0; i < 20 && !h.engine->closed(); ++i) h.Step();
  EXPECT_EQ(h.simulation->contexts(), 0);
  h.Drain();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kClosed);
  EXPECT_EQ(h.events.Of(2).reason(), FinishReason::kClosed);
}

// The last owner's close, as the C API's last release makes it.
struct Owner {
  std::shared_ptr<Engine> engine;
  ~Owner() { engine->Close(); }
};

TEST(EngineReady, AThreadedEngineMayLoseItsLastOwnerInsideIt) {
  VirtualClock clock;
  auto simulation = std::make_shared<Simulation>();
  auto owner = std::make_unique<Owner>();
  owner->engine = *Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(simulation),
                                  ThreadedOptions(), &clock, SystemMemory(), Logger());
  const std::weak_ptr<Engine> watch = owner->engine;
  std::atomic<bool> submitted{false};
  std::shared_ptr<EventQueue> queue = QueueCalling([&] {
    while (!submitted) std::this_thread::yield();  // an engine is not let go of while a call on it is made
    owner.reset();
  });
  const std::shared_ptr<Session> session = *owner->engine->CreateSession(false);
  ASSERT_TRUE(owner->engine->Append(*session, Prompt(1, 10)).ok());
  ASSERT_TRUE(owner->engine->Generate(session, Params(100), queue, 1).ok());
  submitted = true;
  EventReader events;
  events.WaitForEnd(*queue, 1);
  EXPECT_EQ(events.Of(1).reason(), FinishReason::kClosed);
  while (!watch.expired()) std::this_thread::yield();  // its thread lets go of it last
  EXPECT_EQ(simulation->contexts(), 0);
}

TEST(EngineReady, ASteppedEngineMayLoseItsLastOwnerInsideIt) {
  VirtualClock clock;
  auto simulation = std::make_shared<Simulation>();
  auto owner = std::make_unique<Owner>();
  owner->engine = *Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(simulation),
                                  HarnessOptions(), &clock, SystemMemory(), Logger());
  Engine* const engine = owner->engine.get();
  const std::weak_ptr<Engine> watch = owner->engine;
  std::shared_ptr<EventQueue> queue = QueueCalling([&owner] { owner.reset(); });
  const std::shared_ptr<Session> session = *engine->CreateSession(false);
  ASSERT_TRUE(engine->Append(*session, Prompt(1, 10)).ok());
  ASSERT_TRUE(engine->Generate(session, Params(100), queue, 1).ok());
  StepStats stats;
  EXPECT_TRUE(engine->Step(-1, &stats).ok());
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(simulation->contexts(), 0);
  EventReader events;
  events.Drain(*queue);
  EXPECT_EQ(events.Of(1).reason(), FinishReason::kClosed);
}

TEST(EngineReady, ItsDropIsCalledWithoutALockTooWhereverTheLastReferenceGoes) {
  // The host has released the queue; the request of it that ends is the last to hold it.
  enum class End { kDeadline, kDeadlineInABatch, kCancel, kRelease, kLength, kFailure, kClose };
  for (const End end : {End::kDeadline, End::kDeadlineInABatch, End::kCancel, End::kRelease, End::kLength,
                        End::kFailure, End::kClose}) {
    EngineHarness h;
    int drops = 0;
    std::shared_ptr<EventQueue> queue = QueueCalling([] {},
                                                     [&] {
                                                       ++drops;
                                                       h.engine->GetMetrics();  // takes the engine's lock
                                                     });
    const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
    RequestParams params = Params(2);
    params.deadline_ns = 1000;
    ASSERT_TRUE(h.engine->Generate(session, params, queue, 1).ok());
    queue->Abandon();
    queue.reset();
    EXPECT_EQ(drops, 0);
    if (end == End::kDeadline) {
      h.clock.Advance(2000);
    } else if (end == End::kDeadlineInABatch) {
      h.Generate(h.SessionOf(Prompt(2, 10)), 2, 3);
      h.simulation->TakeTime(&h.clock, 400);
    } else if (end == End::kCancel) {
      h.engine->Cancel(*session, CancelEffect::kKeep);
    } else if (end == End::kRelease) {
      h.engine->ReleaseSession(*session);
    } else if (end == End::kFailure) {
      h.simulation->FailAt(0, 2, Error(ErrorCode::kLost, "", "on purpose"));
    } else if (end == End::kClose) {
      h.engine->Close();
    }
    if (end != End::kClose) h.Run();
    EXPECT_EQ(drops, 1) << static_cast<int>(end);
  }
}

}  // namespace
}  // namespace tessera
