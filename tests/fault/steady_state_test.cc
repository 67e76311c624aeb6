// What a running engine costs its host beside the computation: no allocation for a decoded token, no CPU when
// idle.
#include <gtest/gtest.h>
#include <time.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"
#include "tests/fault/failing_allocator.h"

namespace tessera::host {
namespace {

TinyModelOptions ModelOptions() {
  TinyModelOptions options;
  options.layers = 1;
  return options;
}

Options EngineOptions(bool stepped) {
  return Options()
      .Bool("engine.stepped", stepped)
      .Int("engine.threads", 2)
      .Int("engine.cache_tokens", 1024)
      .Int("engine.batch_tokens", 32);
}

// Tokens and terminal events by tag, counted without allocating.
struct Counts {
  std::array<int, 8> tokens{};
  std::array<int, 8> ends{};

  void Read(const char* at, size_t size) {
    for (const char* const end = at + size; at < end;) {
      tsr_event_tokens event;
      tsr_event head;
      std::memcpy(&head, at, sizeof(head));
      if (head.kind == TSR_EVENT_TOKENS) {
        std::memcpy(&event, at, sizeof(event));
        tokens[head.tag] += static_cast<int>(event.token_count);
      } else if (head.kind == TSR_EVENT_FINISHED) {
        ++ends[head.tag];
      }
      at += head.size;
    }
  }
};

class Decode : public testing::TestWithParam<std::tuple<bool, int>> {
 protected:
  bool stepped() const { return std::get<0>(GetParam()); }
  int sessions() const { return std::get<1>(GetParam()); }

  // Polls until every session has brought `tokens` tokens.
  void PollUntil(tsr_queue* queue, tsr_engine* engine, int tokens) {
    for (;;) {
      int least = tokens;
      for (int i = 0; i < sessions(); ++i) least = std::min(least, counts_.tokens[static_cast<size_t>(i)]);
      if (least >= tokens) return;
      size_t used = 0;
      status_ = tsr_queue_wait(queue, engine, -1, buffer_.data(), sizeof(buffer_), &used, nullptr);
      if (status_ != TSR_STATUS_OK) return;
      counts_.Read(reinterpret_cast<const char*>(buffer_.data()), used);
    }
  }

  std::array<uint64_t, 1024> buffer_;
  Counts counts_;
  tsr_status status_ = TSR_STATUS_OK;
};

TEST_P(Decode, AllocatesNothingOnAnyThread) {
  const Host host(MakeTinyModel(ModelOptions()));
  const Handle<tsr_engine> engine = host.Engine(EngineOptions(stepped()));
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions_open;
  for (int i = 0; i < sessions(); ++i) {
    sessions_open.push_back(NewSession(engine.get(), /*logits=*/i == 0));
    Append(sessions_open.back().get(), "the other hello " + std::to_string(i));
    Options options;
    options.Int("request.max_tokens", 120).Bool("request.ignore_end", true).Int("request.top_logprobs", 5);
    options.Float("sampling.repetition_penalty", 1.2).Float("sampling.frequency_penalty", 0.1);
    options.Float("sampling.presence_penalty", 0.1).Strings("request.stop", {"no such text"});
    if (i % 2 == 1)
      options.Float("sampling.temperature", 0.8).Float("sampling.top_p", 0.9).Int("sampling.top_k", 40);
    ASSERT_EQ(tsr_session_generate(sessions_open.back().get(), options.get(), queue.get(),
                                   static_cast<uint64_t>(i), nullptr, nullptr),
              TSR_STATUS_OK);
  }
  PollUntil(queue.get(), engine.get(), 10);

  FaultArm(0, FAULT_ONCE);
  PollUntil(queue.get(), engine.get(), 100);
  const int64_t allocations = FaultCount();
  FaultDisarm();

  EXPECT_EQ(status_, TSR_STATUS_OK);
  EXPECT_EQ(allocations, 0);
  for (int i = 0; i < sessions(); ++i) {
    EXPECT_GE(counts_.tokens[static_cast<size_t>(i)], 100);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Decode, testing::Combine(testing::Bool(), testing::Values(1, 4)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) ? "Stepped" : "Threaded") +
                                  std::to_string(std::get<1>(info.param)) + "Sessions";
                         });

TEST(FailingAllocator, CountsWhatOtherThreadsAndTheLibraryAllocate) {
  const Host host(MakeTinyModel(ModelOptions()));
  FaultArm(0, FAULT_ONCE);
  const Handle<tsr_engine> engine = host.Engine(EngineOptions(false));
  EXPECT_GT(FaultCount(), 20);
  FaultDisarm();
}

int64_t ProcessCpuNs() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

int64_t CpuNsOfASecondAsleep() {
  const int64_t before = ProcessCpuNs();
  timespec second = {1, 0};
  while (nanosleep(&second, &second) != 0) {
  }
  return ProcessCpuNs() - before;
}

TEST(IdleEngine, UsesNoCpuAfterAGeneration) {
  const Host host(MakeTinyModel(ModelOptions()));
  const Handle<tsr_engine> engine = host.Engine(EngineOptions(false));
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> session = NewSession(engine.get());
  Append(session.get(), "hello");
  Generate(session.get(), engine.get(), queue.get(), Options().Int("request.max_tokens", 40));
  EXPECT_LT(CpuNsOfASecondAsleep(), 10'000'000);
}

// A request that nobody polls waits for its host, and does so asleep, with or without a deadline far away.
TEST(IdleEngine, UsesNoCpuWhileARequestWaitsForItsHost) {
  TinyModelOptions model = ModelOptions();
  model.context_tokens = 2048;
  const Host host(MakeTinyModel(model));
  const Handle<tsr_engine> engine =
      host.Engine(Options(EngineOptions(false)).Int("engine.cache_tokens", 4096));
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> session = NewSession(engine.get());
  Append(session.get(), "hello");
  const Options options = Options()
                              .Int("request.max_tokens", 2000)
                              .Bool("request.ignore_end", true)
                              .Int("request.top_logprobs", 20)
                              .Int("request.deadline_ns", 600'000'000'000);
  ASSERT_EQ(tsr_session_generate(session.get(), options.get(), queue.get(), 0, nullptr, nullptr),
            TSR_STATUS_OK);
  size_t count = 0, before = 1;
  while (count != before) {  // until it has stopped
    before = count;
    timespec moment = {0, 200'000'000};
    nanosleep(&moment, nullptr);
    tsr_session_token_count(session.get(), &count, nullptr);
  }
  ASSERT_LT(count, 1000u) << "the request never paused, so this test proves nothing";
  EXPECT_LT(CpuNsOfASecondAsleep(), 10'000'000);
}

}  // namespace
}  // namespace tessera::host
