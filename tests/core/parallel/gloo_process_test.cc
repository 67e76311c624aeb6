// Ranks as processes, one of which is killed or stopped at some place of its life: the others come to an end
// of their own, with an error that says so, within a bounded time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/base/status.h"

namespace tessera {
namespace {

using Clock = std::chrono::steady_clock;

// Far beyond the ranks' own timeouts (2 s to meet, 2 s to connect, 2 s an operation); a hang is what it
// tells.
constexpr std::chrono::seconds kPatience(30);

class Processes {
 public:
  Processes(int ranks, const std::string& life, int victim, const std::string& place,
            const std::string& way) {
    char folder[] = "/tmp/tessera_ranks_XXXXXX";
    folder_ = mkdtemp(folder);
    for (int rank = 0; rank < ranks; ++rank) {
      const pid_t process = fork();
      if (process == 0) {
        const std::string number = std::to_string(rank), all = std::to_string(ranks);
        execl(TESSERA_GLOO_RANK, TESSERA_GLOO_RANK, number.c_str(), all.c_str(), folder_.c_str(),
              life.c_str(), place.c_str(), rank == victim ? way.c_str() : "none", nullptr);
        _exit(254);
      }
      processes_.push_back(process);
    }
  }
  ~Processes() {
    for (const pid_t process : processes_) {
      if (process <= 0) continue;
      kill(process, SIGKILL);
      waitpid(process, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  std::string File(const std::string& name) const { return folder_ + "/" + name; }
  bool AwaitFile(const std::string& name) const {
    const Clock::time_point end = Clock::now() + kPatience;
    while (!std::filesystem::exists(File(name))) {
      if (Clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  void Signal(int rank, int signal) { kill(processes_[rank], signal); }

  // The exit code; -1: it was ended by a signal; -2: it does not end.
  int Await(int rank) {
    const Clock::time_point end = Clock::now() + kPatience;
    int status = 0;
    while (waitpid(processes_[rank], &status, WNOHANG) == 0) {
      if (Clock::now() > end) return -2;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    processes_[rank] = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  std::string folder_;
  std::vector<pid_t> processes_;
};

bool IsLoss(int code) {
  return code == static_cast<int>(ErrorCode::kLost) || code == static_cast<int>(ErrorCode::kDeadlineExceeded);
}

struct Fate {
  const char* life;
  const char* place;
};
class FateOf : public testing::TestWithParam<std::tuple<Fate, const char*, int>> {};

TEST_P(FateOf, OneRankIsNoticedByAllOthers) {
  const Fate fate = std::get<0>(GetParam());
  const std::string way = std::get<1>(GetParam());
  const int ranks = std::get<2>(GetParam());
  // Two groups side by side, one with the leader as its victim, one with the last rank.
  Processes of_leader(ranks, fate.life, 0, fate.place, way);
  Processes of_last(ranks, fate.life, ranks - 1, fate.place, way);
  for (Processes* const processes : {&of_leader, &of_last}) {
    const int victim = processes == &of_leader ? 0 : ranks - 1;
    ASSERT_TRUE(processes->AwaitFile("there"));
    for (int rank = ranks - 1; rank >= 0; --rank) {
      if (rank == victim) continue;
      // The idle leader asks for a step only once the followers have learnt of the loss without one.
      if (rank == 0) std::ofstream(processes->File("work"));
      EXPECT_PRED1(IsLoss, processes->Await(rank)) << "of victim " << victim << ", rank " << rank;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    KilledOrStopped, FateOf,
    testing::Combine(testing::Values(Fate{"busy", "before_meeting"}, Fate{"busy", "after_meeting"},
                                     Fate{"busy", "connected"}, Fate{"busy", "between_operations"},
                                     Fate{"idle", "idle"}),
                     testing::Values("kill", "stop"), testing::Values(2, 3)));

TEST(GlooProcesses, KilledOrStoppedAtAnyMomentEndAllOthers) {
  std::mt19937 random(1);
  for (int round = 0; round < 12; ++round) {
    const int ranks = 2 + round % 3;
    const int victim = static_cast<int>(random() % ranks);
    Processes processes(ranks, "busy", -1, "nowhere", "none");
    // From the very start of the processes on, or from the middle of their exchanges on.
    if (round % 2 == 0) {
      ASSERT_TRUE(processes.AwaitFile("busy." + std::to_string(victim)));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
    processes.Signal(victim, round % 4 < 2 ? SIGKILL : SIGSTOP);
    for (int rank = 0; rank < ranks; ++rank) {
      if (rank == victim) continue;
      EXPECT_PRED1(IsLoss, processes.Await(rank)) << "round " << round << " rank " << rank;
    }
  }
}

TEST(GlooProcesses, AVictimAtTheCloseKeepsNobodyFromEnding) {
  for (const char* const way : {"kill", "stop"}) {
    for (const int ranks : {2, 4}) {
      Processes processes(ranks, "short", 1, "before_close", way);
      ASSERT_TRUE(processes.AwaitFile("there"));
      for (int rank = 0; rank < ranks; ++rank) {
        if (rank == 1) continue;
        // All work was done when it happened; whether the loss is still met is chance.
        const int code = processes.Await(rank);
        EXPECT_TRUE(code == 0 || IsLoss(code)) << code;
      }
    }
  }
}

TEST(GlooProcesses, WithoutAVictimAllEndWell) {
  for (const int ranks : {1, 2, 4}) {
    Processes processes(ranks, "short", -1, "nowhere", "none");
    for (int rank = 0; rank < ranks; ++rank) EXPECT_EQ(processes.Await(rank), 0);
  }
}

}  // namespace
}  // namespace tessera
