// Threads of one process as ranks: the suite, and what holds for them alone.
#include "core/parallel/thread_communicator.h"

#include "tests/core/parallel/communicator_suite.h"

namespace tessera {
namespace {

struct ThreadGroupMaker {
  static Ranks Make(int32_t size) {
    absl::StatusOr<Ranks> ranks = ThreadGroup::Create(size);
    EXPECT_TRUE(ranks.ok()) << ranks.status();
    return ranks.ok() ? *std::move(ranks) : Ranks();
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Threads, CommunicatorSuite, ThreadGroupMaker);

TEST(ThreadGroup, RefusesSizesThatNoGroupHas) {
  EXPECT_EQ(CodeOf(ThreadGroup::Create(0).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(ThreadGroup::Create(-1).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(ThreadGroup::Create(ThreadGroup::kMostRanks + 1).status()), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(ThreadGroup::Create(ThreadGroup::kMostRanks).ok());
}

TEST(ThreadGroup, LendsThePeersOwnMemory) {
  const Ranks ranks = ThreadGroupMaker::Make(2);
  std::vector<uint8_t> mine[2] = {std::vector<uint8_t>(100), std::vector<uint8_t>(200)};
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    std::vector<absl::Span<const uint8_t>> all(2);
    ASSERT_TRUE(self.Exchange({1, 0, 0}, RankSignal::kGo, mine[rank], absl::MakeSpan(all)).ok());
    EXPECT_EQ(all[0].data(), mine[0].data());
    EXPECT_EQ(all[1].data(), mine[1].data());
    EXPECT_EQ(all[1].size(), 200u);
  });
}

TEST(ThreadGroup, WhatARankSentBeforeItLeftStillArrives) {
  Ranks ranks = ThreadGroupMaker::Make(2);
  ASSERT_TRUE(ranks[0]->Send({1, 0, 0}, 1, Pattern(0, 0, 50)).ok());
  ASSERT_TRUE(ranks[0]->Send({1, 1, 0}, 1, Pattern(0, 1, 60)).ok());
  ranks[0].reset();
  std::vector<uint8_t> buffer(100);
  EXPECT_EQ(ranks[1]->Receive({1, 0, 0}, 0, absl::MakeSpan(buffer)).value_or(0), 50u);
  EXPECT_EQ(ranks[1]->Receive({1, 1, 0}, 0, absl::MakeSpan(buffer)).value_or(0), 60u);
  const absl::Status third = ranks[1]->Receive({1, 2, 0}, 0, absl::MakeSpan(buffer)).status();
  EXPECT_EQ(CodeOf(third), ErrorCode::kLost);
}

TEST(ThreadGroup, ARankMayLeaveAtOnceAfterTheLastExchange) {
  // Its peers may not even have woken; the exchange that all entered is theirs all the same.
  for (int round = 0; round < 300; ++round) {
    Ranks ranks = ThreadGroupMaker::Make(3);
    OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
      EXPECT_TRUE(Part(self, {1, 0, 0}).ok());
      ranks[rank].reset();
    });
  }
}

TEST(ThreadGroup, TwoThatWaitForEachOtherInDifferentOperationsFindOut) {
  for (const bool receive_too : {false, true}) {
    for (int round = 0; round < 200; ++round) {
      const Ranks ranks = ThreadGroupMaker::Make(2);
      OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
        std::vector<uint8_t> buffer(10);
        const absl::Status status = rank == 0 || receive_too
                                        ? self.Receive({1, 3, 1}, 1 - rank, absl::MakeSpan(buffer)).status()
                                        : Part(self, {1, 3, 2});
        EXPECT_EQ(CodeOf(status), ErrorCode::kInternal) << status;
        EXPECT_THAT(std::string(status.message()), testing::HasSubstr("wait for each other"));
      });
    }
  }
}

TEST(ThreadGroup, AMessageWithAStrangerIsAnError) {
  for (const int32_t peer : {-1, 0, 2}) {
    const Ranks ranks = ThreadGroupMaker::Make(2);
    EXPECT_EQ(CodeOf(ranks[0]->Send({1, 0, 0}, peer, {})), ErrorCode::kInternal);
    EXPECT_EQ(CodeOf(ranks[0]->Receive({1, 0, 0}, peer, {}).status()), ErrorCode::kInternal);
  }
}

}  // namespace
}  // namespace tessera
