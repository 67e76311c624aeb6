// The loop on one of several ranks: what it brings to which exchange, and how every end of a step is told to
// the others at the next one. The other ranks are a script.
#include <gtest/gtest.h>

#include <new>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/execute/loop.h"

namespace tessera {
namespace {

struct Met {
  CollectiveTag tag;
  RankSignal signal = RankSignal::kGo;
  std::string mine;
};

// Three ranks; the others bring "a" and "bc", and what the script says of the exchange.
class ScriptedRanks final : public Communicator {
 public:
  int32_t rank() const noexcept override { return 0; }
  int32_t size() const noexcept override { return 3; }
  absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                      absl::Span<const uint8_t> mine,
                                      absl::Span<absl::Span<const uint8_t>> all) noexcept override {
    met.push_back({tag, signal, std::string(mine.begin(), mine.end())});
    if (static_cast<int>(met.size()) - 1 == lost_at) {
      return Error(ErrorCode::kDeadlineExceeded, "rank 2", "it is late");
    }
    own_.assign(mine.begin(), mine.end());
    all[0] = own_;
    all[1] = one_;
    all[2] = two_;
    const bool theirs = static_cast<int>(met.size()) - 1 == signal_at;
    return std::max(signal, theirs ? others : RankSignal::kGo);
  }
  absl::Status Send(const CollectiveTag&, int32_t, absl::Span<const uint8_t>) noexcept override {
    return Internal("script", "nobody sends");
  }
  absl::StatusOr<size_t> Receive(const CollectiveTag&, int32_t, absl::Span<uint8_t>) noexcept override {
    return Internal("script", "nobody receives");
  }
  void Abort() noexcept override {}

  std::vector<Met> met;
  int lost_at = -1;    // this exchange fails
  int signal_at = -1;  // in this one another rank brings `others`
  RankSignal others = RankSignal::kGo;

 private:
  std::vector<uint8_t> own_;
  const std::vector<uint8_t> one_ = {'a'}, two_ = {'b', 'c'};
};

// Asks for an exchange in each region that has one, unless it computes everything everywhere.
class AskingContext final : public BackendContext {
 public:
  absl::Status Execute(const Region&, const RegionWeights&, const StepView&) noexcept override {
    return Internal("context", "it runs in slices");
  }
  absl::Status ExecuteSlice(const Region& region, const RegionWeights&, const StepView&, PauseSource& pause,
                            RegionProgress* progress) noexcept override {
    if (region_ == fail_at && progress->exchange == fail_in) {
      return Error(ErrorCode::kOutOfMemory, "context", "on purpose");
    }
    if (asks && Exchanges(region) != (region_ == wrong_at) && progress->exchange == ExchangeState::kNone) {
      const std::string name = std::to_string(region_) + "/" + std::to_string(progress->turn);
      outgoing_.assign(name.begin(), name.end());
      progress->outgoing = outgoing_;
      progress->exchange = ExchangeState::kWanted;
      return absl::OkStatus();
    }
    if (progress->exchange == ExchangeState::kDone) {
      EXPECT_EQ(progress->incoming.size(), 3u);
      EXPECT_EQ(progress->incoming[0].size(), outgoing_.size());
      EXPECT_EQ(progress->incoming[2][1], 'c');
      if (pause.ShouldPause() && progress->phase++ == 0) return absl::OkStatus();  // left behind it
    }
    progress->done = true;
    ++region_;
    return absl::OkStatus();
  }
  absl::Status CopyBlocks(const StepView&) noexcept override {
    ++copies;
    region_ = 0;
    return absl::OkStatus();
  }

  bool asks = true;
  int fail_at = -1;
  ExchangeState fail_in = ExchangeState::kNone;
  int wrong_at = -1;  // asks in this region where it must not
  int copies = 0;

 private:
  int region_ = 0;
  std::vector<uint8_t> outgoing_;
};

class NoWeights final : public Residency {
 public:
  absl::StatusOr<WeightView> Acquire(TensorId) const override {
    if (--left == 0) throw std::bad_alloc();
    return WeightView{};
  }
  void Release(TensorId) const noexcept override {}
  mutable int left = 0;  // calls until memory runs out; 0: it does not
};

class Condition final : public StopCondition {
 public:
  explicit Condition(int stops = 0, bool pause = false) : left_(stops), pause_(pause) {}
  bool ShouldStop() noexcept override { return left_-- > 0; }
  bool ShouldPause() noexcept override { return pause_; }

 private:
  int left_;
  const bool pause_;
};

class LoopRanks : public testing::Test {
 protected:
  // Two layers: regions 0 embed, 3 and 8 output, 5 and 10 down, 12 sample exchange.
  static ModelSpec Spec() {
    ModelSpec spec;
    spec.layers.resize(2);
    return spec;
  }
  absl::StatusOr<bool> Run(int stops = 0, bool pause = false) {
    Condition condition(stops, pause);
    return loop_.Run(condition);
  }
  std::string Brought() const {
    std::string all;
    for (const Met& met : ranks_.met) all += met.mine + " ";
    return all;
  }

