// A batch that fails: it is undone, its requests are told, and nobody else can tell.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

absl::Status DeviceError() { return Error(ErrorCode::kLost, "device", "gone on purpose"); }

TEST(EngineFailure, AtAnyRegionRollsTheBatchBackAndEverythingGoesOnAsIfItHadNotBeen) {
  // Steps 0 and 1 are of the prompt, 2 and later decode.
  for (const int64_t step : {0, 1, 3}) {
    for (int64_t region = 0; region < kHarnessRegions; ++region) {
      EngineHarness h;
      const std::shared_ptr<Session> bystander = h.SessionOf(Prompt(2, 20));
      h.Generate(bystander, 1, 3);
      h.Run();
      const int64_t steps_before = h.simulation->steps();
      const std::vector<int32_t> prompt = Prompt(3, 45);
      const std::shared_ptr<Session> session = h.SessionOf(prompt);
      h.simulation->FailAt(steps_before + step, region, DeviceError());
      h.Generate(session, 2, 10);
      h.Run();

      const ReadEvents& events = h.events.Of(2);
      ASSERT_EQ(events.terminals, 1);
      EXPECT_EQ(events.reason(), FinishReason::kError);
      EXPECT_EQ(events.finished.status, static_cast<int32_t>(ErrorCode::kLost));
      EXPECT_FALSE(events.message.empty());
      EXPECT_EQ(events.tokens.size(), step == 3 ? 2u : 0u);
      EXPECT_EQ(h.engine->GetMetrics().batches_failed, 1u);
      ExpectBlocksConserved(*h.engine, {session, bystander});

      h.Generate(session, 3, 6);
      h.Generate(bystander, 4, 6);
      h.Run();
      EXPECT_EQ(h.TokensAfter(session, prompt.size()), h.oracle.Continue(prompt, events.tokens.size() + 6));
      EXPECT_EQ(h.TokensAfter(bystander, 20), h.oracle.Continue(Prompt(2, 20), 9));
    }
  }
}

TEST(EngineFailure, EndsEveryRequestOfTheBatchButNoneThatWaits) {
  EngineOptions options = HarnessOptions();
  options.batch_sequences = 2;
  EngineHarness h(options);
  for (uint64_t tag = 0; tag < 4; ++tag) h.Generate(h.SessionOf(Prompt(static_cast<int>(tag), 8)), tag, 6);
  h.simulation->FailAt(0, 7, DeviceError());
  h.Run();
  int failed = 0;
  for (uint64_t tag = 0; tag < 4; ++tag) {
    if (h.events.Of(tag).reason() == FinishReason::kError) {
      ++failed;
    } else {
      EXPECT_EQ(h.events.Of(tag).tokens, h.oracle.Continue(Prompt(static_cast<int>(tag), 8), 6));
    }
  }
  EXPECT_EQ(failed, 2);
}

TEST(EngineFailure, WithoutMemoryIsAnErrorLikeAnyOther) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 8));
  h.simulation->FailAt(2, 4, absl::Status(static_cast<absl::StatusCode>(ErrorCode::kOutOfMemory), ""));
  h.Generate(session, 1, 6);
  h.Run();
  EXPECT_EQ(h.events.Of(1).finished.status, static_cast<int32_t>(ErrorCode::kOutOfMemory));
  h.Generate(session, 2, 6);
  h.Run();
  EXPECT_EQ(h.TokensAfter(session, 8), h.oracle.Continue(Prompt(1, 8), 8));
}

TEST(EngineFailure, OfABatchWhoseRequestWasCancelledMeanwhileIsNotReportedTwice) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 8)), other = h.SessionOf(Prompt(2, 8));
  h.Generate(session, 1, 6);
  h.Generate(other, 2, 6);
  h.Step(0);
  h.engine->Cancel(*session, CancelEffect::kKeep);
  h.Generate(session, 3, 6);  // behind the rollback of the first
  h.simulation->FailAt(0, 1, DeviceError());
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kCancelled);
  EXPECT_EQ(h.events.Of(2).reason(), FinishReason::kError);
  EXPECT_EQ(h.events.Of(3).tokens, h.oracle.Continue(Prompt(1, 8), 6));
  ExpectBlocksConserved(*h.engine, {session, other});
}

TEST(EngineFailure, OfABatchWithAReleasedSessionGivesItsBlocksBack) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 8)), other = h.SessionOf(Prompt(2, 8));
  h.Generate(session, 1, 6);
  h.Generate(other, 2, 6);
  h.Step(0);
  h.engine->ReleaseSession(*session);
  h.simulation->FailAt(0, 1, DeviceError());
  h.Run();
  EXPECT_TRUE(session->blocks[0].empty());
  EXPECT_EQ(h.engine->GetMetrics().sessions, 1);
  ExpectBlocksConserved(*h.engine, {session, other});
}

