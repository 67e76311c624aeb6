// The library's threads among the host's: signals, how many there are, how little stack callers need. See
// docs/process.md.
#include <dirent.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "tests/fault/busy.h"

namespace tessera::host {
namespace {

// The mask of blocked signals of each thread of this process whose name begins so.
std::vector<uint64_t> BlockedSignals(const std::string& prefix) {
  std::vector<uint64_t> masks;
  DIR* const tasks = opendir("/proc/self/task");
  while (const dirent* entry = readdir(tasks)) {
    std::ifstream status("/proc/self/task/" + std::string(entry->d_name) + "/status");
    bool ours = false;
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("Name:\t" + prefix, 0) == 0) ours = true;
      if (ours && line.rfind("SigBlk:\t", 0) == 0) masks.push_back(std::stoull(line.substr(8), nullptr, 16));
    }
  }
  closedir(tasks);
  return masks;
}

TEST(Signals, OfTheHostNeverRunOnThreadsOfTheLibrary) {
  Busy busy(/*stepped=*/false);
  std::vector<uint64_t> masks, workers;
  for (int i = 0; i < 3000 && (masks.empty() || workers.empty());
       ++i) {  // a thread names itself once it runs
    usleep(10'000);
    masks = BlockedSignals("tessera-engine");
    workers = BlockedSignals("tsr-pool");
  }
  EXPECT_EQ(masks.size(), 1u);
  EXPECT_EQ(workers.size(), 1u);  // engine.threads is 2
  masks.insert(masks.end(), workers.begin(), workers.end());
  const auto bit = [](int signal) { return uint64_t{1} << (signal - 1); };
  for (const uint64_t mask : masks) {
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD,
                             SIGTSTP, SIGPROF, SIGVTALRM, SIGIO, SIGWINCH, SIGURG}) {
      EXPECT_TRUE(mask & bit(signal)) << "signal " << signal << " is open";
    }
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
      EXPECT_FALSE(mask & bit(signal)) << "signal " << signal << " is blocked";
    }
  }
}

// Sends itself signals while the library's threads compute: the handler must find the host's thread each
// time.
std::atomic<int> caught{0}, caught_elsewhere{0};
pid_t host_thread = 0;

void NoteThread(int) {
  ++caught;
  if (static_cast<pid_t>(syscall(SYS_gettid)) != host_thread) ++caught_elsewhere;
}

TEST(Signals, AreHandledByTheHostsThreadThoughTheLibrarysAreFree) {
  host_thread = static_cast<pid_t>(syscall(SYS_gettid));
  caught = caught_elsewhere = 0;
  struct sigaction action = {};
  action.sa_handler = NoteThread;
  struct sigaction before[3];
  const int signals[] = {SIGUSR1, SIGTERM, SIGINT};
  for (int i = 0; i < 3; ++i) sigaction(signals[i], &action, &before[i]);
  const Busy busy(/*stepped=*/false);
  // While this thread blocks them, the kernel looks for another that does not; there is none.
  sigset_t mask, old;
  sigemptyset(&mask);
  for (const int signal : signals) sigaddset(&mask, signal);
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    pthread_sigmask(SIG_BLOCK, &mask, &old);
    for (const int signal : signals) kill(getpid(), signal);
    usleep(200);
    EXPECT_EQ(caught, 3 * round) << "another thread took a signal";
    pthread_sigmask(SIG_SETMASK, &old, nullptr);  // they come now
  }
  for (int i = 0; i < 3; ++i) sigaction(signals[i], &before[i], nullptr);
  EXPECT_EQ(caught, 3 * kRounds);
  EXPECT_EQ(caught_elsewhere, 0);
}

