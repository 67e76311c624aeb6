// What a host may release inside its callbacks: anything, its own handle too. The call that is under way
// finds what it needs, and `drop` comes once, when the callback has returned for the last time.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

// The `user` of an on_ready table. It notes a drop that comes too early or twice.
struct ReadyHost {
  std::function<void()> on_ready;
  std::atomic<bool> may_begin{true};  // a handle is not released while a call on it is under way
  std::atomic<int> inside{0};
  std::atomic<int> calls{0};
  std::atomic<int> drops{0};
  std::atomic<bool> dropped_inside{false};
};

void OnReady(void* user) {
  auto* const host = static_cast<ReadyHost*>(user);
  host->inside.fetch_add(1);
  while (!host->may_begin.load()) std::this_thread::yield();
  if (host->calls.fetch_add(1) == 0 && host->on_ready) host->on_ready();
  host->inside.fetch_sub(1);
}

void OnDrop(void* user) {
  auto* const host = static_cast<ReadyHost*>(user);
  if (host->inside.load() != 0) host->dropped_inside.store(true);
  host->drops.fetch_add(1);
}

Handle<tsr_queue> QueueTelling(tsr_runtime* runtime, ReadyHost* host) {
  tsr_ready_callbacks table = {};
  table.struct_size = sizeof(table);
  table.user = host;
  table.drop = OnDrop;
  table.on_ready = OnReady;
  tsr_options* options = nullptr;
  EXPECT_EQ(tsr_options_create(&options, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(tsr_options_set_callbacks(options, "queue.on_ready", 14, &table, nullptr), TSR_STATUS_OK);
  tsr_queue* queue = nullptr;
  EXPECT_EQ(tsr_queue_create(runtime, options, &queue, nullptr), TSR_STATUS_OK);
  tsr_options_release(options);
  return Handle<tsr_queue>(queue);
}

class CallbacksTest : public testing::Test {
 protected:
  CallbacksTest() : host_(std::make_unique<Host>(MakeTinyModel())) {}

  void Start(bool stepped) {
    engine_ = host_->Engine(Options().Bool("engine.stepped", stepped).Int("engine.threads", 1));
    queue_ = QueueTelling(host_->runtime(), &ready_);
    session_ = NewSession(engine_.get());
    Append(session_.get(), "hello");
  }
  void Submit(int64_t max_tokens = 100) {
    const Options options = Options().Int("request.max_tokens", max_tokens).Bool("request.ignore_end", true);
    ASSERT_EQ(tsr_session_generate(session_.get(), options.get(), queue_.get(), 1, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  void ReleaseAll() {
    session_.reset();
    engine_.reset();
    queue_.reset();
    host_.reset();
  }
  void ExpectOneDrop() {
    EXPECT_EQ(ready_.drops.load(), 1);
    EXPECT_FALSE(ready_.dropped_inside.load());
  }

  ReadyHost ready_;  // outlives everything
  std::unique_ptr<Host> host_;
  Handle<tsr_engine> engine_;
  Handle<tsr_queue> queue_;
  Handle<tsr_session> session_;
};

TEST_F(CallbacksTest, ACancelsCallbackMayReleaseEverything) {
  Start(/*stepped=*/true);
  Submit();
  ready_.on_ready = [this] { ReleaseAll(); };
  EXPECT_EQ(tsr_session_cancel(session_.get(), TSR_CANCEL_KEEP, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(ready_.calls.load(), 1);
  ExpectOneDrop();
}

TEST_F(CallbacksTest, AReleasesCallbackMayReleaseEverythingElse) {
  Start(/*stepped=*/true);
  Submit();
  ready_.on_ready = [this] { ReleaseAll(); };
  tsr_session_release(session_.release());
  EXPECT_EQ(ready_.calls.load(), 1);
  ExpectOneDrop();
}

TEST_F(CallbacksTest, AStepsCallbackMayReleaseEverything) {
  Start(/*stepped=*/true);
  Submit();
  ready_.on_ready = [this] { ReleaseAll(); };
  EXPECT_EQ(tsr_engine_step(engine_.get(), -1, nullptr, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(ready_.calls.load(), 1);
  ExpectOneDrop();
}

TEST_F(CallbacksTest, AWakesCallbackMayReleaseTheQueue) {
  Start(/*stepped=*/true);
  ready_.on_ready = [this] { queue_.reset(); };
  EXPECT_EQ(tsr_queue_wake(queue_.get(), nullptr), TSR_STATUS_OK);
  EXPECT_EQ(ready_.calls.load(), 1);
  ExpectOneDrop();
}

TEST_F(CallbacksTest, ACloseOrAnEnginesThreadMayComeToACallbackThatReleasesEverything) {
  for (const bool stepped : {true, false}) {
    ready_.calls = ready_.drops = 0;
    if (host_ == nullptr) host_ = std::make_unique<Host>(MakeTinyModel());
    Start(stepped);
    ready_.on_ready = [this] { ReleaseAll(); };
    // An engine with a thread comes to its callback by itself, with the first token.
    ready_.may_begin = false;
    Submit();
    ready_.may_begin = true;
    if (stepped) {
      EXPECT_EQ(tsr_engine_close(engine_.get(), nullptr), TSR_STATUS_OK);
    }
    while (ready_.drops.load() == 0) std::this_thread::yield();
    ExpectOneDrop();
  }
}

TEST_F(CallbacksTest, ARuntimesClosesCallbackMayReleaseEverything) {
  Start(/*stepped=*/true);
  Submit();
  ready_.on_ready = [this] { ReleaseAll(); };
  EXPECT_EQ(tsr_runtime_close(host_->runtime(), nullptr), TSR_STATUS_OK);
  EXPECT_EQ(ready_.calls.load(), 1);
  ExpectOneDrop();
}

TEST_F(CallbacksTest, AThreadedEnginesCallbackMayCancelReleaseWakeAndAsk) {
  Start(/*stepped=*/false);
  std::atomic<bool> done{false};
  ready_.on_ready = [this, &done] {
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof(metrics);
    EXPECT_EQ(tsr_engine_get_metrics(engine_.get(), &metrics, nullptr), TSR_STATUS_OK);
    EXPECT_EQ(tsr_session_cancel(session_.get(), TSR_CANCEL_KEEP, nullptr), TSR_STATUS_OK);
    EXPECT_EQ(tsr_queue_wake(queue_.get(), nullptr), TSR_STATUS_OK);
    session_.reset();
    done.store(true);
  };
  ready_.may_begin = false;
  Submit();
  ready_.may_begin = true;
  const auto answers = Finish(queue_.get(), engine_.get(), 1);
  EXPECT_EQ(answers.at(1).finished, 1);
  while (!done.load()) std::this_thread::yield();
  ReleaseAll();
  ExpectOneDrop();
}

TEST_F(CallbacksTest, AStructureOfNoSizeIsRefusedBeforeTheStepComputes) {
  Start(/*stepped=*/true);
  Submit(1);
  tsr_step_stats stats = {};
  const Outcome refused =
      Try([&](tsr_error** error) { return tsr_engine_step(engine_.get(), -1, &stats, error); });
  EXPECT_EQ(refused.code, TSR_STATUS_INVALID_ARGUMENT);
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  ASSERT_EQ(tsr_engine_get_metrics(engine_.get(), &metrics, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(metrics.batches, 0u);
}

TEST_F(CallbacksTest, TheLargestIntegersAreWithinTheirRanges) {
  Options options;
  options.Int("request.deadline_ns", INT64_MAX).Int("sampling.seed", INT64_MAX).Int("request.max_tokens", 2);
  options.Int("sampling.seed", INT64_MIN);
  Start(/*stepped=*/true);
  const Answer answer = Generate(session_.get(), engine_.get(), queue_.get(), options);
  EXPECT_EQ(answer.finished, 1);
  EXPECT_EQ(answer.end.status, TSR_STATUS_OK);
}

TEST_F(CallbacksTest, ACloseInsideACallbackIsRefused) {
  Start(/*stepped=*/true);
  Submit(1);
  Outcome engine, runtime;
  ready_.on_ready = [&] {
    engine = Try([&](tsr_error** e) { return tsr_engine_close(engine_.get(), e); });
    runtime = Try([&](tsr_error** e) { return tsr_runtime_close(host_->runtime(), e); });
  };
  EXPECT_EQ(tsr_engine_step(engine_.get(), -1, nullptr, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(engine.code, TSR_STATUS_WRONG_STATE);
  EXPECT_EQ(engine.place, "tsr_engine_close");
  EXPECT_EQ(runtime.code, TSR_STATUS_WRONG_STATE);
  EXPECT_EQ(tsr_engine_close(engine_.get(), nullptr), TSR_STATUS_OK) << "outside it is allowed again";
}

TEST(Callbacks, TwoEnginesMayReleaseEachOtherInTheirs) {
  for (int round = 0; round < 20; ++round) {
    const Host host(MakeTinyModel());
    struct Side {
      ReadyHost ready;
      Handle<tsr_engine> engine;
      Handle<tsr_session> session;
      Handle<tsr_queue> queue;
    } sides[2];
    std::atomic<int> inside{0};
    for (int i = 0; i < 2; ++i) {
      Side& side = sides[i];
      Side& other = sides[1 - i];
      side.ready.may_begin = false;
      side.ready.on_ready = [&inside, &other] {
        inside.fetch_add(1);
        while (inside.load() < 2) std::this_thread::yield();  // both are in: neither may wait for the other
        other.session.reset();
        other.engine.reset();
        inside.fetch_add(1);
      };
      side.engine = host.Engine(Options().Int("engine.threads", 1));
      side.queue = QueueTelling(host.runtime(), &side.ready);
      side.session = NewSession(side.engine.get());
      Append(side.session.get(), "hello");
      const Options options = Options().Int("request.max_tokens", 100).Bool("request.ignore_end", true);
      ASSERT_EQ(
          tsr_session_generate(side.session.get(), options.get(), side.queue.get(), 1, nullptr, nullptr),
          TSR_STATUS_OK);
    }
    for (Side& side : sides) side.ready.may_begin = true;
    while (inside.load() < 4) std::this_thread::yield();
    for (Side& side : sides) side.queue.reset();
    for (Side& side : sides) {
      while (side.ready.drops.load() == 0) std::this_thread::yield();
    }
  }
}

}  // namespace
}  // namespace tessera::host
