// A cancel at any moment: between any two regions of a step the request ends, its blocks come back, and the
// session goes on as if nothing had been there.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

constexpr int64_t kTokens = 6;
const char kPrompt[] = "the other hello in the world of words and of words";

Options EngineOptions() {
  return Options()
      .Bool("engine.stepped", true)
      .Int("engine.threads", 1)
      .Int("engine.cache_tokens", 512)
      .Int("engine.batch_tokens", 8);  // the prompt comes in several chunks
}

Options Greedy(int64_t tokens = kTokens) {
  return Options()
      .Int("request.max_tokens", tokens)
      .Bool("request.ignore_end", true)
      .Int("request.top_logprobs", 0);
}

tsr_engine_metrics Metrics(tsr_engine* engine) {
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  EXPECT_EQ(tsr_engine_get_metrics(engine, &metrics, nullptr), TSR_STATUS_OK);
  return metrics;
}

size_t TokenCount(tsr_session* session) {
  size_t count = 0;
  EXPECT_EQ(tsr_session_token_count(session, &count, nullptr), TSR_STATUS_OK);
  return count;
}

class Cancel : public testing::Test {
 protected:
  Cancel() : host_(MakeTinyModel()), engine_(host_.Engine(EngineOptions())), queue_(host_.Queue()) {
    const Handle<tsr_session> session = Fresh();
    reference_ = Generate(session.get(), engine_.get(), queue_.get(), Greedy());
    EXPECT_EQ(reference_.tokens.size(), static_cast<size_t>(kTokens));
  }

  Handle<tsr_session> Fresh() {
    Handle<tsr_session> session = NewSession(engine_.get());
    Append(session.get(), kPrompt);
    prompt_tokens_ = TokenCount(session.get());
    return session;
  }

  // Computes `regions` regions of a request, then cancels. False: it ended before.
  bool CancelAfter(int regions, tsr_session* session, int32_t effect, Answer* answer) {
    EXPECT_EQ(tsr_session_generate(session, Greedy().get(), queue_.get(), 1, nullptr, nullptr),
              TSR_STATUS_OK);
    for (int i = 0; i < regions; ++i) {
      EXPECT_EQ(tsr_engine_step(engine_.get(), 0, nullptr, nullptr), TSR_STATUS_OK);
    }
    EXPECT_EQ(tsr_session_cancel(session, effect, nullptr), TSR_STATUS_OK);
    // The terminal event is there at once: one poll that does not wait.
    uint64_t buffer[1024];
    size_t used = 0;
    EXPECT_EQ(tsr_queue_poll(queue_.get(), 0, buffer, sizeof(buffer), &used, nullptr), TSR_STATUS_OK);
    std::map<uint64_t, Answer> answers;
    Collect(buffer, used, &answers);
    *answer = answers[1];
    EXPECT_EQ(answer->finished, 1);
    return answer->end.reason == TSR_FINISH_CANCELLED;
  }

  void FinishBatch() { EXPECT_EQ(tsr_engine_step(engine_.get(), -1, nullptr, nullptr), TSR_STATUS_OK); }

  void ExpectAllBlocksFree() {
    const tsr_engine_metrics metrics = Metrics(engine_.get());
    EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
    EXPECT_EQ(metrics.sessions, 0);
  }

  const Host host_;
  const Handle<tsr_engine> engine_;
  const Handle<tsr_queue> queue_;
  Answer reference_;
  size_t prompt_tokens_ = 0;
};

TEST_F(Cancel, WithDropAfterAnyRegionLeavesTheSessionAsItWas) {
  int regions = 0;
  for (bool cancelled = true; cancelled; ++regions) {
    SCOPED_TRACE(regions);
    Handle<tsr_session> session = Fresh();
    Answer answer;
    cancelled = CancelAfter(regions, session.get(), TSR_CANCEL_DROP, &answer);
    if (cancelled) {
      EXPECT_EQ(TokenCount(session.get()), prompt_tokens_);
      const Answer again = Generate(session.get(), engine_.get(), queue_.get(), Greedy());
      EXPECT_EQ(again.tokens, reference_.tokens);
      EXPECT_EQ(again.logprobs, reference_.logprobs);
    }
    session.reset();
    FinishBatch();
    ExpectAllBlocksFree();
    if (HasFailure()) return;
  }
  EXPECT_GT(regions, 50) << "too few regions to prove anything";
}

TEST_F(Cancel, WithKeepAfterAnyRegionGoesOnWhereItStopped) {
  for (int regions = 0;; ++regions) {
    SCOPED_TRACE(regions);
    Handle<tsr_session> session = Fresh();
    Answer first;
    if (!CancelAfter(regions, session.get(), TSR_CANCEL_KEEP, &first)) return;
    const int64_t kept = static_cast<int64_t>(first.tokens.size());
    EXPECT_EQ(TokenCount(session.get()), prompt_tokens_ + first.tokens.size());
    EXPECT_EQ(first.end.generated_tokens, first.tokens.size());
    const Answer rest = Generate(session.get(), engine_.get(), queue_.get(), Greedy(kTokens - kept));
    std::vector<int32_t> tokens = first.tokens;
    tokens.insert(tokens.end(), rest.tokens.begin(), rest.tokens.end());
    std::vector<float> logprobs = first.logprobs;
    logprobs.insert(logprobs.end(), rest.logprobs.begin(), rest.logprobs.end());
    EXPECT_EQ(tokens, reference_.tokens);
    EXPECT_EQ(logprobs, reference_.logprobs);
    session.reset();
    FinishBatch();
    ExpectAllBlocksFree();
    if (HasFailure()) return;
  }
}

// The rows of a cancelled or released neighbour are void; what stands beside them in the batch comes out the
// same.
TEST_F(Cancel, OfANeighbourInMidBatchChangesNoBit) {
  for (int regions = 0; regions < 60; ++regions) {
    SCOPED_TRACE(regions);
    Handle<tsr_session> session = Fresh();
    Handle<tsr_session> neighbour = Fresh();
    for (const auto& [handle, tag] : {std::pair(session.get(), 1), std::pair(neighbour.get(), 2)}) {
      ASSERT_EQ(tsr_session_generate(handle, Greedy().get(), queue_.get(), static_cast<uint64_t>(tag),
                                     nullptr, nullptr),
                TSR_STATUS_OK);
    }
    for (int i = 0; i < regions; ++i) {
      ASSERT_EQ(tsr_engine_step(engine_.get(), 0, nullptr, nullptr), TSR_STATUS_OK);
    }
    if (regions % 2 == 0) {
      neighbour.reset();
    } else {
      ASSERT_EQ(tsr_session_cancel(neighbour.get(), TSR_CANCEL_DROP, nullptr), TSR_STATUS_OK);
    }
    std::map<uint64_t, Answer> answers = Finish(queue_.get(), engine_.get(), 2);
    EXPECT_EQ(answers[1].tokens, reference_.tokens);
    EXPECT_EQ(answers[1].logprobs, reference_.logprobs);
    session.reset();
    neighbour.reset();
    FinishBatch();
    ExpectAllBlocksFree();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace tessera::host
