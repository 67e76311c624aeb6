// Sessions and their requests, as a host sees them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

using ::testing::HasSubstr;

class SessionTest : public ::testing::TestWithParam<bool> {
 protected:
  SessionTest()
      : host_(MakeTinyModel(TinyModelOptions())),
        engine_(host_.Engine(Options().Bool("engine.stepped", GetParam()).Int("engine.threads", 2))),
        queue_(host_.Queue()) {}
  Answer Ask(const std::string& text, const Options& options) {
    const Handle<tsr_session> session = NewSession(engine_.get());
    Append(session.get(), text);
    return Generate(session.get(), engine_.get(), queue_.get(), options);
  }
  Host host_;
  Handle<tsr_engine> engine_;
  Handle<tsr_queue> queue_;
};

Options Tokens(int64_t count) {
  return Options().Int("request.max_tokens", count).Bool("request.ignore_end", true);
}

TEST_P(SessionTest, RequestStreamsTokensAndOneTerminalEvent) {
  const Answer answer = Ask("hello", Tokens(12));
  EXPECT_EQ(answer.finished, 1);
  EXPECT_EQ(answer.end.reason, TSR_FINISH_LENGTH);
  EXPECT_EQ(answer.end.status, TSR_STATUS_OK);
  EXPECT_EQ(answer.end.generated_tokens, 12u);
  EXPECT_EQ(answer.end.prompt_tokens, host_.Tokenize("hello").size());
  ASSERT_EQ(answer.tokens.size(), 12u);
  EXPECT_EQ(answer.end.last_token, answer.tokens.back());
}

TEST_P(SessionTest, SeedDecidesWhatIsDrawn) {
  const auto draw = [&](int64_t seed) {
    return Ask("hello", Tokens(24).Float("sampling.temperature", 1.5).Int("sampling.seed", seed)).tokens;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));
}

