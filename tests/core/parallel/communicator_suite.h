// What holds for every communicator, as a typed test suite. A Maker makes groups: `Ranks Make(int32_t size)`,
// one communicator a rank, all in this process. Failures that need a process of their own are elsewhere.
#ifndef TESSERA_TESTS_CORE_PARALLEL_COMMUNICATOR_SUITE_H_
#define TESSERA_TESTS_CORE_PARALLEL_COMMUNICATOR_SUITE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <string>

#include "core/base/status.h"
#include "tests/core/parallel/rank_threads.h"

namespace tessera {

// Bytes that say who wrote them, when, and where they stand.
inline std::vector<uint8_t> Pattern(int32_t rank, uint64_t number, size_t size) {
  std::vector<uint8_t> bytes(size);
  uint32_t state = static_cast<uint32_t>(rank) * 2654435761u + static_cast<uint32_t>(number) * 40503u + 1;
  for (uint8_t& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return bytes;
}

inline std::vector<uint8_t> Copied(absl::Span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

template <typename Maker>
class CommunicatorSuite : public testing::Test {
 protected:
  Maker maker_;
};
TYPED_TEST_SUITE_P(CommunicatorSuite);

TYPED_TEST_P(CommunicatorSuite, EachRankSeesWhatEachBringsInRankOrderForAllSizes) {
  for (const int32_t size : {1, 2, 3, 4}) {
    const Ranks ranks = this->maker_.Make(size);
    OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
      EXPECT_EQ(self.rank(), rank);
      EXPECT_EQ(self.size(), size);
      std::vector<uint8_t> mine[2];
      std::vector<absl::Span<const uint8_t>> all(size);
      uint64_t step = 0;
      for (const size_t bytes : {0, 1, 7, 64, 4096, 4097, 65536, 65537, 300000, 1 << 20, 3, 1 << 20, 0}) {
        // Unlike sizes: rank r brings r bytes more.
        mine[step % 2] = Pattern(rank, step, bytes + rank);
        const auto signal = self.Exchange({1, step, 0}, RankSignal::kGo, mine[step % 2], absl::MakeSpan(all));
        ASSERT_TRUE(signal.ok()) << signal.status();
        EXPECT_EQ(*signal, RankSignal::kGo);
        for (int32_t peer = 0; peer < size; ++peer) {
          ASSERT_EQ(Copied(all[peer]), Pattern(peer, step, bytes + peer))
              << "rank " << peer << " step " << step;
        }
        ++step;
      }
      EXPECT_TRUE(Part(self, {1, step, 0}).ok());
    });
  }
}

TYPED_TEST_P(CommunicatorSuite, TheGravestSignalIsEverybodysInTheSameExchange) {
  const Ranks ranks = this->maker_.Make(3);
  const RankSignal said[][3] = {{RankSignal::kGo, RankSignal::kGo, RankSignal::kGo},
                                {RankSignal::kGo, RankSignal::kAbandon, RankSignal::kGo},
                                {RankSignal::kFailed, RankSignal::kAbandon, RankSignal::kGo},
                                {RankSignal::kGo, RankSignal::kGo, RankSignal::kFailed},
                                {RankSignal::kGo, RankSignal::kGo, RankSignal::kGo}};
  const RankSignal expected[] = {RankSignal::kGo, RankSignal::kAbandon, RankSignal::kFailed,
                                 RankSignal::kFailed, RankSignal::kGo};
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    std::vector<absl::Span<const uint8_t>> all(3);
    for (uint64_t step = 0; step < 5; ++step) {
      const auto signal = self.Exchange({1, step, 0}, said[step][rank], {}, absl::MakeSpan(all));
      ASSERT_TRUE(signal.ok()) << signal.status();
      EXPECT_EQ(*signal, expected[step]) << "step " << step << " rank " << rank;
    }
  });
}

TYPED_TEST_P(CommunicatorSuite, ContributionsMayBeReusedAfterTheNextExchange) {
  // Two buffers by turns, the same memory again and again, read as late as the contract allows.
  const Ranks ranks = this->maker_.Make(3);
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    std::vector<uint8_t> mine[2] = {std::vector<uint8_t>(5000), std::vector<uint8_t>(5000)};
    std::vector<absl::Span<const uint8_t>> all(3), before(3);
    for (uint64_t step = 0; step < 300; ++step) {
      const std::vector<uint8_t> bytes = Pattern(rank, step, 5000);
      std::copy(bytes.begin(), bytes.end(), mine[step % 2].begin());
      if (step > 0) {
        for (int32_t peer = 0; peer < 3; ++peer) {
          ASSERT_EQ(Copied(before[peer]), Pattern(peer, step - 1, 5000)) << "step " << step;
        }
      }
      ASSERT_TRUE(self.Exchange({1, step, 0}, RankSignal::kGo, mine[step % 2], absl::MakeSpan(all)).ok());
      before = all;
    }
    EXPECT_TRUE(Part(self, {1, 300, 0}).ok());
  });
}

