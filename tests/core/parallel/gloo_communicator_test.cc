// Gloo's ranks, here as threads of one process: the suite, groups within groups, and what creation refuses.
#include "core/parallel/gloo_communicator.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "tests/core/parallel/communicator_suite.h"
#include "tests/core/parallel/local_rendezvous.h"

namespace tessera {
namespace {

GlooOptions OptionsOf(LocalRendezvous& rendezvous, int32_t rank, int32_t ranks) {
  GlooOptions options;
  options.rank = rank;
  options.ranks = ranks;
  options.tag = "test";
  options.epoch = 1;
  options.all_gather = rendezvous.Of(rank);
  options.module_folder = TESSERA_MODULE_FOLDER;
  return options;
}

using Results = std::vector<absl::StatusOr<std::unique_ptr<Communicator>>>;

// Everybody's creation, at the same time. `change` may alter the options of a rank.
template <typename Change>
Results CreateAll(int32_t ranks, Change change) {
  LocalRendezvous rendezvous(ranks);
  Results results(ranks);
  std::vector<std::thread> threads;
  for (int32_t rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      GlooOptions options = OptionsOf(rendezvous, rank, ranks);
      change(rank, &options);
      results[rank] = CreateGlooCommunicator(options);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

struct GlooMaker {
  static Ranks Make(int32_t size) {
    Ranks ranks;
    for (auto& result : CreateAll(size, [](int32_t, GlooOptions*) {})) {
      EXPECT_TRUE(result.ok()) << result.status();
      ranks.push_back(result.ok() ? *std::move(result) : nullptr);
    }
    return ranks;
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Gloo, CommunicatorSuite, GlooMaker);

TEST(GlooCommunicator, GroupsMadeTogetherAreApart) {
  // Two groups of two, and one rank alone.
  const std::vector<std::vector<int32_t>> groups = {{0, 3}, {1, 4}, {0, 3}, {0, 3}, {1, 4}};
  Results results = CreateAll(5, [&](int32_t rank, GlooOptions* options) {
    options->group = rank == 2 ? std::vector<int32_t>{2} : groups[rank];
  });
  Ranks ranks;
  for (auto& result : results) {
    ASSERT_TRUE(result.ok()) << result.status();
    ranks.push_back(*std::move(result));
  }
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    const int32_t size = rank == 2 ? 1 : 2;
    ASSERT_EQ(self.size(), size);
    EXPECT_EQ(self.rank(), rank >= 3 ? 1 : 0);
    std::vector<absl::Span<const uint8_t>> all(size);
    const uint8_t mine = static_cast<uint8_t>(rank);
    ASSERT_TRUE(self.Exchange({1, 0, 0}, RankSignal::kGo, {&mine, 1}, absl::MakeSpan(all)).ok());
    EXPECT_EQ(all[0][0], rank == 2 ? 2 : rank % 3);
    EXPECT_TRUE(Part(self, {1, 1, 0}).ok());
  });
}

TEST(GlooCommunicator, OnlyTheWaitForRank0AtAStepsBeginningHasNoDeadline) {
  struct Case {
    bool exchange;
    int32_t absent;
    uint32_t operation;
    bool idle;
  };
  const Case cases[] = {{true, 0, 0, true},  {true, 0, 1, false},  {true, 1, 0, false},
                        {false, 0, 0, true}, {false, 0, 1, false}, {false, 1, 0, false}};
  for (const Case& c : cases) {
    Results results = CreateAll(2, [](int32_t, GlooOptions* options) {
      options->timeout_ns = 200'000'000;
      options->silence_ns = 20'000'000'000;
    });
    ASSERT_TRUE(results[0].ok() && results[1].ok());
    Communicator& waiting = **results[1 - c.absent];
    std::atomic<bool> ended{false};
    absl::Status status;
    std::thread waiter([&] {
      uint8_t byte = 0;
      status = c.exchange ? Part(waiting, {1, 0, c.operation})
                          : waiting.Receive({1, 0, c.operation}, c.absent, {&byte, 1}).status();
      ended.store(true);
    });
    if (c.idle) {
      // Five times the timeout, and still waiting.
      std::this_thread::sleep_for(std::chrono::seconds(1));
      EXPECT_FALSE(ended.load());
      results[c.absent]->get()->Abort();
    }
    waiter.join();
    EXPECT_EQ(CodeOf(status), c.idle ? ErrorCode::kCancelled : ErrorCode::kDeadlineExceeded) << status;
  }
}

TEST(GlooCommunicator, TellsThePeersWhyItGaveUp) {
  Ranks ranks = GlooMaker::Make(3);
  OnEachRank(ranks, [&](Communicator& self, int32_t rank) {
    if (rank == 1) {
      self.Abort();
      return;
    }
    const absl::Status status = Part(self, {1, 0, 0});
    EXPECT_EQ(CodeOf(status), ErrorCode::kCancelled) << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("rank 1 aborted it"));
  });
}

TEST(GlooCommunicator, LeavesTheHostsSigpipeAlone) {
  // The default action ends the process; what the host had pending stays so.
  ASSERT_NE(signal(SIGPIPE, SIG_DFL), SIG_ERR);
  for (int round = 0; round < 5; ++round) {
    Ranks ranks = GlooMaker::Make(2);
    ranks[1].reset();
    std::vector<uint8_t> bytes(100'000);
    absl::Status status;
    for (int i = 0; i < 100 && status.ok(); ++i) status = ranks[0]->Send({1, 0, 1}, 1, bytes);
    EXPECT_EQ(CodeOf(status), ErrorCode::kLost) << status;
  }
  sigset_t pipe, before, pending;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  pthread_kill(pthread_self(), SIGPIPE);
  Ranks ranks = GlooMaker::Make(2);
  OnEachRank(ranks, [](Communicator& self, int32_t) { EXPECT_TRUE(Part(self, {1, 0, 0}).ok()); });
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 1);
  const timespec now = {0, 0};
  sigtimedwait(&pipe, nullptr, &now);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(GlooCommunicator, RefusesWhatMakesNoGroup) {
  LocalRendezvous rendezvous(2);
  const auto code = [&](auto change) {
    GlooOptions options = OptionsOf(rendezvous, 0, 2);
    change(options);
    return CodeOf(CreateGlooCommunicator(options).status());
  };
  EXPECT_EQ(code([](GlooOptions& o) { o.rank = 2; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.rank = -1; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.ranks = 0; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.group = {1}; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.group = {1, 0}; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.group = {0, 2}; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.all_gather = nullptr; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([](GlooOptions& o) { o.timeout_ns = 0; }), ErrorCode::kInvalidArgument);
}

TEST(GlooCommunicator, ARankThatCannotTakePartSpoilsItForAllAtOnce) {
  for (const bool no_module : {true, false}) {
    Results results = CreateAll(3, [&](int32_t rank, GlooOptions* options) {
      if (rank != 1) return;
      if (no_module) options->module_folder = "/nowhere";
      if (!no_module) options->interface_name = "203.0.113.7";  // nobody's
    });
    EXPECT_EQ(CodeOf(results[1].status()), no_module ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument)
        << results[1].status();
    for (const int32_t other : {0, 2}) {
      EXPECT_EQ(CodeOf(results[other].status()), ErrorCode::kLost);
      EXPECT_THAT(std::string(results[other].status().message()), testing::HasSubstr("rank 1"));
    }
  }
}

TEST(GlooCommunicator, RanksThatDisagreeAboutTheGroupAreToldSo) {
  Results results = CreateAll(3, [&](int32_t rank, GlooOptions* options) {
    if (rank == 2) options->group = {1, 2};
  });
  for (const auto& result : results) {
    EXPECT_EQ(CodeOf(result.status()), ErrorCode::kInvalidArgument) << result.status();
  }
}

// The addresses of this machine in what ranks bring to the rendezvous: each behind its length, 136.
std::vector<sockaddr_in> AddressesIn(absl::Span<const uint8_t> bytes) {
  std::vector<sockaddr_in> found;
  for (size_t at = 0; at + 4 + sizeof(sockaddr_in) <= bytes.size(); at += 4) {
    uint32_t length = 0;
    sockaddr_in address;
    std::memcpy(&length, bytes.data() + at, sizeof(length));
    std::memcpy(&address, bytes.data() + at + 4, sizeof(address));
    if (length == 136 && address.sin_family == AF_INET) found.push_back(address);
  }
  return found;
}

// Whether both ranks have a group. On a crowded machine one may have met the other just in time, and not the
// other way round: then it finds out with its first operation.
void ExpectAGroupOrNone(const Results& results) {
  for (size_t rank = 0; rank < 2; ++rank) {
    if (!results[rank].ok() || results[1 - rank].ok()) continue;
    EXPECT_FALSE(Part(**results[rank], {1, 0, 1}).ok());
  }
}

TEST(GlooCommunicator, WhoConnectsAndVanishesCostsTheGroupAndNotTheProcess) {
  // As a peer does that dies between its connect and our accept: Gloo's loop throws where it asks for its
  // name.
  int spoilt = 0;
  for (int round = 0; round < 30; ++round) {
    const Results results = CreateAll(2, [&](int32_t rank, GlooOptions* options) {
      options->connect_timeout_ns = 100'000'000;
      if (rank != 0) return;
      const AllGather meet = options->all_gather;
      options->all_gather = [meet](absl::string_view tag, uint64_t epoch, absl::Span<const uint8_t> in,
                                   absl::Span<uint8_t> out, int64_t timeout_ns) {
        const std::vector<sockaddr_in> mine = AddressesIn(in);
        EXPECT_EQ(mine.size(), 1u);
        for (const sockaddr_in& address : mine) {
          const int stranger = socket(AF_INET, SOCK_STREAM, 0);
          EXPECT_EQ(connect(stranger, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
          const linger reset = {1, 0};
          setsockopt(stranger, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
          close(stranger);
        }
        return meet(tag, epoch, in, out, timeout_ns);
      };
    });
    // Rank 0 may be the one that connects: then the stranger cost nothing.
    ExpectAGroupOrNone(results);
    spoilt += results[0].ok() ? 0 : 1;
  }
  EXPECT_GT(spoilt, 0);
}

TEST(GlooCommunicator, WhoConnectsAndTalksNonsenseCostsTheGroupAndNotTheProcess) {
  for (const uint8_t filling : {0, 1, 255}) {
    std::vector<int> strangers;
    const Results results = CreateAll(2, [&](int32_t rank, GlooOptions* options) {
      options->connect_timeout_ns = 200'000'000;
      if (rank != 0) return;
      const AllGather meet = options->all_gather;
      options->all_gather = [meet, filling, &strangers](absl::string_view tag, uint64_t epoch,
                                                        absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                                                        int64_t timeout_ns) {
        for (const sockaddr_in& address : AddressesIn(in)) {
          strangers.push_back(socket(AF_INET, SOCK_STREAM, 0));
          EXPECT_EQ(connect(strangers.back(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
                    0);
          // A header of Gloo's: its fields are 8 bytes each, the second says what follows: a message (1).
          std::vector<uint8_t> header(48, filling);
          const uint64_t message = 1;
          std::memcpy(header.data() + 8, &message, sizeof(message));
          EXPECT_EQ(send(strangers.back(), header.data(), header.size(), MSG_NOSIGNAL), 48);
        }
        return meet(tag, epoch, in, out, timeout_ns);
      };
    });
    for (const int stranger : strangers) close(stranger);
    ExpectAGroupOrNone(results);
  }
}

TEST(GlooCommunicator, ARendezvousThatFailsIsTheError) {
  LocalRendezvous rendezvous(2);
  GlooOptions options = OptionsOf(rendezvous, 0, 2);
  options.connect_timeout_ns = 50'000'000;
  EXPECT_EQ(CodeOf(CreateGlooCommunicator(options).status()), ErrorCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace tessera
