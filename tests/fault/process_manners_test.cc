// What a library owes the process that it lives in: fork, exit, floating-point modes, signals.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

const Options kEndless = Options().Int("request.max_tokens", -1).Bool("request.ignore_end", true);

Options EngineOptions(bool stepped) {
  return Options().Bool("engine.stepped", stepped).Int("engine.threads", 2).Int("engine.cache_tokens", 2048);
}

// Everything a host holds, with a request running.
struct Busy {
  explicit Busy(bool stepped)
      : host(MakeTinyModel()),
        engine(host.Engine(EngineOptions(stepped))),
        queue(host.Queue()),
        session(NewSession(engine.get())) {
    Append(session.get(), "the other hello");
    EXPECT_EQ(tsr_session_generate(session.get(), kEndless.get(), queue.get(), 1, nullptr, nullptr),
              TSR_STATUS_OK);
  }
  Host host;
  Handle<tsr_engine> engine;
  Handle<tsr_queue> queue;
  Handle<tsr_session> session;
};

// In the child: 0 when every call answers FORKED with an error, and every release returns.
int LookAroundInChild(Busy& busy) {
  tsr_error* error = nullptr;
  uint64_t buffer[64];
  size_t used = 0;
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  if (tsr_queue_poll(busy.queue.get(), -1, buffer, sizeof(buffer), &used, &error) != TSR_STATUS_FORKED)
    return 1;
  if (tsr_error_code(error) != TSR_STATUS_FORKED) return 2;
  tsr_error_release(error);
  if (tsr_session_cancel(busy.session.get(), TSR_CANCEL_KEEP, nullptr) != TSR_STATUS_FORKED) return 3;
  if (tsr_engine_get_metrics(busy.engine.get(), &metrics, nullptr) != TSR_STATUS_FORKED) return 4;
  if (tsr_engine_step(busy.engine.get(), 0, nullptr, nullptr) != TSR_STATUS_FORKED) return 5;
  if (tsr_engine_close(busy.engine.get(), nullptr) != TSR_STATUS_FORKED) return 6;
  tsr_runtime* runtime = nullptr;
  if (tsr_runtime_create(nullptr, &runtime, nullptr) != TSR_STATUS_FORKED || runtime != nullptr) return 7;
  if (std::strcmp(tsr_status_name(TSR_STATUS_FORKED), "TSR_STATUS_FORKED") != 0) return 8;
  tsr_engine_release(busy.engine.release());
  tsr_queue_release(busy.queue.release());
  tsr_session_release(busy.session.release());
  tsr_model_release(nullptr);
  return 0;
}

TEST(Fork, LeavesTheChildAnsweringForkedAndTheParentAtWork) {
  for (int round = 0; round < 10; ++round) {
    Busy busy(/*stepped=*/round % 2 == 1);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);  // a child that hangs ends by a signal, which the parent sees
      _exit(LookAroundInChild(busy));
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    const std::map<uint64_t, Answer> answers = Finish(busy.queue.get(), busy.engine.get(), 1);
    EXPECT_EQ(answers.at(1).end.reason, TSR_FINISH_CONTEXT);
  }
}

Busy* busy_at_exit;  // reachable, so that a sanitizer does not call what is alive at exit a leak

// The handles stay alive while the process ends under the engine's threads.
[[noreturn]] void ExitWhileBusy(bool stepped, bool from_other_thread) {
  Busy* const busy = new Busy(stepped);
  busy_at_exit = busy;
  if (stepped) {
    std::thread([busy] {
      for (;;) tsr_engine_step(busy->engine.get(), 0, nullptr, nullptr);
    }).detach();
  }
  if (from_other_thread) {
    std::thread([] { std::exit(42); }).detach();
    for (;;) pause();
  }
  std::exit(42);
}

TEST(ExitDeathTest, WithABusyEngineKeepsTheExitCode) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (int round = 0; round < 3; ++round) {
    for (const bool stepped : {false, true}) {
      for (const bool other : {false, true}) {
        EXPECT_EXIT(ExitWhileBusy(stepped, other), testing::ExitedWithCode(42), "") << stepped << other;
      }
    }
  }
}

#if defined(__SSE__)

struct Computed {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
};

constexpr unsigned kOddMode =
    _MM_FLUSH_ZERO_ON | 0x0040u /* denormals are zero */ | _MM_ROUND_UP | _MM_MASK_MASK;

// Everything in this mode, from loading to reading the logits.
Computed Compute(const std::vector<uint8_t>& model, bool stepped, unsigned mode) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(mode);
  Computed computed;
  {
    const Host host(model);
    const Handle<tsr_engine> engine = host.Engine(EngineOptions(stepped));
    const Handle<tsr_queue> queue = host.Queue();
    const Handle<tsr_session> session = NewSession(engine.get(), /*logits=*/true);
    Append(session.get(), "the other hello");
    const Options options = Options()
                                .Int("request.max_tokens", 12)
                                .Bool("request.ignore_end", true)
                                .Float("sampling.temperature", 0.9)
                                .Float("sampling.top_p", 0.95)
                                .Int("request.top_logprobs", 2);
    EXPECT_EQ(tsr_session_generate(session.get(), options.get(), queue.get(), 1, nullptr, nullptr),
              TSR_STATUS_OK);
    if (stepped) {
      tsr_step_stats stats = {};
      stats.struct_size = sizeof(stats);
      do {
        EXPECT_EQ(tsr_engine_step(engine.get(), 0, &stats, nullptr), TSR_STATUS_OK);
        EXPECT_EQ(_mm_getcsr() & ~_MM_EXCEPT_MASK, mode & ~_MM_EXCEPT_MASK);
      } while (stats.work_left != 0);
    }
    computed.tokens = Finish(queue.get(), engine.get(), 1)[1].tokens;
    EXPECT_EQ(_mm_getcsr() & ~_MM_EXCEPT_MASK, mode & ~_MM_EXCEPT_MASK);
    computed.logits = Logits(session.get());
  }
  _mm_setcsr(before);
  return computed;
}

TEST(FloatingPointMode, OfTheHostChangesNoBitAndIsGivenBack) {
  const std::vector<uint8_t> model = MakeTinyModel(TinyOptionsOfType(TensorType::kQ8_0));
  for (const bool stepped : {false, true}) {
    const Computed plain = Compute(model, stepped, _mm_getcsr());
    const Computed odd = Compute(model, stepped, kOddMode);
    EXPECT_EQ(plain.tokens.size(), 12u);
    EXPECT_EQ(plain.tokens, odd.tokens);
    ASSERT_EQ(plain.logits.size(), odd.logits.size());
    EXPECT_EQ(std::memcmp(plain.logits.data(), odd.logits.data(), plain.logits.size() * sizeof(float)), 0);
  }
}

// The host may want a trap for what our kernels do all day, such as an inexact result.
TEST(FloatingPointMode, WithTrapsUnmaskedDoesNotTrapInsideTheLibrary) {
  Busy busy(/*stepped=*/true);
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before & ~_MM_EXCEPT_MASK & ~(_MM_MASK_INEXACT | _MM_MASK_UNDERFLOW));
  tsr_status status = TSR_STATUS_OK;
  for (int i = 0; i < 50 && status == TSR_STATUS_OK; ++i)
    status = tsr_engine_step(busy.engine.get(), 0, nullptr, nullptr);
  _mm_setcsr(before);
  EXPECT_EQ(status, TSR_STATUS_OK);
}

#endif

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

}  // namespace
}  // namespace tessera::host