  const ModelSpec spec_ = Spec();
  NoWeights weights_;
  AskingContext context_;
  ScriptedRanks ranks_;
  RegionLoop loop_{&spec_, &weights_, &context_, &ranks_};
  StepView step_;
};

TEST_F(LoopRanks, MeetOnceInEachRegionThatExchangesByTurnsAndTagged) {
  loop_.Begin(&step_, {4, 9, 100});
  ASSERT_TRUE(*Run());
  EXPECT_EQ(Brought(), "0/0 3/1 5/0 8/1 10/0 12/1 ");
  for (size_t i = 0; i < ranks_.met.size(); ++i) {
    EXPECT_EQ(ranks_.met[i].tag.epoch, 4u);
    EXPECT_EQ(ranks_.met[i].tag.step, 9u);
    EXPECT_EQ(ranks_.met[i].tag.operation, 100 + i);
    EXPECT_EQ(ranks_.met[i].signal, RankSignal::kGo);
  }
}

TEST_F(LoopRanks, TurnsGoOnThroughStepsThatEndEarly) {
  loop_.Begin(&step_);
  ASSERT_FALSE(*Run(1));  // behind embed
  ASSERT_TRUE(loop_.Abandon().ok());
  loop_.Begin(&step_);
  ASSERT_FALSE(*Run(1));
  ASSERT_TRUE(loop_.Abandon().ok());
  EXPECT_EQ(Brought(), "0/0  0/0  ");  // two exchanges each
  EXPECT_EQ(ranks_.met[1].signal, RankSignal::kAbandon);
  EXPECT_EQ(ranks_.met[1].tag.operation, 1u);
  loop_.Begin(&step_);
  ranks_.signal_at = 4;
  ranks_.others = RankSignal::kFailed;
  EXPECT_FALSE(Run().ok());
  loop_.Begin(&step_);
  ASSERT_FALSE(*Run(1));
  EXPECT_EQ(ranks_.met.back().mine, "0/1");
}

TEST_F(LoopRanks, ABackendThatComputesEverythingMeetsThemAllTheSame) {
  context_.asks = false;
  loop_.Begin(&step_);
  ASSERT_TRUE(*Run());
  EXPECT_EQ(Brought(), "      ");
}

TEST_F(LoopRanks, LeftAnywhereTheyExchangeOnceAndCopyOnce) {
  loop_.Begin(&step_);
  for (absl::StatusOr<bool> done = false; !*done;) {
    done = Run(1, true);
    ASSERT_TRUE(done.ok());
  }
  EXPECT_EQ(Brought(), "0/0 3/1 5/0 8/1 10/0 12/1 ");
  EXPECT_EQ(context_.copies, 1);
}

TEST_F(LoopRanks, AFailureIsBroughtToTheNextExchange) {
  const int next[] = {0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5};  // of each region
  for (int region = 0; region < 13; ++region) {
    ranks_.met.clear();
    context_.fail_at = region;
    loop_.Begin(&step_);
    EXPECT_EQ(CodeOf(Run().status()), ErrorCode::kOutOfMemory);
    ASSERT_EQ(ranks_.met.size(), static_cast<size_t>(next[region]) + 1) << region;
    EXPECT_EQ(ranks_.met.back().signal, RankSignal::kFailed);
    EXPECT_EQ(ranks_.met.back().mine, "");
    EXPECT_TRUE(loop_.Abandon().ok());  // it is over: nobody is told twice
    EXPECT_EQ(ranks_.met.size(), static_cast<size_t>(next[region]) + 1);
  }
}

TEST_F(LoopRanks, AFailureBehindTheLastExchangeIsItsOwn) {
  context_.fail_at = 12;
  context_.fail_in = ExchangeState::kDone;
  loop_.Begin(&step_);
  EXPECT_EQ(CodeOf(Run().status()), ErrorCode::kOutOfMemory);
  EXPECT_EQ(ranks_.met.size(), 6u);
  EXPECT_EQ(ranks_.met.back().signal, RankSignal::kGo);
}

TEST_F(LoopRanks, MemoryThatRunsOutIsBroughtToo) {
  weights_.left = 4;
  loop_.Begin(&step_);
  EXPECT_THROW((void)Run(), std::bad_alloc);
  EXPECT_EQ(ranks_.met.back().signal, RankSignal::kFailed);
}

TEST_F(LoopRanks, WhatOthersBringEndsTheStepHere) {
  for (const RankSignal signal : {RankSignal::kAbandon, RankSignal::kFailed}) {
    for (int exchange = 0; exchange < 6; ++exchange) {
      ranks_.met.clear();
      ranks_.signal_at = exchange;
      ranks_.others = signal;
      loop_.Begin(&step_);
      EXPECT_EQ(CodeOf(Run().status()),
                signal == RankSignal::kAbandon ? ErrorCode::kCancelled : ErrorCode::kLost);
      EXPECT_EQ(ranks_.met.size(), static_cast<size_t>(exchange) + 1);
      EXPECT_TRUE(loop_.Abandon().ok());
      EXPECT_EQ(ranks_.met.size(), static_cast<size_t>(exchange) + 1);
    }
  }
}

TEST_F(LoopRanks, AnExchangeThatFailsIsTheStepsError) {
  ranks_.lost_at = 2;
  loop_.Begin(&step_);
  EXPECT_EQ(CodeOf(Run().status()), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(ranks_.met.size(), 3u);  // it is not used again
}

TEST_F(LoopRanks, AnExchangeThatTheListDoesNotHaveIsADefect) {
  context_.wrong_at = 1;
  loop_.Begin(&step_);
  EXPECT_EQ(CodeOf(Run().status()), ErrorCode::kInternal);
  EXPECT_EQ(ranks_.met.back().signal, RankSignal::kFailed);
  RegionLoop alone(&spec_, &weights_, &context_);
  alone.Begin(&step_);
  Condition never;
  EXPECT_EQ(CodeOf(alone.Run(never).status()), ErrorCode::kInternal);
}

TEST_F(LoopRanks, AbandonedBehindItsLastExchangeAStepNeedsNone) {
  loop_.Begin(&step_);
  ASSERT_TRUE(*Run());
  EXPECT_TRUE(loop_.Abandon().ok());
  EXPECT_EQ(ranks_.met.size(), 6u);
}

}  // namespace
}  // namespace tessera