TEST(EngineFailure, ANumericFaultEndsItsOwnRequestOnly) {
  EngineHarness h;
  constexpr int32_t kBad = 290;
  h.simulation->FaultOn(kBad);
  std::vector<int32_t> prompt = Prompt(1, 10);
  prompt.push_back(kBad);
  const std::shared_ptr<Session> session = h.SessionOf(prompt, /*logits=*/true);
  const std::shared_ptr<Session> other = h.SessionOf(Prompt(2, 10));
  h.Generate(session, 1, 6);
  h.Generate(other, 2, 6);
  h.Run();
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kError);
  EXPECT_EQ(h.events.Of(1).finished.status, static_cast<int32_t>(ErrorCode::kNumericFault));
  EXPECT_EQ(h.events.Of(1).finished.generated_tokens, 0u);
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(Prompt(2, 10), 6));
  std::vector<float> logits(kHarnessVocabulary);
  size_t count = 0;
  EXPECT_EQ(CodeOf(h.engine->CopyLogits(*session, logits.data(), logits.size(), &count)),
            ErrorCode::kWrongState);
  EXPECT_EQ(h.engine->GetMetrics().batches_failed, 0u);
  EXPECT_EQ(h.engine->GetMetrics().prompt_tokens, h.events.Of(2).finished.prompt_tokens);
  ExpectBlocksConserved(*h.engine, {session, other});

  h.Append(session, Prompt(3, 3));
  const std::vector<int32_t> tokens = h.TokensOf(session);
  h.Generate(session, 3, 4);
  h.Run();
  EXPECT_EQ(h.events.Of(3).tokens, h.oracle.Continue(tokens, 4));
}

TEST(EngineFailure, OnAThreadedEngineLeavesItWorking) {
  EngineHarness h(ThreadedOptions());
  h.simulation->FailAt(1, 2, DeviceError());
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 10));
  h.Generate(session, 1, 6);
  h.events.WaitForEnd(*h.queue, 1);
  EXPECT_EQ(h.events.Of(1).reason(), FinishReason::kError);
  h.Generate(session, 2, 6);
  h.events.WaitForEnd(*h.queue, 2);
  EXPECT_EQ(h.TokensAfter(session, 10), h.oracle.Continue(Prompt(1, 10), 7));
}

TEST(EngineFailure, ANumericFaultMakesEarlierChunksOfItsPromptCountAsNotComputed) {
  EngineOptions options = HarnessOptions();
  options.batch_tokens = 4;
  EngineHarness h(options);
  constexpr int32_t kBad = 99;
  h.simulation->FaultOn(kBad);
  std::vector<int32_t> prompt = Prompt(1, 12);
  prompt.back() = kBad;
  const std::shared_ptr<Session> session = h.SessionOf(prompt);
  h.Generate(session, 1, 6);
  h.Run();
  EXPECT_EQ(h.events.Of(1).finished.status, static_cast<int32_t>(ErrorCode::kNumericFault));
  EXPECT_EQ(session->computed, 0u) << "the first chunks may hold NaN, unseen";
  EXPECT_EQ(h.FreeBlocks(), h.TotalBlocks());
}

class LinesSink final : public LogSink {
 public:
  void Write(LogLevel level, absl::string_view message) noexcept override {
    lines.emplace_back(level, std::string(message));
  }
  std::vector<std::pair<LogLevel, std::string>> lines;
};

TEST(EngineFailure, IsWrittenToTheLog) {
  const auto sink = std::make_shared<LinesSink>();
  VirtualClock clock;
  const auto simulation = std::make_shared<Simulation>();
  simulation->FailAt(0, 3, DeviceError());
  const std::shared_ptr<Engine> engine =
      *Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(simulation), HarnessOptions(),
                      &clock, SystemMemory(), Logger(sink, LogLevel::kWarning));
  const std::shared_ptr<EventQueue> queue = *EventQueue::Create(nullptr);
  const std::shared_ptr<Session> session = *engine->CreateSession(false);
  ASSERT_TRUE(engine->Append(*session, Prompt(1, 4)).ok());
  ASSERT_TRUE(engine->Generate(session, Params(4), queue, 1).ok());
  StepStats stats;
  ASSERT_TRUE(engine->Step(-1, &stats).ok());
  ASSERT_EQ(sink->lines.size(), 1u);
  EXPECT_EQ(sink->lines[0].first, LogLevel::kError);
  EXPECT_NE(sink->lines[0].second.find("gone on purpose"), std::string::npos);
  engine->Close();
  queue->Abandon();  // its events keep the request, which keeps the queue
}

}  // namespace
}  // namespace tessera
