// Waiting, closing and releasing at once: who is told what, and that nobody waits for ever.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

Options Tokens(int64_t count) {
  return Options().Int("request.max_tokens", count).Bool("request.ignore_end", true);
}

struct Waited {
  tsr_status status = TSR_STATUS_OK;
  size_t used = 0;
};

class WaitCloseTest : public ::testing::TestWithParam<bool> {
 protected:
  WaitCloseTest()
      : host_(MakeTinyModel()),
        engine_(host_.Engine(Options().Bool("engine.stepped", GetParam()).Int("engine.threads", 1))),
        queue_(host_.Queue()),
        session_(NewSession(engine_.get())) {
    Append(session_.get(), "hello");
  }
  void Submit(int64_t tokens) {
    const Options options = Tokens(tokens);
    ASSERT_EQ(tsr_session_generate(session_.get(), options.get(), queue_.get(), 9, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  Waited Wait(tsr_queue* queue, int64_t timeout_ns, std::map<uint64_t, Answer>* answers = nullptr) {
    std::vector<uint64_t> buffer(1024);
    Waited waited;
    waited.status = tsr_queue_wait(queue, engine_.get(), timeout_ns, buffer.data(), buffer.size() * 8,
                                   &waited.used, nullptr);
    if (answers != nullptr && waited.status == TSR_STATUS_OK) Collect(buffer.data(), waited.used, answers);
    return waited;
  }
  Host host_;
  Handle<tsr_engine> engine_;
  Handle<tsr_queue> queue_;
  Handle<tsr_session> session_;
};

TEST_P(WaitCloseTest, WaitOnAClosedEngineDeliversTheEndAndThenSaysClosed) {
  Submit(100);
  ASSERT_EQ(tsr_engine_close(engine_.get(), nullptr), TSR_STATUS_OK);
  std::map<uint64_t, Answer> answers;
  while (Wait(queue_.get(), -1, &answers).status == TSR_STATUS_OK) {
  }
  EXPECT_EQ(answers[9].finished, 1);
  if (GetParam()) {
    EXPECT_EQ(answers[9].end.reason, TSR_FINISH_CLOSED);
  }
  EXPECT_EQ(Wait(queue_.get(), -1).status, TSR_STATUS_CLOSED);
}

TEST_P(WaitCloseTest, CloseEndsAWaitOnlyBehindTheLastEvents) {
  for (int round = 0; round < 20; ++round) {
    const Handle<tsr_engine> engine = host_.Engine(Options().Bool("engine.stepped", GetParam()));
    const Handle<tsr_session> session = NewSession(engine.get());
    Append(session.get(), "hello");
    const Options options = Tokens(200);
    ASSERT_EQ(tsr_session_generate(session.get(), options.get(), queue_.get(), 7, nullptr, nullptr),
              TSR_STATUS_OK);
    std::thread closer([&] { tsr_engine_close(engine.get(), nullptr); });
    std::map<uint64_t, Answer> answers;
    std::vector<uint64_t> buffer(64);
    tsr_status status = TSR_STATUS_OK;
    while (status == TSR_STATUS_OK) {
      size_t used = 0;
      status =
          tsr_queue_wait(queue_.get(), engine.get(), -1, buffer.data(), buffer.size() * 8, &used, nullptr);
      if (status == TSR_STATUS_OK) Collect(buffer.data(), used, &answers);
    }
    closer.join();
    EXPECT_EQ(status, TSR_STATUS_CLOSED);
    EXPECT_EQ(answers[7].finished, 1);
  }
}

TEST_P(WaitCloseTest, SecondWaiterIsBusyAndTakesNoWakeUpFromTheFirst) {
  std::atomic<bool> done{false};
  Waited first;
  std::thread waiter([&] {
    do {  // the other's looking may come first
      first = Wait(queue_.get(), -1);
    } while (first.status == TSR_STATUS_BUSY);
    done = true;
  });
  while (Wait(queue_.get(), 0).status != TSR_STATUS_BUSY) std::this_thread::yield();
  std::vector<uint64_t> buffer(64);
  size_t used = 0;
  EXPECT_EQ(tsr_queue_poll(queue_.get(), 0, buffer.data(), buffer.size() * 8, &used, nullptr),
            TSR_STATUS_BUSY);
  EXPECT_FALSE(done.load());
  EXPECT_EQ(tsr_queue_wake(queue_.get(), nullptr), TSR_STATUS_OK);
  waiter.join();
  EXPECT_EQ(first.status, TSR_STATUS_OK);
  EXPECT_EQ(first.used, 0u);
}

TEST_P(WaitCloseTest, WakeUpIsHeardWhileAnotherQueuesRequestIsComputed) {
  const Handle<tsr_queue> other = host_.Queue();
  Submit(200);
  std::thread waker([&] { tsr_queue_wake(other.get(), nullptr); });
  const Waited waited = Wait(other.get(), -1);
  waker.join();
  EXPECT_EQ(waited.status, TSR_STATUS_OK);
  EXPECT_EQ(waited.used, 0u);
}

TEST_P(WaitCloseTest, DeadlineThatPassesWhileNothingIsComputedEndsTheWait) {
  // Nobody polls the first request's queue: it pauses with a full outbox until its deadline.
  const Options options = Tokens(200).Int("request.top_logprobs", 20).Int("request.deadline_ns", 300'000'000);
  ASSERT_EQ(tsr_session_generate(session_.get(), options.get(), queue_.get(), 9, nullptr, nullptr),
            TSR_STATUS_OK);
  const Handle<tsr_queue> other = host_.Queue();
  std::thread waker([&] {
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof(metrics);
    do {
      std::this_thread::yield();
      tsr_engine_get_metrics(engine_.get(), &metrics, nullptr);
    } while (metrics.requests_finished == 0);
    tsr_queue_wake(other.get(), nullptr);
  });
  EXPECT_EQ(Wait(other.get(), -1).status, TSR_STATUS_OK);
  waker.join();
  EXPECT_EQ(Finish(queue_.get(), engine_.get(), 1)[9].end.reason, TSR_FINISH_DEADLINE);
}

TEST_P(WaitCloseTest, ConcurrentClosesOfARuntimeReturnWhenAllEventsArePosted) {
  Submit(200);
  std::map<uint64_t, Answer> answers;
  std::thread poller([&] {
    std::vector<uint64_t> buffer(1024);
    size_t used = 0;
    while (tsr_queue_poll(queue_.get(), -1, buffer.data(), buffer.size() * 8, &used, nullptr) ==
           TSR_STATUS_OK) {
      Collect(buffer.data(), used, &answers);
    }
  });
  std::vector<std::thread> closers;
  for (int i = 0; i < 4; ++i) {
    closers.emplace_back([&] { EXPECT_EQ(tsr_runtime_close(host_.runtime(), nullptr), TSR_STATUS_OK); });
  }
  for (std::thread& closer : closers) closer.join();
  poller.join();
  EXPECT_EQ(answers[9].finished, 1);
  std::vector<uint64_t> buffer(1024);
  size_t used = 0;
  EXPECT_EQ(tsr_queue_poll(queue_.get(), 0, buffer.data(), buffer.size() * 8, &used, nullptr),
            TSR_STATUS_CLOSED)
      << "nothing comes behind CLOSED";
}

TEST_P(WaitCloseTest, QueueOfAnotherRuntimeIsRefused) {
  const Host other(MakeTinyModel());
  const Handle<tsr_queue> foreign = other.Queue();
  const Outcome outcome = Try([&](tsr_error** e) {
    return tsr_session_generate(session_.get(), nullptr, foreign.get(), 1, nullptr, e);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.place, "queue");
}

TEST(ClosedRuntime, LoadsNoModel) {
  tsr_runtime* runtime = nullptr;
  ASSERT_EQ(tsr_runtime_create(nullptr, &runtime, nullptr), TSR_STATUS_OK);
  ASSERT_EQ(tsr_runtime_close(runtime, nullptr), TSR_STATUS_OK);
  const std::vector<uint8_t> bytes = MakeTinyModel();
  tsr_model* model = nullptr;
  EXPECT_EQ(
      tsr_model_load_memory(runtime, bytes.data(), bytes.size(), TSR_MEMORY_COPY, nullptr, &model, nullptr),
      TSR_STATUS_CLOSED);
  tsr_runtime_release(runtime);
}

INSTANTIATE_TEST_SUITE_P(Threaded, WaitCloseTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Stepped, WaitCloseTest, ::testing::Values(true));

TEST(Threads, OfAnEngineAreNoMoreThanTheRuntimeAllows) {
  tsr_runtime* runtime = nullptr;
  const Options options = Options().Int("runtime.threads", 2);
  ASSERT_EQ(tsr_runtime_create(options.get(), &runtime, nullptr), TSR_STATUS_OK);
  const std::vector<uint8_t> bytes = MakeTinyModel();
  tsr_model* model = nullptr;
  ASSERT_EQ(
      tsr_model_load_memory(runtime, bytes.data(), bytes.size(), TSR_MEMORY_COPY, nullptr, &model, nullptr),
      TSR_STATUS_OK);
  for (const auto& [wanted, given] : std::map<int64_t, int32_t>{{0, 2}, {1, 1}, {2, 2}, {64, 2}}) {
    tsr_engine* engine = nullptr;
    const Options engine_options = Options().Int("engine.threads", wanted);
    ASSERT_EQ(tsr_engine_create(model, engine_options.get(), &engine, nullptr), TSR_STATUS_OK);
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof(metrics);
    ASSERT_EQ(tsr_engine_get_metrics(engine, &metrics, nullptr), TSR_STATUS_OK);
    EXPECT_EQ(metrics.threads, given);
    tsr_engine_release(engine);
  }
  tsr_model_release(model);
  tsr_runtime_release(runtime);
}

TEST(EndToken, IsTheOneThatTheFileNames) {
  const Host host(MakeTinyModel());
  tsr_model_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(tsr_model_get_info(host.model(), &info, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(info.end_token, 2) << "<|im_end|>, not the other end, whose id is lower";
}

TEST(ErrorText, IsValidUtf8WhateverItQuotes) {
  tsr_options* options = nullptr;
  ASSERT_EQ(tsr_options_create(&options, nullptr), TSR_STATUS_OK);
  const std::string key("bad\xff\x00key", 8);
  tsr_error* error = nullptr;
  EXPECT_EQ(tsr_options_set_int(options, key.data(), key.size(), 1, &error), TSR_STATUS_INVALID_ARGUMENT);
  const std::string message = tsr_error_message(error, nullptr);
  EXPECT_NE(message.find("bad\xEF\xBF\xBD\xEF\xBF\xBDkey"), std::string::npos) << message;
  EXPECT_EQ(message.find('\xff'), std::string::npos);
  tsr_error_release(error);
  tsr_options_release(options);
}

}  // namespace
}  // namespace tessera::host
