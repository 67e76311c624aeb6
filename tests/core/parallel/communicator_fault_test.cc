// A fault of each kind at each operation of each rank of a small program: every rank comes to an end, knows
// that something is wrong when something is, and none hangs.
#include "core/parallel/thread_communicator.h"
#include "tests/core/parallel/communicator_suite.h"
#include "tests/doubles/scripted_communicator.h"

namespace tessera {
namespace {

constexpr int32_t kRanks = 3;
constexpr int64_t kOperations = 6;  // of each rank

struct Outcome {
  absl::Status status;
  RankSignal signal = RankSignal::kGo;
  uint32_t left_at = 0;  // the operation after which it stopped
};

// A step as an engine would make one: a vote, a ring of messages, a reduction of equal parts, a closing vote.
// Whoever meets an error aborts; a signal makes all leave at the same place.
Outcome RunStep(Communicator& self, int32_t rank) {
  Outcome outcome;
  std::vector<absl::Span<const uint8_t>> all(kRanks);
  std::vector<uint8_t> parts[2] = {Pattern(rank, 0, 40), Pattern(rank, 1, 40)};
  const auto stop = [&](absl::Status status) {
    self.Abort();
    outcome.status = std::move(status);
    return outcome;
  };
  for (uint32_t operation = 0; operation < kOperations; ++operation) {
    const CollectiveTag tag = {1, 5, operation};
    const int32_t next = (rank + 1) % kRanks, last = (rank + kRanks - 1) % kRanks;
    outcome.left_at = operation;
    if (operation == 2) {
      if (const absl::Status sent = self.Send(tag, next, Pattern(rank, 2, 30)); !sent.ok()) return stop(sent);
      continue;
    }
    if (operation == 3) {
      std::vector<uint8_t> buffer(30);
      const auto got = self.Receive({1, 5, 2}, last, absl::MakeSpan(buffer));
      if (!got.ok()) return stop(got.status());
      if (*got != buffer.size()) return stop(Internal("step", absl::StrCat("a message of ", *got, " bytes")));
      EXPECT_EQ(buffer, Pattern(last, 2, 30));
      continue;
    }
    const auto signal = self.Exchange(tag, RankSignal::kGo, parts[operation % 2], absl::MakeSpan(all));
    if (!signal.ok()) return stop(signal.status());
    outcome.signal = *signal;
    if (*signal != RankSignal::kGo) return outcome;
    for (const absl::Span<const uint8_t> part : all) {
      if (part.size() != 40) return stop(Internal("step", absl::StrCat("a part of ", part.size(), " bytes")));
    }
  }
  return outcome;
}

bool IsExchange(int64_t operation) { return operation != 2 && operation != 3; }

struct Group {
  Group() {
    absl::StatusOr<Ranks> inner = ThreadGroup::Create(kRanks);
    EXPECT_TRUE(inner.ok());
    for (std::unique_ptr<Communicator>& rank : *inner) {
      ranks.push_back(std::make_unique<ScriptedCommunicator>(std::move(rank)));
    }
  }
  ScriptedCommunicator& At(int32_t rank) { return static_cast<ScriptedCommunicator&>(*ranks[rank]); }
  // `meanwhile` runs on a thread of its own.
  template <typename Function>
  std::vector<Outcome> Run(Function meanwhile) {
    std::vector<Outcome> outcomes(kRanks);
    std::thread other(meanwhile);
    OnEachRank(ranks, [&](Communicator& self, int32_t rank) { outcomes[rank] = RunStep(self, rank); });
    other.join();
    return outcomes;
  }
  Ranks ranks;
};

void Nothing() {}

class FaultAt : public testing::TestWithParam<std::tuple<int32_t, int64_t>> {
 protected:
  const int32_t rank_ = std::get<0>(GetParam());
  const int64_t operation_ = std::get<1>(GetParam());
  Group group_;

