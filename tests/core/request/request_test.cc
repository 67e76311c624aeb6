// A request's end: what its terminal event says, once.
#include "core/request/request.h"

#include <gtest/gtest.h>

#include "tests/doubles/event_reader.h"

namespace tessera {
namespace {

class RequestTest : public testing::Test {
 protected:
  std::shared_ptr<Request> Make(RequestParams params = {}) {
    auto request = std::make_shared<Request>(7, 70, std::move(params), queue_, 8);
    request->submitted_ns = 100;
    return request;
  }
  const FinishedRecord& Finished() {
    events_.Drain(*queue_);
    EXPECT_EQ(events_.Of(7).terminals, 1);
    return events_.Of(7).finished;
  }

  std::shared_ptr<EventQueue> queue_ = *EventQueue::Create(nullptr);
  EventReader events_;
};

TEST_F(RequestTest, ItsTimesAddUpFromSubmissionToItsEnd) {
  const auto request = Make();
  request->started_ns = 130;
  request->first_token_ns = 170;
  request->prompt_tokens = 5;
  request->generated_tokens = 3;
  request->last_token = 42;
  EXPECT_TRUE(request->Finish(FinishReason::kEnd, 0, "", true, 250));
  const FinishedRecord& finished = Finished();
  EXPECT_EQ(finished.queued_ns, 30);
  EXPECT_EQ(finished.prompt_ns, 40);
  EXPECT_EQ(finished.decode_ns, 80);
  EXPECT_EQ(finished.request, 70u);
  EXPECT_EQ(finished.reason, static_cast<int32_t>(FinishReason::kEnd));
  EXPECT_EQ(finished.prompt_tokens, 5u);
  EXPECT_EQ(finished.generated_tokens, 3u);
  EXPECT_EQ(finished.last_token, 42);
}

TEST_F(RequestTest, ThatNeverBeganWasQueuedAllTheTime) {
  Make()->Finish(FinishReason::kCancelled, 1, "", true, 250);
  EXPECT_EQ(Finished().queued_ns, 150);
  EXPECT_EQ(Finished().prompt_ns, 0);
  EXPECT_EQ(Finished().decode_ns, 0);
  EXPECT_EQ(Finished().last_token, -1);
}

TEST_F(RequestTest, ThatEndedInItsPromptDecodedForNoTime) {
  const auto request = Make();
  request->started_ns = 130;
  request->Finish(FinishReason::kDeadline, 4, "", true, 250);
  EXPECT_EQ(Finished().queued_ns, 30);
  EXPECT_EQ(Finished().prompt_ns, 120);
  EXPECT_EQ(Finished().decode_ns, 0);
}

TEST_F(RequestTest, EndsOnce) {
  const auto request = Make();
  EXPECT_TRUE(request->Finish(FinishReason::kError, 38, "the device is gone", true, 200));
  EXPECT_FALSE(request->Finish(FinishReason::kEnd, 0, "", true, 300));
  EXPECT_EQ(Finished().status, 38);
  EXPECT_EQ(events_.Of(7).message, "the device is gone");
}

TEST_F(RequestTest, FlushesTheTextHeldBackBeforeItsTerminalEvent) {
  for (const bool flush : {true, false}) {
    queue_ = *EventQueue::Create(nullptr);
    events_ = EventReader();
    RequestParams params;
    params.stop = {"abc"};
    const auto request = Make(params);
    EXPECT_EQ(request->text.Push("xab"), "x");
    EXPECT_TRUE(request->Finish(FinishReason::kLength, 0, "", flush, 200));
    Finished();
    EXPECT_EQ(events_.Of(7).text, flush ? "ab" : "");
    EXPECT_TRUE(events_.Of(7).tokens.empty());
  }
}

TEST_F(RequestTest, ReservesItsHistoryOnlyWherePenaltiesLookAtIt) {
  RequestParams params;
  EXPECT_EQ(Make(params)->history.capacity(), 0u);
  params.sampling.penalty_window_tokens = 20;
  params.sampling.repetition_penalty = 1.1f;
  EXPECT_EQ(Make(params)->history.capacity(), 20u);
  params.sampling.penalty_window_tokens = 0;
  EXPECT_EQ(Make(params)->history.capacity(), 0u);
}

}  // namespace
}  // namespace tessera
