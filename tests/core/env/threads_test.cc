// What a thread of the library is like for the host: signals, name, floating-point modes.
#include "core/env/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cfenv>
#include <csignal>
#include <fstream>
#include <string>

#include "core/base/status.h"

namespace tessera {
namespace {

// The value of `key` ("SigBlk:") in /proc/thread-self/status.
std::string StatusField(const std::string& key) {
  std::ifstream status("/proc/thread-self/status");
  std::string word;
  while (status >> word) {
    if (word == key) {
      status >> word;
      return word;
    }
  }
  return "";
}

// Bit n - 1 stands for signal n.
uint64_t BlockedSignals() { return std::stoull(StatusField("SigBlk:"), nullptr, 16); }
uint64_t Bit(int signal) { return uint64_t{1} << (signal - 1); }

constexpr int kAsynchronous[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM,  SIGTERM, SIGUSR1, SIGUSR2,
                                 SIGCHLD, SIGCONT, SIGTSTP, SIGURG,  SIGWINCH, SIGPROF, SIGIO};
constexpr int kSynchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};

void ExpectLibraryMask(uint64_t blocked) {
  for (const int signal : kAsynchronous) EXPECT_NE(blocked & Bit(signal), 0u) << "signal " << signal;
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) EXPECT_NE(blocked & Bit(signal), 0u) << signal;
  for (const int signal : kSynchronous) EXPECT_EQ(blocked & Bit(signal), 0u) << "signal " << signal;
}

TEST(Thread, RunsItsBodyAndJoinsAtItsEnd) {
  std::atomic<int> runs{0};
  {
    const auto thread = Thread::Start("worker", [&runs] { runs.fetch_add(1); });
    ASSERT_TRUE(thread.ok()) << thread.status();
  }
  EXPECT_EQ(runs.load(), 1);
}

TEST(Thread, BlocksAsynchronousSignalsAndLeavesTheCrashSignalsOpen) {
  uint64_t blocked = 0;
  ASSERT_TRUE(Thread::Start("worker", [&blocked] { blocked = BlockedSignals(); }).ok());
  ExpectLibraryMask(blocked);
}

TEST(Thread, OpensTheCrashSignalsEvenWhereItsCreatorBlocksThem) {
  sigset_t crash;
  sigset_t before;
  sigemptyset(&crash);
  sigaddset(&crash, SIGSEGV);
  pthread_sigmask(SIG_BLOCK, &crash, &before);
  uint64_t blocked = 0;
  ASSERT_TRUE(Thread::Start("worker", [&blocked] { blocked = BlockedSignals(); }).ok());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ExpectLibraryMask(blocked);
}

TEST(Thread, LeavesTheMaskOfItsCreatorAsItWas) {
  const uint64_t before = BlockedSignals();
  ASSERT_TRUE(Thread::Start("worker", [] {}).ok());
  EXPECT_EQ(BlockedSignals(), before);
}

TEST(Thread, CutsItsNameToWhatTheSystemTakes) {
  std::string name;
  ASSERT_TRUE(Thread::Start("a-name-of-far-more-than-15", [&name] { name = StatusField("Name:"); }).ok());
  EXPECT_EQ(name, "a-name-of-far-m");
}

TEST(Thread, StartsWithTheDefaultRoundingWhateverItsCreatorSet) {
  std::fesetround(FE_UPWARD);
  int rounding = -1;
  const bool started = Thread::Start("worker", [&rounding] { rounding = std::fegetround(); }).ok();
  std::fesetround(FE_TONEAREST);
  ASSERT_TRUE(started);
  EXPECT_EQ(rounding, FE_TONEAREST);
}

}  // namespace
}  // namespace tessera