  void ExpectAllFailed(const std::vector<Outcome>& outcomes) {
    for (int32_t rank = 0; rank < kRanks; ++rank) {
      // A rank that had its last contribution in before the fault need not hear of it.
      if (operation_ == kOperations - 1 && rank != rank_ && outcomes[rank].left_at == kOperations - 1)
        continue;
      EXPECT_FALSE(outcomes[rank].status.ok()) << "rank " << rank;
    }
    EXPECT_FALSE(outcomes[rank_].status.ok());
  }
};

TEST_P(FaultAt, AnErrorOfOneEndsAll) {
  group_.At(rank_).At(operation_, CommunicatorFault::Fails(Error(ErrorCode::kLost, "script", "no more")));
  const std::vector<Outcome> outcomes = group_.Run(Nothing);
  for (const Outcome& outcome : outcomes) EXPECT_FALSE(outcome.status.ok());
  EXPECT_EQ(CodeOf(outcomes[rank_].status), ErrorCode::kLost);
  EXPECT_EQ(outcomes[rank_].left_at, operation_);
}

TEST_P(FaultAt, AHangOfOneEndsForAllWhenAnybodyAborts) {
  group_.At(rank_).At(operation_, CommunicatorFault::Hangs());
  const std::vector<Outcome> outcomes = group_.Run([&] {
    while (group_.At(rank_).held() == 0) std::this_thread::yield();
    // A peer's abort reaches the group, not one that hangs outside it: that one its own host must end.
    group_.ranks[(rank_ + 1) % kRanks]->Abort();
    group_.At(rank_).Release();
  });
  for (const Outcome& outcome : outcomes) EXPECT_FALSE(outcome.status.ok());
}

TEST_P(FaultAt, ALateRankIsWaitedForAndAllGoOn) {
  const auto gate = std::make_shared<Gate>();
  group_.At(rank_).At(operation_, CommunicatorFault::Waits(gate));
  const std::vector<Outcome> outcomes = group_.Run([&] {
    while (group_.At(rank_).held() == 0) std::this_thread::yield();
    gate->Open();
  });
  for (const Outcome& outcome : outcomes) EXPECT_TRUE(outcome.status.ok()) << outcome.status;
}

TEST_P(FaultAt, ALateRankThatAbortsEndsAll) {
  group_.At(rank_).At(operation_, CommunicatorFault::Waits(std::make_shared<Gate>()));
  const std::vector<Outcome> outcomes = group_.Run([&] {
    while (group_.At(rank_).held() == 0) std::this_thread::yield();
    group_.At(rank_).Abort();
  });
  for (const Outcome& outcome : outcomes) EXPECT_FALSE(outcome.status.ok());
}

TEST_P(FaultAt, AWrongSizeIsSeenByWhoeverReadsItAndEndsAll) {
  for (const int64_t delta : {-1, 1, -1000}) {
    if (operation_ == 3 && delta > 0) continue;  // what is received cannot be said to be more than fits
    Group group;
    group.At(rank_).At(operation_, CommunicatorFault::Resizes(delta));
    const std::vector<Outcome> outcomes = group.Run(Nothing);
    const int32_t reader = operation_ == 2 ? (rank_ + 1) % kRanks : rank_;
    EXPECT_FALSE(outcomes[reader].status.ok());
    for (const Outcome& outcome : outcomes) EXPECT_FALSE(outcome.status.ok()) << delta;
  }
}

TEST_P(FaultAt, AWrongTagIsSeenAndEndsAll) {
  group_.At(rank_).At(operation_, CommunicatorFault::Mistags());
  const std::vector<Outcome> outcomes = group_.Run(Nothing);
  for (const Outcome& outcome : outcomes) {
    ASSERT_FALSE(outcome.status.ok());
    EXPECT_THAT(std::string(outcome.status.message()),
                testing::AnyOf(testing::HasSubstr("is at step 5 operation"), testing::HasSubstr("aborted")));
  }
}

TEST_P(FaultAt, ASignalMakesAllLeaveAtTheSamePlace) {
  for (const RankSignal said : {RankSignal::kAbandon, RankSignal::kFailed}) {
    Group group;
    group.At(rank_).At(operation_, CommunicatorFault::Signals(said));
    const std::vector<Outcome> outcomes = group.Run(Nothing);
    for (const Outcome& outcome : outcomes) {
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
      EXPECT_EQ(outcome.signal, IsExchange(operation_) ? said : RankSignal::kGo);
      EXPECT_EQ(outcome.left_at, IsExchange(operation_) ? operation_ : kOperations - 1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EachOperation, FaultAt,
                         testing::Combine(testing::Range<int32_t>(0, kRanks),
                                          testing::Range<int64_t>(0, kOperations)));

TEST(ScriptedCommunicator, WithoutAScriptItIsTheOneThatItWraps) {
  Group group;
  const std::vector<Outcome> outcomes = group.Run(Nothing);
  for (int32_t rank = 0; rank < kRanks; ++rank) {
    EXPECT_TRUE(outcomes[rank].status.ok()) << outcomes[rank].status;
    EXPECT_EQ(group.At(rank).operations(), kOperations);
    EXPECT_EQ(group.At(rank).held(), 0);
  }
}

TEST(ScriptedCommunicator, AfterItsErrorEveryOperationFailsAlike) {
  Group group;
  ScriptedCommunicator& scripted = group.At(0);
  scripted.At(0, CommunicatorFault::Fails(IoError("script", "cable")));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(CodeOf(scripted.Send({1, 0, 0}, 1, {})), ErrorCode::kIoError);
  EXPECT_EQ(CodeOf(Part(scripted, {1, 0, 0})), ErrorCode::kIoError);
}

}  // namespace
}  // namespace tessera
