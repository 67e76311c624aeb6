// What a library owes the process that it lives in: fork, exit, floating-point modes. See docs/process.md.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "tests/doubles/tiny_model.h"
#include "tests/fault/busy.h"

namespace tessera::host {
namespace {

// What the child's calls answered, with each function's name where it was not FORKED.
class Child {
 public:
  void Expect(const char* name, tsr_status status) {
    if (status == TSR_STATUS_FORKED) return;
    std::fprintf(stderr, "%s answered %s in the child\n", name, tsr_status_name(status));
    wrong_ = 1;
  }
  int wrong() const { return wrong_; }

 private:
  int wrong_ = 0;
};

// In the child: 0 when every call answers FORKED with an error, and every release returns.
int LookAroundInChild(Busy& busy) {
  Child child;
  tsr_engine* const engine = busy.engine.get();
  tsr_queue* const queue = busy.queue.get();
  tsr_session* const session = busy.session.get();
  tsr_error* error = nullptr;
  uint64_t buffer[64];
  size_t size = 0;
  child.Expect("poll", tsr_queue_poll(queue, -1, buffer, sizeof(buffer), &size, &error));
  child.Expect("tsr_error_code", tsr_error_code(error));
  tsr_error_release(error);
  tsr_options* options = nullptr;
  child.Expect("options_create", tsr_options_create(&options, nullptr));
  child.Expect("options_set_int", tsr_options_set_int(busy.settings(), "engine.threads", 14, 1, nullptr));
  tsr_runtime* runtime = nullptr;
  child.Expect("runtime_create", tsr_runtime_create(nullptr, &runtime, nullptr));
  child.Expect("runtime_close", tsr_runtime_close(busy.host.runtime(), nullptr));
  tsr_model* model = nullptr;
  child.Expect("load", tsr_model_load_file(busy.host.runtime(), "/none", 5, nullptr, &model, nullptr));
  tsr_plan plan = {};
  plan.struct_size = sizeof(plan);
  child.Expect("plan", tsr_plan_file(busy.host.runtime(), "/none", 5, nullptr, &plan, nullptr));
  tsr_model_info info = {};
  info.struct_size = sizeof(info);
  child.Expect("get_info", tsr_model_get_info(busy.host.model(), &info, nullptr));
  child.Expect("tokenize", tsr_model_tokenize(busy.host.model(), "a", 1, 0, nullptr, 0, &size, nullptr));
  tsr_engine* second = nullptr;
  child.Expect("engine_create", tsr_engine_create(busy.host.model(), nullptr, &second, nullptr));
  child.Expect("step", tsr_engine_step(engine, 0, nullptr, nullptr));
  tsr_engine_metrics metrics = {};
  metrics.struct_size = sizeof(metrics);
  child.Expect("get_metrics", tsr_engine_get_metrics(engine, &metrics, nullptr));
  child.Expect("queue_create", tsr_queue_create(busy.host.runtime(), nullptr, nullptr, nullptr));
  child.Expect("wait", tsr_queue_wait(queue, engine, -1, buffer, sizeof(buffer), &size, nullptr));
  child.Expect("wake", tsr_queue_wake(queue, nullptr));
  int descriptor = -1;
  child.Expect("descriptor", tsr_queue_descriptor(queue, &descriptor, nullptr));
  tsr_session* other = nullptr;
  child.Expect("session_create", tsr_session_create(engine, nullptr, &other, nullptr));
  child.Expect("session_fork", tsr_session_fork(session, nullptr, &other, nullptr));
  child.Expect("append_text", tsr_session_append_text(session, "a", 1, 0, nullptr));
  child.Expect("generate", tsr_session_generate(session, nullptr, queue, 2, nullptr, nullptr));
  child.Expect("rewind", tsr_session_rewind(session, 0, nullptr));
  child.Expect("token_count", tsr_session_token_count(session, &size, nullptr));
  child.Expect("cancel", tsr_session_cancel(session, TSR_CANCEL_KEEP, nullptr));
  child.Expect("engine_close", tsr_engine_close(engine, nullptr));
  if (runtime != nullptr || second != nullptr || other != nullptr || model != nullptr) return 2;
  tsr_engine_release(busy.engine.release());
  tsr_queue_release(busy.queue.release());
  tsr_session_release(busy.session.release());
  busy.host.ReleaseAll();
  return child.wrong();
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

// The engine's own thread runs the host's exit handlers then.
TEST(ExitDeathTest, InsideACallbackKeepsTheExitCode) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto exit_in_callback = [] {
    Busy* const busy = new Busy(/*stepped=*/false, [](void*) { std::exit(42); });
    busy_at_exit = busy;
    for (;;) pause();
  };
  EXPECT_EXIT(exit_in_callback(), testing::ExitedWithCode(42), "");
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
    const auto expect_mode = [mode](const char* after) {
      EXPECT_EQ(_mm_getcsr() & ~_MM_EXCEPT_MASK, mode & ~_MM_EXCEPT_MASK) << after;
    };
    const Host host(model);
    expect_mode("tsr_model_load_memory");
    tsr_plan plan = {};
    plan.struct_size = sizeof(plan);
    const Options probe = Options().Bool("plan.probe", true);
    EXPECT_EQ(tsr_plan_memory(host.runtime(), model.data(), model.size(), probe.get(), &plan, nullptr),
              TSR_STATUS_OK);
    expect_mode("tsr_plan_memory");
    const Handle<tsr_engine> engine = host.Engine(EngineOptions(stepped));
    expect_mode("tsr_engine_create");
    const Handle<tsr_queue> queue = host.Queue();
    const Handle<tsr_session> session = NewSession(engine.get(), /*logits=*/true);
    Append(session.get(), "the other hello");
    expect_mode("tsr_session_append_text");
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
        expect_mode("tsr_engine_step");
      } while (stats.work_left != 0);
    }
    computed.tokens = Finish(queue.get(), engine.get(), 1)[1].tokens;
    expect_mode("tsr_queue_wait");
    computed.logits = Logits(session.get());
    expect_mode("tsr_session_get_logits");
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

}  // namespace
}  // namespace tessera::host