TEST(SignalsDeathTest, OfACrashOnTheEnginesThreadReachTheHostsHandler) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
    static int raised;
    raised = signal;
    const auto crash = [] {
      struct sigaction action = {};
      action.sa_handler = [](int got) { _exit(got == raised ? 7 : 8); };
      sigaction(raised, &action, nullptr);
      const Busy busy(/*stepped=*/false, [](void*) { pthread_kill(pthread_self(), raised); });
      for (;;) pause();
    };
    EXPECT_EXIT(crash(), testing::ExitedWithCode(7), "") << signal;
  }
}

TEST(Signals, OfABrokenPipeAreNeverRaised) {
  caught = 0;
  struct sigaction action = {}, before;
  action.sa_handler = NoteThread;
  sigaction(SIGPIPE, &action, &before);
  for (const bool stepped : {false, true}) {
    Busy busy(stepped);
    int descriptor = -1;
    ASSERT_EQ(tsr_queue_descriptor(busy.queue.get(), &descriptor, nullptr), TSR_STATUS_OK);
    const int host_copy = dup(descriptor);
    Finish(busy.queue.get(), busy.engine.get(), 1);
    tsr_queue_release(busy.queue.release());  // the host's copy outlives it
    close(host_copy);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    close(ends[0]);
    tsr_model* model = nullptr;
    EXPECT_NE(tsr_model_load_descriptor(busy.host.runtime(), ends[1], 0, 0, nullptr, &model, nullptr),
              TSR_STATUS_OK);
    close(ends[1]);
  }
  sigaction(SIGPIPE, &before, nullptr);
  EXPECT_EQ(caught, 0);
}

// Threads of this process whose name begins so.
size_t ThreadsNamed(const std::string& prefix) { return BlockedSignals(prefix).size(); }

TEST(Threads, AreAsManyAsTheHostsAffinityGrants) {
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  int first = 0;
  while (!CPU_ISSET(first, &all)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  {
    const Host host(MakeTinyModel());
    const Handle<tsr_engine> engine = host.Engine(Options().Bool("engine.stepped", true));
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof(metrics);
    EXPECT_EQ(tsr_engine_get_metrics(engine.get(), &metrics, nullptr), TSR_STATUS_OK);
    EXPECT_EQ(metrics.threads, 1);
    EXPECT_EQ(ThreadsNamed("tsr-pool"), 0u);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}

TEST(Threads, AreGoneOnceTheirEngineIsClosed) {
  Busy busy(/*stepped=*/false);
  EXPECT_EQ(tsr_engine_close(busy.engine.get(), nullptr), TSR_STATUS_OK);
  EXPECT_EQ(ThreadsNamed("tessera-engine") + ThreadsNamed("tsr-pool"), 0u);
}

// Loads a model, plans, tokenizes a long text and generates: what a host's thread of little stack may do.
void* UseTheLibrary(void* result) {
  const std::vector<uint8_t> model = MakeTinyModel();
  const Host host(model);
  tsr_plan plan = {};
  plan.struct_size = sizeof(plan);
  bool fine =
      tsr_plan_memory(host.runtime(), model.data(), model.size(), nullptr, &plan, nullptr) == TSR_STATUS_OK;
  const std::string text(1 << 20, 'a');
  fine = fine && host.Tokenize(text).size() > 1000;
  const Handle<tsr_engine> engine = host.Engine(EngineOptions(/*stepped=*/true));
  const Handle<tsr_queue> queue = host.Queue();
  const Handle<tsr_session> session = NewSession(engine.get());
  Append(session.get(), "the other hello");
  const Answer answer =
      Generate(session.get(), engine.get(), queue.get(), Options().Int("request.max_tokens", 8));
  *static_cast<bool*>(result) = fine && answer.finished == 1;
  return nullptr;
}

TEST(Stack, OfAHostsThreadMayBeSmall) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr size_t kStackBytes = 1 << 20;  // the checkers' own frames
#else
  constexpr size_t kStackBytes = 128 << 10;
#endif
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kStackBytes), 0);
  bool fine = false;
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attributes, UseTheLibrary, &fine), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  EXPECT_TRUE(fine);
}

}  // namespace
}  // namespace tessera::host