TYPED_TEST_P(CommunicatorSuite, MessagesArriveInOrderForEachPairAndSendDoesNotWaitForTheReceiver) {
  const Ranks ranks = this->maker_.Make(3);
  const size_t sizes[] = {0, 1, 100, 70000, 4096, 1 << 20, 0, 33};
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    // All send to all before any receives: only if Send does not wait does this end.
    uint64_t number = 0;
    for (int round = 0; round < 3; ++round) {
      for (const size_t size : {sizes[round], sizes[round + 3], sizes[round + 1]}) {
        for (int32_t to = 0; to < 3; ++to) {
          if (to == rank) continue;
          ASSERT_TRUE(self.Send({1, number, 5}, to, Pattern(rank * 3 + to, number, size)).ok());
        }
        ++number;
      }
      uint64_t next = number - 3;
      for (const size_t size : {sizes[round], sizes[round + 3], sizes[round + 1]}) {
        for (int32_t from = 2; from >= 0; --from) {
          if (from == rank) continue;
          std::vector<uint8_t> buffer(size + 10, 0xEE);
          const auto got = self.Receive({1, next, 5}, from, absl::MakeSpan(buffer));
          ASSERT_TRUE(got.ok()) << got.status();
          ASSERT_EQ(*got, size);
          EXPECT_EQ(Copied({buffer.data(), size}), Pattern(from * 3 + rank, next, size));
          EXPECT_EQ(buffer[size], 0xEE) << "wrote behind the message";
        }
        ++next;
      }
    }
    EXPECT_TRUE(Part(self, {1, 100, 0}).ok());
  });
}

TYPED_TEST_P(CommunicatorSuite, MoreMessagesThanMayBeOnTheirWayAllArrive) {
  const Ranks ranks = this->maker_.Make(2);
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    for (uint64_t number = 0; number < 500; ++number) {
      if (rank == 0) {
        ASSERT_TRUE(self.Send({1, number, 0}, 1, Pattern(0, number, number)).ok());
      } else {
        std::vector<uint8_t> buffer(500);
        const auto got = self.Receive({1, number, 0}, 0, absl::MakeSpan(buffer));
        ASSERT_TRUE(got.ok()) << got.status();
        buffer.resize(*got);
        ASSERT_EQ(buffer, Pattern(0, number, number));
      }
    }
    EXPECT_TRUE(Part(self, {1, 500, 0}).ok());
  });
}

TYPED_TEST_P(CommunicatorSuite, RanksAtDifferentPlacesAllLearnWhereTheyAreAndTheGroupIsDone) {
  const CollectiveTag elsewhere[] = {{1, 7, 4}, {1, 8, 3}, {2, 7, 3}};
  for (const CollectiveTag& tag : elsewhere) {
    const Ranks ranks = this->maker_.Make(3);
    OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
      std::vector<absl::Span<const uint8_t>> all(3);
      const CollectiveTag mine = rank == 1 ? tag : CollectiveTag{1, 7, 3};
      const auto result = self.Exchange(mine, RankSignal::kGo, {}, absl::MakeSpan(all));
      ASSERT_FALSE(result.ok());
      EXPECT_EQ(CodeOf(result.status()), ErrorCode::kInternal);
      EXPECT_THAT(std::string(result.status().message()),
                  testing::AllOf(testing::HasSubstr("rank 1 is at step"),
                                 testing::HasSubstr("rank 0 at step 7 operation 3 of epoch 1")));
      EXPECT_FALSE(self.Exchange({1, 9, 0}, RankSignal::kGo, {}, absl::MakeSpan(all)).ok());
    });
  }
}

TYPED_TEST_P(CommunicatorSuite, AMessageOfAnotherPlaceOrTooLargeIsAnErrorForGood) {
  for (const bool too_large : {false, true}) {
    const Ranks ranks = this->maker_.Make(2);
    OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
      std::vector<absl::Span<const uint8_t>> all(2);
      if (rank == 0) {
        ASSERT_TRUE(self.Send({1, 7, 3}, 1, Pattern(0, 0, 100)).ok());
      } else {
        std::vector<uint8_t> buffer(too_large ? 99 : 100);
        const CollectiveTag tag = {1, 7, too_large ? 3u : 4u};
        const auto got = self.Receive(tag, 0, absl::MakeSpan(buffer));
        ASSERT_FALSE(got.ok());
        EXPECT_EQ(CodeOf(got.status()), ErrorCode::kInternal);
        EXPECT_THAT(std::string(got.status().message()),
                    testing::HasSubstr(too_large ? "100 bytes" : "step 7"));
      }
      EXPECT_FALSE(self.Exchange({1, 8, 0}, RankSignal::kGo, {}, absl::MakeSpan(all)).ok());
    });
  }
}

