// A GPU engine that is interrupted: thousands of cancels, budgets that end inside a step, closes while it
// runs.
#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/gpu/api/gpu_host.h"

namespace tessera::host {
namespace {

using Clock = std::chrono::steady_clock;

class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint32_t Below(uint32_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33) % bound;
  }

 private:
  uint64_t state_;
};

Options Threaded() { return Invariant().Bool("engine.stepped", false).Int("engine.cache_tokens", 20'000); }

void ExpectAllReturned(tsr_engine* engine) {
  // What a cancel leaves in flight ends by itself.
  const Clock::time_point until = Clock::now() + std::chrono::seconds(10);
  tsr_engine_metrics metrics = Metrics(engine);
  while (metrics.blocks_free != metrics.blocks_total && Clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    metrics = Metrics(engine);
  }
  EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
  EXPECT_EQ(metrics.requests_accepted, metrics.requests_finished);
  EXPECT_EQ(metrics.requests_running + metrics.requests_queued, 0);
  EXPECT_EQ(metrics.sessions, 0);
  EXPECT_EQ(metrics.batches_failed, 0u);
}

// A session that is asked again and again, and interrupted.
struct Talker {
  Handle<tsr_session> session;
  bool running = false;      // a request of it has no terminal event yet
  bool interrupted = false;  // it was cancelled
};

// Talkers and one session beside them that nobody interrupts.
class Crowd {
 public:
  Crowd(const Host& host, tsr_engine* engine)
      : engine_(engine), queue_(host.Queue()), watched_(host.Queue()), buffer_(65536) {}

  // Begins a request of a talker who has none, or else cancels it one way or another.
  void Disturb() {
    const size_t who = dice_.Below(kTalkers);
    Talker& talker = talkers_[who];
    if (talker.running) {
      if (!talker.interrupted && dice_.Below(4) < 3) Interrupt(talker);
      return;
    }
    size_t held = 0;
    if (talker.session != nullptr) tsr_session_token_count(talker.session.get(), &held, nullptr);
    if (talker.session == nullptr || held > 700) {
      talker.session = NewSession(engine_);
      held = 0;
    }
    Append(talker.session.get(), RandomTokens(dice_.Below(1000), 1 + dice_.Below(held == 0 ? 250 : 20)));
    const Options request = Greedy(1 + dice_.Below(60));
    EXPECT_EQ(tsr_session_generate(talker.session.get(), request.get(), queue_.get(), who, nullptr, nullptr),
              TSR_STATUS_OK);
    talker.running = true;
    talker.interrupted = false;
    ++requests_;
  }

  void TakeEvents() {
    std::map<uint64_t, Answer> answers;
    Poll(queue_.get(), &answers);
    for (const auto& [tag, answer] : answers) {
      ended_ += answer.finished;
      if (answer.finished > 0) talkers_[tag].running = false;
    }
  }

  // The bystander's answer when it is complete; then it asks again.
  bool Bystander(const std::vector<int32_t>& prompt, const Options& request, Answer* answer) {
    if (bystander_ == nullptr) {
      said_.clear();
      bystander_ = NewSession(engine_);
      Append(bystander_.get(), prompt);
      EXPECT_EQ(tsr_session_generate(bystander_.get(), request.get(), watched_.get(), 0, nullptr, nullptr),
                TSR_STATUS_OK);
    }
    Poll(watched_.get(), &said_);
    if (said_[0].finished == 0) return false;
    *answer = said_[0];
    bystander_.reset();
    return true;
  }

  void ReleaseAll() {
    for (Talker& talker : talkers_) talker.session.reset();
    bystander_.reset();
  }

  Dice& dice() { return dice_; }
  int cancels() const { return cancels_; }
  int requests() const { return requests_; }
  int ended() const { return ended_; }

 private:
  static constexpr size_t kTalkers = 48;

  void Interrupt(Talker& talker) {
    const uint32_t how = dice_.Below(3);
    if (how == 2) {
      talker.session.reset();
    } else {
      EXPECT_EQ(
          tsr_session_cancel(talker.session.get(), how == 0 ? TSR_CANCEL_KEEP : TSR_CANCEL_DROP, nullptr),
          TSR_STATUS_OK);
    }
    talker.interrupted = true;
    ++cancels_;
  }

  void Poll(tsr_queue* queue, std::map<uint64_t, Answer>* answers) {
    size_t used = 0;
    EXPECT_EQ(tsr_queue_poll(queue, 0, buffer_.data(), buffer_.size() * 8, &used, nullptr), TSR_STATUS_OK);
    Collect(buffer_.data(), used, answers);
  }

  tsr_engine* const engine_;
  const Handle<tsr_queue> queue_, watched_;
  std::vector<Talker> talkers_{kTalkers};
  Handle<tsr_session> bystander_;
  std::map<uint64_t, Answer> said_;
  std::vector<uint64_t> buffer_;
  Dice dice_{4};
  int cancels_ = 0, requests_ = 0, ended_ = 0;
};

// As many as fit in 15 seconds; a GPU manages all.
TEST_F(GpuApi, TenThousandRandomCancelsReturnEveryBlockAndChangeNoAnswer) {
  const Host host(MakeTinyModel(SmallModel()), OnGpu());
  const Handle<tsr_engine> engine = host.Engine(Threaded());
  const std::vector<int32_t> prompt = RandomTokens(9, 120);
  const Options request = Greedy(200);
  const Answer expected = AnswerAll(host, engine.get(), {prompt}, request).front();
  const Clock::time_point until = Clock::now() + std::chrono::seconds(15);
  Crowd crowd(host, engine.get());
  int undisturbed = 0;
  while (crowd.cancels() < 10'000 && Clock::now() < until && !HasFailure()) {
    for (int i = 0; i < 16; ++i) crowd.Disturb();
    crowd.TakeEvents();
    Answer answer;
    if (crowd.Bystander(prompt, request, &answer)) {
      ExpectSameAnswers({answer}, {expected}, "the bystander");
      ++undisturbed;
    }
    // So that cancels find requests at every stage, most of them after some steps.
    std::this_thread::sleep_for(std::chrono::microseconds(crowd.dice().Below(4000)));
  }
  crowd.ReleaseAll();
  while (crowd.ended() < crowd.requests() && Clock::now() < until + std::chrono::seconds(10))
    crowd.TakeEvents();

  EXPECT_EQ(crowd.ended(), crowd.requests());
  EXPECT_GT(crowd.cancels(), 500);
  EXPECT_GT(undisturbed, 0);
  ExpectAllReturned(engine.get());
  ExpectSameAnswers(AnswerAll(host, engine.get(), {prompt}, request), {expected}, "afterwards");
  std::printf("%d cancels of %d requests; %d undisturbed answers\n", crowd.cancels(), crowd.requests(),
              undisturbed);
}

// Bounds of times here are a hundred times what is expected: they catch a wait without end, and measure
// nothing.
TEST_F(GpuApi, SteppedEnginesComeBackWhenTheirBudgetEndsAndGoOnLater) {
  TinyModelOptions large = SmallModel();
  large.hidden = 1024;
  large.heads = 16;
  large.kv_heads = 4;
  large.feed_forward = 2048;
  large.layers = 6;
  large.context_tokens = 16384;
  const Host host(MakeTinyModel(large), OnGpu());
  const Options settings = Invariant().Int("engine.batch_tokens", 4096).Int("engine.cache_tokens", 40'000);
  const Handle<tsr_engine> engine = host.Engine(settings);
  const std::vector<std::vector<int32_t>> prompts = {RandomTokens(1, 9000), RandomTokens(2, 30)};
  const std::vector<Answer> expected = AnswerEach(host, engine.get(), prompts, Greedy(20));

  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  for (size_t i = 0; i < prompts.size(); ++i) {
    sessions.push_back(NewSession(engine.get()));
    Append(sessions.back().get(), prompts[i]);
    ASSERT_EQ(tsr_session_generate(sessions.back().get(), Greedy(20).get(), queue.get(), i, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  std::map<uint64_t, Answer> answers;
  std::vector<uint64_t> buffer(8192);
  int steps = 0, unfinished = 0;
  int64_t longest_ns = 0;
  while (answers[0].finished + answers[1].finished < 2 && ++steps < 200'000) {
    const int64_t budget_ns = steps % 3 == 0 ? 0 : 100'000;
    tsr_step_stats stats = {};
    stats.struct_size = sizeof(stats);
    const Clock::time_point start = Clock::now();
    ASSERT_EQ(tsr_engine_step(engine.get(), budget_ns, &stats, nullptr), TSR_STATUS_OK);
    longest_ns = std::max<int64_t>(longest_ns, (Clock::now() - start) / std::chrono::nanoseconds(1));
    unfinished += stats.work_left != 0 && stats.prompt_tokens + stats.generated_tokens == 0 ? 1 : 0;
    size_t used = 0;
    ASSERT_EQ(tsr_queue_poll(queue.get(), 0, buffer.data(), buffer.size() * 8, &used, nullptr),
              TSR_STATUS_OK);
    Collect(buffer.data(), used, &answers);
  }
  ExpectSameAnswers({answers[0], answers[1]}, expected, "in pieces and at once");
  EXPECT_GT(unfinished, 0) << "no budget ended inside a step";
  EXPECT_LT(longest_ns, 100'000'000);
  std::printf("%d steps, %d ended inside a batch, the longest took %.3f ms\n", steps, unfinished,
              static_cast<double>(longest_ns) * 1e-6);
}

TEST_F(GpuApi, ACloseWhileItRunsEndsEveryRequestOnceAndLeavesTheModelUsable) {
  const Host host(MakeTinyModel(SmallModel()), OnGpu());
  const Handle<tsr_engine> lasting = host.Engine(Threaded());
  const std::vector<std::vector<int32_t>> prompt = {RandomTokens(1, 40)};
  const std::vector<Answer> expected = AnswerAll(host, lasting.get(), prompt, Greedy(50));
  Dice dice(7);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    Handle<tsr_engine> engine = host.Engine(Threaded());
    const Handle<tsr_queue> queue = host.Queue();
    std::vector<Handle<tsr_session>> sessions;
    for (uint64_t i = 0; i < 64; ++i) {
      sessions.push_back(NewSession(engine.get()));
      Append(sessions.back().get(), RandomTokens(i, 1 + 3 * i));
      ASSERT_EQ(
          tsr_session_generate(sessions.back().get(), Greedy(400).get(), queue.get(), i, nullptr, nullptr),
          TSR_STATUS_OK);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(dice.Below(6000)));
    if (round % 3 == 0) {
      std::thread closer([&] { EXPECT_EQ(tsr_engine_close(engine.get(), nullptr), TSR_STATUS_OK); });
      EXPECT_EQ(tsr_engine_close(engine.get(), nullptr), TSR_STATUS_OK);
      closer.join();
    } else if (round % 3 == 1) {
      ASSERT_EQ(tsr_engine_close(engine.get(), nullptr), TSR_STATUS_OK);
    } else {
      engine.reset();    // its sessions hold it
      sessions.clear();  // the last one closes it
    }
    std::map<uint64_t, Answer> answers;
    std::vector<uint64_t> buffer(65536);
    for (size_t used = 1; used > 0;) {
      ASSERT_EQ(tsr_queue_poll(queue.get(), 0, buffer.data(), buffer.size() * 8, &used, nullptr),
                TSR_STATUS_OK);
      Collect(buffer.data(), used, &answers);
    }
    ASSERT_EQ(answers.size(), 64u);
    for (const auto& [tag, answer] : answers) {
      EXPECT_EQ(answer.finished, 1) << tag;
      const int32_t reason = answer.end.reason;
      EXPECT_TRUE(reason == TSR_FINISH_CLOSED || reason == TSR_FINISH_CANCELLED ||
                  reason == TSR_FINISH_LENGTH)
          << tag << ": " << reason;
    }
    ExpectSameAnswers(AnswerAll(host, lasting.get(), prompt, Greedy(50)), expected, "the other engine");
  }
  // A runtime that is closed while its GPU computes.
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> session = NewSession(lasting.get());
  Append(session.get(), prompt[0]);
  ASSERT_EQ(tsr_session_generate(session.get(), Greedy(900).get(), queue.get(), 0, nullptr, nullptr),
            TSR_STATUS_OK);
  ASSERT_EQ(tsr_runtime_close(host.runtime(), nullptr), TSR_STATUS_OK);
  EXPECT_EQ(tsr_session_append_tokens(session.get(), prompt[0].data(), 1, nullptr), TSR_STATUS_CLOSED);
}

}  // namespace
}  // namespace tessera::host
