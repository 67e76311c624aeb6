// The pool: every index once, no worker twice at a time, nothing of one round in the next, asleep when idle.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/base/status.h"
#include "core/env/threads.h"

namespace tessera {
namespace {

std::unique_ptr<ThreadPool> MakePool(int threads) {
  absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(threads);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return pool.ok() ? *std::move(pool) : nullptr;
}

// Folders of /proc/self/task, but for the calling thread's.
std::vector<std::string> OtherTasks() {
  std::vector<std::string> tasks;
  DIR* const folder = opendir("/proc/self/task");
  while (const dirent* entry = readdir(folder)) {
    const std::string id = entry->d_name;
    if (id[0] != '.' && id != std::to_string(gettid())) tasks.push_back("/proc/self/task/" + id);
  }
  closedir(folder);
  return tasks;
}

std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The workers of a pool that was made after `before` was taken.
std::vector<std::string> TasksSince(const std::vector<std::string>& before) {
  std::vector<std::string> tasks = OtherTasks();
  tasks.erase(std::remove_if(tasks.begin(), tasks.end(),
                             [&before](const std::string& task) {
                               return std::find(before.begin(), before.end(), task) != before.end();
                             }),
              tasks.end());
  return tasks;
}

// Until a thread sleeps, that is: has started fully and spins no more. The state stands after the name in
// brackets.
void AwaitSleep(const std::string& task) {
  while (true) {
    const std::string stat = ReadAll(task + "/stat");
    if (stat.substr(stat.rfind(')') + 2, 1) == "S") return;
    usleep(1000);
  }
}

class PoolOf : public testing::TestWithParam<int> {};

TEST_P(PoolOf, RunsEveryIndexOnceForEveryCount) {
  const std::unique_ptr<ThreadPool> pool = MakePool(GetParam());
  ASSERT_NE(pool, nullptr);
  EXPECT_EQ(pool->threads(), GetParam());
  pool->Wake();
  for (const int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<std::atomic<int>> runs(count);
    auto task = [&runs](int64_t index, int) { runs[index].fetch_add(1, std::memory_order_relaxed); };
    pool->ParallelFor(count, task);
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(runs[i].load(), 1) << "index " << i << " of " << count;
  }
  pool->Sleep();
}

TEST_P(PoolOf, GivesEachWorkerNumberToOneTaskAtATime) {
  const std::unique_ptr<ThreadPool> pool = MakePool(GetParam());
  ASSERT_NE(pool, nullptr);
  std::vector<std::atomic<int>> inside(GetParam());
  std::atomic<int> faults{0};
  auto task = [&](int64_t, int worker) {
    if (worker < 0 || worker >= static_cast<int>(inside.size())) {
      faults.fetch_add(1);
      return;
    }
    if (inside[worker].fetch_add(1) != 0) faults.fetch_add(1);
    sched_yield();
    inside[worker].fetch_sub(1);
  };
  pool->ParallelFor(2000, task);
  EXPECT_EQ(faults.load(), 0);
}

TEST_P(PoolOf, NeverLetsARoundSeeAnothersWork) {
  // Each round has its own context on the stack; a late worker that claimed in a later round would touch a
  // dead one or leave a hole. Plain integers, so that a thread checker sees any overlap.
  const std::unique_ptr<ThreadPool> pool = MakePool(GetParam());
  ASSERT_NE(pool, nullptr);
  pool->Wake();
  for (int64_t round = 0; round < 20'000; ++round) {
    const int64_t count = 1 + round % 5;
    int64_t results[5] = {-1, -1, -1, -1, -1};
    auto task = [&results, round](int64_t index, int) { results[index] = round * 10 + index; };
    pool->ParallelFor(count, task);
    for (int64_t i = 0; i < 5; ++i)
      ASSERT_EQ(results[i], i < count ? round * 10 + i : -1) << "round " << round;
  }
  pool->Sleep();
}

TEST_P(PoolOf, WorksAsleepAndThroughManyWakesAndSleeps) {
  const std::unique_ptr<ThreadPool> pool = MakePool(GetParam());
  ASSERT_NE(pool, nullptr);
  std::atomic<int64_t> sum{0};
  auto task = [&sum](int64_t index, int) { sum.fetch_add(index); };
  for (int i = 0; i < 500; ++i) {
    if (i % 2 == 0) pool->Wake();
    if (i % 4 == 0) pool->Wake();
    pool->ParallelFor(10, task);
    pool->Sleep();
    if (i % 3 == 0) pool->Sleep();
  }
  EXPECT_EQ(sum.load(), 500 * 45);
}

// Asks for a pause from the given question on.
class PauseFrom final : public PauseSource {
 public:
  explicit PauseFrom(int64_t question) : left_(question) {}
  bool ShouldPause() noexcept override { return left_.fetch_sub(1) <= 0; }