TEST_P(SessionTest, ConversationGoesOnWhereItEnded) {
  const Handle<tsr_session> talk = NewSession(engine_.get());
  Append(talk.get(), "one");
  const Answer first = Generate(talk.get(), engine_.get(), queue_.get(), Tokens(5));
  Append(talk.get(), "two");
  const Answer second = Generate(talk.get(), engine_.get(), queue_.get(), Tokens(5));

  std::vector<int32_t> all = host_.Tokenize("one");
  all.insert(all.end(), first.tokens.begin(), first.tokens.end());
  for (const int32_t token : host_.Tokenize("two")) all.push_back(token);
  const Handle<tsr_session> fresh = NewSession(engine_.get());
  Append(fresh.get(), all);
  EXPECT_EQ(Generate(fresh.get(), engine_.get(), queue_.get(), Tokens(5)).tokens, second.tokens);

  size_t count = 0;
  ASSERT_EQ(tsr_session_token_count(talk.get(), &count, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(count, all.size() + 5);
  std::vector<int32_t> held(count);
  ASSERT_EQ(tsr_session_get_tokens(talk.get(), 0, held.data(), held.size(), &count, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(std::vector<int32_t>(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(all.size())), all);
}

TEST_P(SessionTest, StopStringEndsTheTextBeforeIt) {
  // Only the letters are let through, so that any part of the text is made of whole code points.
  std::vector<int64_t> letters;
  for (char c = 'a'; c <= 'z'; ++c) letters.push_back(3 + c);  // the tiny vocabulary's single bytes
  const auto options = [&] {
    return Tokens(40)
        .Float("sampling.temperature", 1.0)
        .Int("sampling.seed", 5)
        .Ints("sampling.logit_bias_tokens", letters)
        .Floats("sampling.logit_bias_values", std::vector<double>(letters.size(), 60.0));
  };
  const std::string whole = Ask("hello", options()).text;
  ASSERT_EQ(whole.size(), 40u);
  const std::string stop = whole.substr(20, 3);
  ASSERT_EQ(whole.find(stop), 20u) << "another seed, please: " << whole;
  const Answer answer = Ask("hello", options().Strings("request.stop", {"never said", stop}));
  EXPECT_EQ(answer.end.reason, TSR_FINISH_STOP);
  EXPECT_EQ(answer.text, whole.substr(0, 20));
}

TEST_P(SessionTest, StopTokenEndsTheRequestAndStaysInTheSession) {
  const std::vector<int32_t> tokens = Ask("hello", Tokens(10)).tokens;
  const auto at = std::find(tokens.begin(), tokens.end(), tokens[4]);
  const std::vector<int32_t> before(tokens.begin(), at);
  const Handle<tsr_session> session = NewSession(engine_.get());
  Append(session.get(), "hello");
  const Answer answer = Generate(session.get(), engine_.get(), queue_.get(),
                                 Tokens(10).Ints("request.stop_tokens", {tokens[4]}));
  EXPECT_EQ(answer.end.reason, TSR_FINISH_STOP);
  EXPECT_EQ(answer.end.last_token, tokens[4]);
  EXPECT_EQ(answer.tokens, before);
  std::vector<int32_t> held = host_.Tokenize("hello");
  const size_t prompt = held.size();
  held.resize(prompt + before.size() + 1);
  size_t count = 0;
  ASSERT_EQ(tsr_session_get_tokens(session.get(), 0, held.data(), held.size(), &count, nullptr),
            TSR_STATUS_OK);
  EXPECT_EQ(count, held.size());
  EXPECT_EQ(held.back(), tokens[4]);
}

TEST_P(SessionTest, LogProbabilitiesMatchTheLogits) {
  const Handle<tsr_session> session = NewSession(engine_.get(), /*logits=*/true);
  Append(session.get(), "hello");
  const Answer answer =
      Generate(session.get(), engine_.get(), queue_.get(), Tokens(1).Int("request.top_logprobs", 5));
  const std::vector<float> logits = Logits(session.get());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  ASSERT_EQ(answer.logprobs.size(), 1u);
  ASSERT_EQ(answer.top[0].size(), 5u);
  EXPECT_NEAR(answer.logprobs[0], logits[static_cast<size_t>(answer.tokens[0])] - std::log(sum), 1e-4);
  for (const tsr_token_logprob& top : answer.top[0]) {
    EXPECT_NEAR(top.logprob, logits[static_cast<size_t>(top.token)] - std::log(sum), 1e-4);
  }
  EXPECT_EQ(answer.top[0][0].token, answer.tokens[0]) << "greedy takes the most probable";
}

TEST_P(SessionTest, ForbiddenTokenIsNeverChosen) {
  const int32_t favourite = Ask("hello", Tokens(1)).tokens[0];
  const Answer answer = Ask("hello", Tokens(1)
                                         .Ints("sampling.logit_bias_tokens", {favourite})
                                         .Floats("sampling.logit_bias_values", {-INFINITY}));
  EXPECT_NE(answer.tokens[0], favourite);
}

TEST_P(SessionTest, EvaluationAloneGeneratesNothingAndGivesLogits) {
  const Handle<tsr_session> session = NewSession(engine_.get(), true);
  Append(session.get(), "hello");
  const Answer answer = Generate(session.get(), engine_.get(), queue_.get(), Tokens(0));
  EXPECT_EQ(answer.end.reason, TSR_FINISH_LENGTH);
  EXPECT_TRUE(answer.tokens.empty());
  const std::vector<float> logits = Logits(session.get());
  const int32_t best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  EXPECT_EQ(Generate(session.get(), engine_.get(), queue_.get(), Tokens(1)).tokens[0], best);
}

TEST_P(SessionTest, ContextFillsUpAndSaysSo) {
  const Answer answer = Ask("hello", Tokens(-1));
  EXPECT_EQ(answer.end.reason, TSR_FINISH_CONTEXT);
  EXPECT_EQ(answer.end.generated_tokens + answer.end.prompt_tokens, 256u);
}

TEST_P(SessionTest, WrongOrderIsRefusedWithWhatMustComeFirst) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  Outcome outcome = Try([&](tsr_error** e) {
    return tsr_session_generate(session.get(), nullptr, queue_.get(), 0, nullptr, e);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_WRONG_STATE);
  EXPECT_THAT(outcome.message, HasSubstr("append a prompt"));
  float logit;
  size_t count;
  outcome = Try([&](tsr_error** e) { return tsr_session_get_logits(session.get(), &logit, 1, &count, e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_WRONG_STATE);
  const std::vector<int32_t> many(300, 1);
  outcome = Try(
      [&](tsr_error** e) { return tsr_session_append_tokens(session.get(), many.data(), many.size(), e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_LIMIT_EXCEEDED);
  EXPECT_THAT(outcome.message, HasSubstr("context of 256"));
  const int32_t bad[] = {0, -4};
  outcome = Try([&](tsr_error** e) { return tsr_session_append_tokens(session.get(), bad, 2, e); });
  EXPECT_EQ(outcome.place, "tokens[1]");
}

TEST_P(SessionTest, ClosedEngineAnswersClosedAndItsRequestsHaveEnded) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  Append(session.get(), "hello");
  const Options options = Tokens(-1);
  ASSERT_EQ(tsr_session_generate(session.get(), options.get(), queue_.get(), 9, nullptr, nullptr),
            TSR_STATUS_OK);
  ASSERT_EQ(tsr_engine_close(engine_.get(), nullptr), TSR_STATUS_OK);
  ASSERT_EQ(tsr_engine_close(engine_.get(), nullptr), TSR_STATUS_OK);
  std::map<uint64_t, Answer> answers;
  std::vector<uint64_t> buffer(1 << 16);
  size_t used = 0;
  ASSERT_EQ(tsr_queue_poll(queue_.get(), 0, buffer.data(), buffer.size() * 8, &used, nullptr), TSR_STATUS_OK);
  Collect(buffer.data(), used, &answers);
  EXPECT_EQ(answers[9].finished, 1);
  EXPECT_TRUE(answers[9].end.reason == TSR_FINISH_CLOSED || answers[9].end.reason == TSR_FINISH_CONTEXT);
  EXPECT_EQ(tsr_session_append_text(session.get(), "a", 1, 0, nullptr), TSR_STATUS_CLOSED);
  ASSERT_EQ(tsr_runtime_close(host_.runtime(), nullptr), TSR_STATUS_OK);
  EXPECT_EQ(tsr_queue_poll(queue_.get(), -1, buffer.data(), buffer.size() * 8, &used, nullptr),
            TSR_STATUS_CLOSED);
}

TEST_P(SessionTest, DescriptorIsReadableWhileEventsOrAWakeUpWait) {
  int descriptor = -1;
  ASSERT_EQ(tsr_queue_descriptor(queue_.get(), &descriptor, nullptr), TSR_STATUS_OK);
  const auto readable = [&] {
    pollfd entry = {descriptor, POLLIN, 0};
    return poll(&entry, 1, 0) == 1;
  };
  std::vector<uint64_t> buffer(1024);
  size_t used = 1;
  EXPECT_FALSE(readable());
  ASSERT_EQ(tsr_queue_wake(queue_.get(), nullptr), TSR_STATUS_OK);
  EXPECT_TRUE(readable());
  ASSERT_EQ(tsr_queue_poll(queue_.get(), -1, buffer.data(), buffer.size() * 8, &used, nullptr),
            TSR_STATUS_OK);
  EXPECT_EQ(used, 0u);
  EXPECT_FALSE(readable());
}

TEST_P(SessionTest, BufferTooSmallForARecordKeepsIt) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  Append(session.get(), "hello");
  const Options options = Tokens(1);
  ASSERT_EQ(tsr_session_generate(session.get(), options.get(), queue_.get(), 1, nullptr, nullptr),
            TSR_STATUS_OK);
  uint64_t small[2];
  size_t used = 0;
  const Outcome outcome = Try([&](tsr_error** e) {
    return tsr_queue_wait(queue_.get(), engine_.get(), 60'000'000'000, small, sizeof(small), &used, e);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_BUFFER_TOO_SMALL);
  EXPECT_GT(used, sizeof(small));
  EXPECT_EQ(Finish(queue_.get(), engine_.get(), 1)[1].tokens.size(), 1u);
  uint64_t aligned[2];
  EXPECT_EQ(tsr_queue_poll(queue_.get(), 0, reinterpret_cast<char*>(aligned) + 1, 8, &used, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
}

TEST_P(SessionTest, WaitWithNothingToComputeEndsByAWakeUp) {
  std::thread other([&] { tsr_queue_wake(queue_.get(), nullptr); });
  uint64_t buffer[512];
  size_t used = 1;
  const tsr_status status =
      tsr_queue_wait(queue_.get(), engine_.get(), -1, buffer, sizeof(buffer), &used, nullptr);
  other.join();
  EXPECT_EQ(status, TSR_STATUS_OK);
  EXPECT_EQ(used, 0u);
}

TEST_P(SessionTest, WaitComputesWhatAnotherThreadSubmitsMeanwhile) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  Append(session.get(), "hello");
  const Options options = Tokens(3);
  tsr_status submitted = TSR_STATUS_INTERNAL;
  std::thread other([&] {
    submitted = tsr_session_generate(session.get(), options.get(), queue_.get(), 9, nullptr, nullptr);
  });
  std::map<uint64_t, Answer> answers;
  uint64_t buffer[512];
  tsr_status status = TSR_STATUS_OK;
  size_t used = 1;
  while (answers[9].finished == 0 && status == TSR_STATUS_OK && used > 0) {
    status = tsr_queue_wait(queue_.get(), engine_.get(), -1, buffer, sizeof(buffer), &used, nullptr);
    Collect(buffer, used, &answers);
  }
  other.join();
  EXPECT_EQ(submitted, TSR_STATUS_OK);
  EXPECT_EQ(status, TSR_STATUS_OK);
  EXPECT_GT(used, 0u) << "without a timeout, only events end the wait";
  EXPECT_EQ(answers[9].tokens.size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(Threaded, SessionTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Stepped, SessionTest, ::testing::Values(true));

TEST(Engine, SteppingAThreadedEngineIsRefused) {
  const Host host(MakeTinyModel(TinyModelOptions()));
  const Handle<tsr_engine> engine = host.Engine();
  EXPECT_EQ(tsr_engine_step(engine.get(), 0, nullptr, nullptr), TSR_STATUS_WRONG_STATE);
}

struct Stepped {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
  int steps = 0;
};

// Four drawn tokens after a prompt, by steps of one budget.
Stepped StepThrough(const Host& host, const std::string& activations, int64_t threads, int64_t budget_ns) {
  const Handle<tsr_engine> engine = host.Engine(Options()
                                                    .Bool("engine.stepped", true)
                                                    .Int("engine.threads", threads)
                                                    .Int("engine.batch_tokens", 16)
                                                    .String("engine.activations", activations));
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> session = NewSession(engine.get(), /*logits=*/true);
  Append(session.get(), "the other hello in the world of words and of words");
  const Options options = Tokens(4).Float("sampling.temperature", 1.1).Float("sampling.top_p", 0.9);
  EXPECT_EQ(tsr_session_generate(session.get(), options.get(), queue.get(), 1, nullptr, nullptr),
            TSR_STATUS_OK);
  tsr_step_stats stats = {};
  stats.struct_size = sizeof(stats);
  Stepped result;
  do {
    EXPECT_EQ(tsr_engine_step(engine.get(), budget_ns, &stats, nullptr), TSR_STATUS_OK);
    ++result.steps;
  } while (stats.work_left != 0 && result.steps < 100000);
  result.tokens = Finish(queue.get(), engine.get(), 1)[1].tokens;
  result.logits = Logits(session.get());
  return result;
}

TEST(Engine, StepsOfNoBudgetAtAllAreManyAndComeToTheSameBits) {
  for (const TensorType type : {TensorType::kF32, TensorType::kQ8_0, TensorType::kQ4_1}) {
    TinyModelOptions model;
    model.attention_type = model.feed_forward_type = type;
    const Host host(MakeTinyModel(model));
    for (const std::string activations : {"int8", "f32"}) {
      const Stepped whole = StepThrough(host, activations, 1, -1);
      ASSERT_EQ(whole.tokens.size(), 4u);
      for (const int64_t threads : {1, 2, 3}) {
        for (const int64_t budget_ns : {0, 1000, 50000}) {
          const Stepped cut = StepThrough(host, activations, threads, budget_ns);
          EXPECT_EQ(cut.tokens, whole.tokens);
          EXPECT_EQ(cut.logits, whole.logits);
          // Embed, five regions in each of two layers, head and sample: each is left at least once, whatever
          // the threads.
          if (budget_ns == 0) {
            EXPECT_GT(cut.steps, 2 * 13 * (whole.steps - 1));
          }
        }
      }
    }
  }
}

TEST(Engine, HandlesMayGoInAnyOrder) {
  for (int order = 0; order < 4; ++order) {
    auto host = std::make_unique<Host>(MakeTinyModel(TinyModelOptions()));
    Handle<tsr_engine> engine = host->Engine();
    Handle<tsr_queue> queue = host->Queue();
    Handle<tsr_session> session = NewSession(engine.get());
    Append(session.get(), "hello");
    const Options options = Tokens(100);
    ASSERT_EQ(tsr_session_generate(session.get(), options.get(), queue.get(), 1, nullptr, nullptr),
              TSR_STATUS_OK);
    if (order == 0) host.reset();
    if (order == 1) engine.reset();
    if (order == 2) queue.reset();
    if (order == 3) session.reset();
    host.reset();
    engine.reset();
    if (order != 2 && order != 3) {
      const tsr_status status = tsr_session_cancel(session.get(), TSR_CANCEL_DROP, nullptr);
      EXPECT_EQ(status, TSR_STATUS_OK);
    }
  }
}

}  // namespace
}  // namespace tessera::host
