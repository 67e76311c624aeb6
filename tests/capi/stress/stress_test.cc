// Eight threads and a hundred sessions: whatever they do, each accepted request ends once, every block comes
// back, and handles go in any order.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "tests/capi/stress/crowd.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

constexpr int kThreads = 8;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kActs = 1500;
#else
constexpr int kActs = 20000;
#endif

std::vector<uint8_t> Model() {
  TinyModelOptions options;
  options.layers = 1;
  options.context_tokens = 160;
  return MakeTinyModel(options);
}

// Tight on purpose: sessions evict each other, requests wait, some are refused.
Options EngineOptions(bool stepped) {
  return Options()
      .Bool("engine.stepped", stepped)
      .Int("engine.threads", 2)
      .Int("engine.cache_tokens", 1200)
      .Int("engine.batch_tokens", 48)
      .Int("engine.batch_sequences", 12)
      .Int("engine.max_requests", 40)
      .Int("engine.max_sessions", Crowd::kSessions + kThreads);
}

tsr_engine_metrics Metrics(tsr_engine* engine) {
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  EXPECT_EQ(tsr_engine_get_metrics(engine, &metrics, nullptr), TSR_STATUS_OK);
  return metrics;
}

// A released session's blocks return when the batch in flight ends.
tsr_engine_metrics MetricsAtRest(tsr_engine* engine, bool stepped) {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (;;) {
    if (stepped) {
      EXPECT_EQ(tsr_engine_step(engine, -1, nullptr, nullptr), TSR_STATUS_OK);
    }
    const tsr_engine_metrics metrics = Metrics(engine);
    if (metrics.blocks_free == metrics.blocks_total || std::chrono::steady_clock::now() > patience)
      return metrics;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void RunThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

class Stress : public testing::TestWithParam<bool> {};

TEST_P(Stress, EveryAcceptedRequestEndsOnceAndEveryBlockComesBack) {
  const Host host(Model());
  const Handle<tsr_engine> engine = host.Engine(EngineOptions(GetParam()));
  Crowd crowd(&host, engine.get(), GetParam());
  RunThreads(kThreads, [&](int thread) { crowd.Act(100 + static_cast<uint64_t>(thread), kActs); });
  crowd.Drain();
  crowd.CheckEnds();
  RecordProperty("ended", crowd.ended());
  EXPECT_GT(crowd.ended(), 200) << "of " << crowd.accepted() << " accepted: too few to prove anything";

  crowd.ReleaseSessions();
  const tsr_engine_metrics metrics = MetricsAtRest(engine.get(), GetParam());
  EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
  EXPECT_EQ(metrics.sessions, 0);
  EXPECT_EQ(metrics.requests_running, 0);
  EXPECT_EQ(metrics.requests_queued, 0);
  EXPECT_EQ(metrics.requests_accepted, static_cast<uint64_t>(crowd.accepted()));
  EXPECT_EQ(metrics.requests_finished, metrics.requests_accepted);
  EXPECT_EQ(metrics.batches_failed, 0u);
  EXPECT_GT(metrics.evictions, 0u) << "the cache was never tight";
}

TEST_P(Stress, AnEngineClosedInTheMiddleEndsEveryRequestOnce) {
  for (uint64_t round = 0; round < 4; ++round) {
    const Host host(Model());
    const Handle<tsr_engine> engine = host.Engine(EngineOptions(GetParam()));
    Crowd crowd(&host, engine.get(), GetParam());
    RandomSource random(round);
    const auto when = std::chrono::milliseconds(5 + random.Below(60));
    RunThreads(kThreads + 1, [&](int thread) {
      if (thread < kThreads) return crowd.Act(1000 * (round + 1) + static_cast<uint64_t>(thread), kActs / 4);
      std::this_thread::sleep_for(when);
      crowd.ExpectClose();
      // Half of the rounds close the runtime, and with it the queues.
      const tsr_status status = round % 2 == 0 ? tsr_engine_close(engine.get(), nullptr)
                                               : tsr_runtime_close(host.runtime(), nullptr);
      EXPECT_EQ(status, TSR_STATUS_OK);
    });
    crowd.Drain();
    crowd.CheckEnds();
    EXPECT_EQ(tsr_engine_step(engine.get(), 0, nullptr, nullptr),
              GetParam() ? TSR_STATUS_CLOSED : TSR_STATUS_WRONG_STATE);
    tsr_session* session = nullptr;
    EXPECT_EQ(tsr_session_create(engine.get(), nullptr, &session, nullptr), TSR_STATUS_CLOSED);
  }
}

// All handles of busy hosts, released by several threads in random order.
TEST_P(Stress, HandlesGoInAnyOrder) {
  for (uint64_t round = 0; round < 20; ++round) {
    RandomSource random(round + 7);
    std::vector<std::function<void()>> releases;
    for (int h = 0; h < 2; ++h) {
      auto host = std::make_shared<Host>(Model());
      std::shared_ptr<tsr_engine> engine(host->Engine(EngineOptions(GetParam())).release(),
                                         tsr_engine_release);
      std::shared_ptr<tsr_queue> queue(host->Queue().release(), tsr_queue_release);
      for (int s = 0; s < 8; ++s) {
        std::shared_ptr<tsr_session> session(NewSession(engine.get()).release(), tsr_session_release);
        Append(session.get(), "the other hello");
        const Options options = Options().Int("request.max_tokens", 100).Bool("request.ignore_end", true);
        EXPECT_EQ(tsr_session_generate(session.get(), options.get(), queue.get(), static_cast<uint64_t>(s),
                                       nullptr, nullptr),
                  TSR_STATUS_OK);
        releases.push_back([session]() mutable { session.reset(); });
      }
      if (GetParam()) {
        EXPECT_EQ(tsr_engine_step(engine.get(), 0, nullptr, nullptr), TSR_STATUS_OK);
      }
      releases.push_back([engine]() mutable { engine.reset(); });
      releases.push_back([queue]() mutable { queue.reset(); });
      releases.push_back([host]() mutable { host.reset(); });
    }
    random.Shuffle(releases);
    std::atomic<size_t> next{0};
    RunThreads(4, [&](int) {
      for (size_t i = next++; i < releases.size(); i = next++) {
        releases[i]();
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Stress, testing::Bool(),
                         [](const auto& info) { return info.param ? "Stepped" : "Threaded"; });

}  // namespace
}  // namespace tessera::host