 private:
  std::atomic<int64_t> left_;
};

TEST_P(PoolOf, LeavesARoundWithALeadingRunOfIndicesDoneAndGoesOnBehindThem) {
  const std::unique_ptr<ThreadPool> pool = MakePool(GetParam());
  ASSERT_NE(pool, nullptr);
  pool->Wake();
  for (const int64_t count : {1, 2, 5, 100, 1000}) {
    for (const int64_t questions : {0, 1, 7, 64, 5000}) {
      std::vector<int> runs(count, 0);  // plain, so that a thread checker sees a task that outlives its round
      int64_t next = 0;
      while (next < count) {
        PauseFrom pause(questions);
        auto task = [&runs, next](int64_t index, int) { ++runs[next + index]; };
        const int64_t done = pool->ParallelForSome(count - next, task, &pause);
        ASSERT_GE(done, 1);
        ASSERT_LE(done, count - next);
        // Each thread may be in the middle of a task when another one asks.
        if (done < count - next) {
          ASSERT_LE(done, questions + GetParam());
        }
        next += done;
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(runs[i], i < next ? 1 : 0) << i << " of " << count;
      }
    }
  }
  pool->Sleep();
}

TEST_P(PoolOf, WithNothingToPauseItRunsAllIndices) {
  const std::unique_ptr<ThreadPool> pool = MakePool(GetParam());
  ASSERT_NE(pool, nullptr);
  std::atomic<int> runs{0};
  auto task = [&runs](int64_t, int) { runs.fetch_add(1); };
  EXPECT_EQ(pool->ParallelForSome(0, task, nullptr), 0);
  EXPECT_EQ(pool->ParallelForSome(100, task, nullptr), 100);
  EXPECT_EQ(runs.load(), 100);
}

INSTANTIATE_TEST_SUITE_P(Threads, PoolOf, testing::Values(1, 2, 3, 8, 33));

TEST(ThreadPool, CarriesWhatTheCallerWroteToTasksAndBack) {
  const std::unique_ptr<ThreadPool> pool = MakePool(4);
  ASSERT_NE(pool, nullptr);
  pool->Wake();
  std::vector<int> values(64);
  for (int round = 0; round < 300; ++round) {
    std::fill(values.begin(), values.end(), round);
    auto task = [&values](int64_t index, int) { values[index] += static_cast<int>(index); };
    pool->ParallelFor(static_cast<int64_t>(values.size()), task);
    for (int i = 0; i < 64; ++i) ASSERT_EQ(values[i], round + i);
  }
  pool->Sleep();
}

TEST(ThreadPool, UsesAnotherThreadThanTheCallers) {
  const std::unique_ptr<ThreadPool> pool = MakePool(2);
  ASSERT_NE(pool, nullptr);
  pool->Wake();
  std::atomic<bool> helped{false};
  // The caller's index waits for the other one; tasks of the engine never do so, but it shows two at once.
  auto task = [&helped](int64_t, int worker) {
    if (worker == 1) helped.store(true);
    if (worker == 0) {
      while (!helped.load()) sched_yield();
    }
  };
  pool->ParallelFor(2, task);
  EXPECT_TRUE(helped.load());
  pool->Sleep();
}

TEST(ThreadPool, RunsMoreIndicesThanOneRoundHolds) {
  const std::unique_ptr<ThreadPool> pool = MakePool(2);
  ASSERT_NE(pool, nullptr);
  constexpr int64_t kCount = (int64_t{1} << 23) + 5;
  std::vector<uint8_t> runs(kCount, 0);
  auto task = [&runs](int64_t index, int) { ++runs[index]; };
  pool->ParallelFor(kCount, task);
  EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), kCount);
}

