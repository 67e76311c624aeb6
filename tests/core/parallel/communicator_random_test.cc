// Random programs of exchanges and messages on 2 to 8 ranks, some of them cut short by an abort or a rank
// that leaves: contents are right as long as there is no error, and everybody comes to an end.
#include <random>

#include "core/parallel/thread_communicator.h"
#include "tests/core/parallel/communicator_suite.h"

namespace tessera {
namespace {

struct Step {
  bool exchange = true;
  int32_t from = 0, to = 0;
  size_t size = 0;
};

std::vector<Step> RandomProgram(std::mt19937& random, int32_t ranks, size_t length) {
  std::vector<Step> program(length);
  for (Step& step : program) {
    step.exchange = random() % 2 == 0;
    step.from = static_cast<int32_t>(random() % ranks);
    step.to = (step.from + 1 + static_cast<int32_t>(random() % (ranks - 1))) % ranks;
    step.size = random() % 8 == 0 ? random() % 200'000 : random() % 300;
  }
  return program;
}

// What a rank contributes, by turns: alive until nobody reads it, which with an error is when all have ended.
using Contributions = std::vector<uint8_t>[2];

// Runs until the end or the first error, from where it returns how far it came.
size_t RunProgram(Communicator& self, int32_t rank, const std::vector<Step>& program, Contributions& mine) {
  std::vector<absl::Span<const uint8_t>> all(self.size());
  size_t exchanges = 0;
  std::vector<uint8_t> buffer;
  for (uint64_t number = 0; number < program.size(); ++number) {
    const Step& step = program[number];
    const CollectiveTag tag = {1, number, 0};
    if (step.exchange) {
      std::vector<uint8_t>& bytes = mine[exchanges++ % 2];
      bytes = Pattern(rank, number, step.size + rank);
      if (!self.Exchange(tag, RankSignal::kGo, bytes, absl::MakeSpan(all)).ok()) return number;
      for (int32_t peer = 0; peer < self.size(); ++peer) {
        EXPECT_EQ(Copied(all[peer]), Pattern(peer, number, step.size + peer));
      }
    } else if (step.from == rank) {
      if (!self.Send(tag, step.to, Pattern(rank, number, step.size)).ok()) return number;
    } else if (step.to == rank) {
      buffer.assign(step.size, 0);
      const auto got = self.Receive(tag, step.from, absl::MakeSpan(buffer));
      if (!got.ok()) return number;
      EXPECT_EQ(*got, step.size);
      EXPECT_EQ(buffer, Pattern(step.from, number, step.size));
    }
  }
  return program.size();
}

TEST(RandomPrograms, RunToTheirEndWithTheRightBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    const int32_t size = 2 + round % 7;
    const std::vector<Step> program = RandomProgram(random, size, 60);
    Contributions mine[8];
    absl::StatusOr<Ranks> ranks = ThreadGroup::Create(size);
    ASSERT_TRUE(ranks.ok());
    OnEachRank(*ranks, [&](Communicator& self, int32_t rank) {
      EXPECT_EQ(RunProgram(self, rank, program, mine[rank]), program.size());
      EXPECT_TRUE(Part(self, {1, 1000, 0}).ok());
    });
  }
}

TEST(RandomPrograms, CutShortAtAnyMomentEndForEverybody) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    const int32_t size = 2 + round % 7;
    std::vector<Step> program = RandomProgram(random, size, 40);
    program.push_back(Step());  // an exchange, which nobody completes without the one who stops
    const size_t cut = random() % 40;
    const int32_t who = static_cast<int32_t>(random() % size);
    const int way =
        round % 3;  // 0: leaves; 1: aborts at a place of its own; 2: another thread aborts, whenever
    Contributions mine[8];
    absl::StatusOr<Ranks> ranks = ThreadGroup::Create(size);
    ASSERT_TRUE(ranks.ok());
    std::thread other([&] {
      if (way == 2) (*ranks)[who]->Abort();
    });
    OnEachRank(*ranks, [&](Communicator& self, int32_t rank) {
      if (rank != who || way == 2) {
        const size_t done = RunProgram(self, rank, program, mine[rank]);
        EXPECT_TRUE(way == 2 || done < program.size());
        return;
      }
      RunProgram(self, rank, {program.begin(), program.begin() + static_cast<int64_t>(cut)}, mine[rank]);
      if (way == 0) (*ranks)[rank].reset();
      if (way == 1) self.Abort();
    });
    other.join();
  }
}

}  // namespace
}  // namespace tessera