TYPED_TEST_P(CommunicatorSuite, AbortEndsWhateverAnyRankWaitsInAndAllThatComesLater) {
  enum class Wait { kExchange, kReceive, kSend };
  for (const Wait wait : {Wait::kExchange, Wait::kReceive, Wait::kSend}) {
    for (const int32_t aborter : {0, 2}) {
      const Ranks ranks = this->maker_.Make(3);
      std::atomic<int> entered{0};
      OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
        std::vector<absl::Span<const uint8_t>> all(3);
        std::vector<uint8_t> buffer(10);
        // Rank 2 takes no part; 0 and 1 wait for it. One of them, or rank 2, aborts from another thread.
        if (rank == 2) {
          while (entered.load() < 2) std::this_thread::yield();
          ranks[aborter]->Abort();
        } else {
          entered.fetch_add(1);
          absl::Status status;
          switch (wait) {
            case Wait::kExchange:
              status = self.Exchange({1, 0, 0}, RankSignal::kGo, {}, absl::MakeSpan(all)).status();
              break;
            case Wait::kReceive:
              status = self.Receive({1, 0, 0}, 2, absl::MakeSpan(buffer)).status();
              break;
            case Wait::kSend:
              while (status.ok()) status = self.Send({1, 0, 0}, 2, buffer);
              break;
          }
          // By the abort, and not since a deadline came or a silence was long enough.
          const ErrorCode code = CodeOf(status);
          EXPECT_TRUE(code == ErrorCode::kCancelled || code == ErrorCode::kLost) << status;
          EXPECT_THAT(std::string(status.message()), testing::Not(testing::HasSubstr("no sign of life")));
        }
        self.Abort();
        self.Abort();
        EXPECT_FALSE(self.Exchange({1, 1, 0}, RankSignal::kGo, {}, absl::MakeSpan(all)).ok());
        EXPECT_FALSE(self.Send({1, 1, 0}, (rank + 1) % 3, buffer).ok());
        EXPECT_FALSE(self.Receive({1, 1, 0}, (rank + 1) % 3, absl::MakeSpan(buffer)).ok());
      });
    }
  }
}

TYPED_TEST_P(CommunicatorSuite, ARankThatIsDestroyedIsLostToThoseWhoWaitForIt) {
  for (const int wait : {0, 1, 2}) {
    Ranks ranks = this->maker_.Make(3);
    std::atomic<int> entered{0};
    OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
      std::vector<absl::Span<const uint8_t>> all(3);
      std::vector<uint8_t> buffer(10);
      if (rank == 2) {
        while (entered.load() < 2) std::this_thread::yield();
        ranks[2].reset();
        return;
      }
      entered.fetch_add(1);
      absl::Status status;
      if (wait == 0) status = self.Exchange({1, 0, 0}, RankSignal::kGo, {}, absl::MakeSpan(all)).status();
      if (wait == 1) status = self.Receive({1, 0, 0}, 2, absl::MakeSpan(buffer)).status();
      while (wait == 2 && status.ok()) status = self.Send({1, 0, 0}, 2, buffer);
      EXPECT_EQ(CodeOf(status), ErrorCode::kLost) << status;
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr("rank 2"));
    });
  }
}

REGISTER_TYPED_TEST_SUITE_P(CommunicatorSuite, EachRankSeesWhatEachBringsInRankOrderForAllSizes,
                            TheGravestSignalIsEverybodysInTheSameExchange,
                            ContributionsMayBeReusedAfterTheNextExchange,
                            MessagesArriveInOrderForEachPairAndSendDoesNotWaitForTheReceiver,
                            MoreMessagesThanMayBeOnTheirWayAllArrive,
                            RanksAtDifferentPlacesAllLearnWhereTheyAreAndTheGroupIsDone,
                            AMessageOfAnotherPlaceOrTooLargeIsAnErrorForGood,
                            AbortEndsWhateverAnyRankWaitsInAndAllThatComesLater,
                            ARankThatIsDestroyedIsLostToThoseWhoWaitForIt);

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_PARALLEL_COMMUNICATOR_SUITE_H_