TEST(ThreadPool, FinishesThoughFarMoreThreadsThanProcessorsContend) {
  std::vector<std::unique_ptr<ThreadPool>> pools;
  for (int i = 0; i < 4; ++i) pools.push_back(MakePool(16));
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  callers.reserve(pools.size());
  for (const std::unique_ptr<ThreadPool>& pool : pools) {
    callers.emplace_back([&pool, &sum] {
      auto task = [&sum](int64_t, int) { sum.fetch_add(1); };
      pool->Wake();
      for (int round = 0; round < 100; ++round) pool->ParallelFor(32, task);
      pool->Sleep();
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 4 * 100 * 32);
}

TEST(ThreadPool, UsesNoProcessorTimeWhileItSleeps) {
  const std::vector<std::string> before_pool = OtherTasks();
  const std::unique_ptr<ThreadPool> pool = MakePool(3);
  ASSERT_NE(pool, nullptr);
  auto task = [](int64_t, int) {};
  pool->Wake();
  pool->ParallelFor(100, task);
  pool->Sleep();
  const std::vector<std::string> tasks = TasksSince(before_pool);
  ASSERT_EQ(tasks.size(), 2u);
  for (const std::string& worker : tasks) {
    AwaitSleep(worker);
    const std::string before = ReadAll(worker + "/schedstat");  // nanoseconds on a processor come first
    usleep(50'000);
    EXPECT_EQ(ReadAll(worker + "/schedstat"), before);
  }
}

TEST(ThreadPool, WorkersBlockAsynchronousSignals) {
  const std::vector<std::string> before_pool = OtherTasks();
  const std::unique_ptr<ThreadPool> pool = MakePool(3);
  ASSERT_NE(pool, nullptr);
  auto task = [](int64_t, int) {};
  pool->ParallelFor(100, task);
  const std::vector<std::string> tasks = TasksSince(before_pool);
  ASSERT_EQ(tasks.size(), 2u);
  for (const std::string& worker : tasks) {
    AwaitSleep(worker);
    const std::string status = ReadAll(worker + "/status");
    const std::string key = "SigBlk:\t";
    const uint64_t blocked = std::stoull(status.substr(status.find(key) + key.size(), 16), nullptr, 16);
    for (const int signal : {SIGINT, SIGTERM, SIGPIPE, SIGALRM, SIGCHLD, SIGPROF, SIGUSR1}) {
      EXPECT_NE(blocked & (uint64_t{1} << (signal - 1)), 0u) << "signal " << signal;
    }
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
      EXPECT_EQ(blocked & (uint64_t{1} << (signal - 1)), 0u) << "signal " << signal;
    }
  }
}

TEST(ThreadPool, RefusesANumberOfThreadsOutsideItsRange) {
  for (const int threads : {-1, 0, 1025}) {
    const absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(threads);
    ASSERT_FALSE(pool.ok());
    EXPECT_EQ(CodeOf(pool.status()), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(pool.status().message()), testing::HasSubstr(std::to_string(threads)));
  }
}

TEST(ThreadPool, JoinsWhatItStartedWhenTheSystemRefusesAThread) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the checker's own mappings exceed any limit on the address space";
#else
  const size_t before = OtherTasks().size();
  long mapped_pages = 0;
  std::ifstream("/proc/self/statm") >> mapped_pages;
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &old_limit), 0);
  rlimit limit = old_limit;
  // Room for a few stacks, not for a thousand.
  limit.rlim_cur =
      static_cast<rlim_t>(mapped_pages) * static_cast<rlim_t>(getpagesize()) + (rlim_t{64} << 20);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  const absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(1024);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &old_limit), 0);

  ASSERT_FALSE(pool.ok());
  EXPECT_EQ(CodeOf(pool.status()), ErrorCode::kLimitExceeded);
  EXPECT_EQ(OtherTasks().size(), before);
#endif
}

}  // namespace
}  // namespace tessera
