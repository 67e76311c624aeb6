// How well the host stays in charge: by how much tsr_engine_step overshoots its budget, and how long a cancel
// takes. Prints JSON lines. Includes the C header only.
//   step_bench (--model FILE | --shape 1b/q4_0) [--threads N] [--budget-us N] [--frame-us N] [--steps N]
//   [--cancels N] [--prompt-tokens N] [--only decode|prompt|mixed|cancel_threaded|cancel_stepped]
// Overshoot: time in the call less the budget, of steps that left work behind; one step a frame, and the rest
// of the frame this thread sleeps, as a host's own work would leave the engine alone. Cancel: from the call
// of tsr_session_cancel, by a thread of its own which then releases the session, until the terminal event is
// polled, and until every cache block that the session held is free.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "bench/host.h"

namespace {

using tessera_bench::Must;
using tessera_bench::NewOptions;
using tessera_bench::SetBool;
using tessera_bench::SetInt;
using Clock = std::chrono::steady_clock;

struct Arguments {
  tessera_bench::ModelChoice model;
  int64_t threads = 2;
  int64_t budget_us = 4000;
  int64_t frame_us = 8000;
  int64_t steps = 3000;
  int64_t cancels = 200;
  int64_t prompt_tokens = 8000;
  std::string only;
};

Arguments Parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const struct {
      const char* name;
      int64_t* value;
    } numbers[] = {{"--threads", &a.threads},   {"--budget-us", &a.budget_us},
                   {"--frame-us", &a.frame_us}, {"--steps", &a.steps},
                   {"--cancels", &a.cancels},   {"--prompt-tokens", &a.prompt_tokens}};
    for (const auto& number : numbers) {
      if (name == number.name) *number.value = std::atoll(argv[i + 1]);
    }
    if (name == "--model") a.model.file = argv[i + 1];
    if (name == "--shape") a.model.shape = argv[i + 1];
    if (name == "--only") a.only = argv[i + 1];
  }
  if (a.model.file.empty() == a.model.shape.empty()) {
    tessera_bench::Fail("step_bench", "--model, --shape", "one of them");
  }
  return a;
}

double Milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

class Distribution {
 public:
  void Add(double value) { values_.push_back(value); }
  size_t count() const { return values_.size(); }
  void Print(const Arguments& a, const char* what) {
    if (values_.empty()) tessera_bench::Fail("step_bench", what, "nothing was measured");
    std::sort(values_.begin(), values_.end());
    std::printf(
        "{\"model\": \"%s\", \"threads\": %lld, \"what\": \"%s\", \"count\": %zu, \"p50_ms\": %.3f, "
        "\"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
        a.model.name().c_str(), static_cast<long long>(a.threads), what, values_.size(), At(0.5), At(0.99),
        values_.back());
    std::fflush(stdout);
  }

 private:
  double At(double share) const {
    return values_[static_cast<size_t>(share * static_cast<double>(values_.size() - 1))];
  }
  std::vector<double> values_;
};

class Bench {
 public:
  explicit Bench(const Arguments& arguments) : a_(arguments) {
    Must runtime("runtime"), info("info");
    runtime = tsr_runtime_create(nullptr, &runtime_, runtime);
    model_ = tessera_bench::LoadModel(runtime_, a_.model);
    tsr_model_info full = {};
    full.struct_size = sizeof full;
    info = tsr_model_get_info(model_, &full, info);
    vocabulary_ = full.vocabulary_size;
  }

  void Overshoot(const char* what, int prompts, int decodes);
  void Cancel(const char* what, bool stepped);

 private:
  struct Run {  // one engine with its queue
    tsr_engine* engine = nullptr;
    tsr_queue* queue = nullptr;
    uint64_t buffer[8192];
  };

  void Open(Run* run, bool stepped, int64_t cache_tokens) const {
    tsr_options* options = NewOptions();
    SetBool(options, "engine.stepped", stepped);
    SetInt(options, "engine.threads", a_.threads);
    SetInt(options, "engine.context_tokens", a_.prompt_tokens + 160);
    SetInt(options, "engine.cache_tokens", cache_tokens);
    SetBool(options, "engine.share_prefixes", false);  // blocks are free as soon as nobody holds them
    Must engine("engine"), queue("queue");
    engine = tsr_engine_create(model_, options, &run->engine, engine);
    queue = tsr_queue_create(runtime_, nullptr, &run->queue, queue);
    tsr_options_release(options);
  }
  static void Close(Run* run) {
    tsr_queue_release(run->queue);
    tsr_engine_release(run->engine);
  }

  tsr_session* Session(const Run& run) const {
    tsr_session* session = nullptr;
    Must must("session");
    must = tsr_session_create(run.engine, nullptr, &session, must);
    return session;
  }
  void Ask(const Run& run, tsr_session* session, int64_t prompt_tokens, int64_t new_tokens, uint64_t tag) {
    const std::vector<int32_t> prompt =
        tessera_bench::RandomTokens(static_cast<size_t>(prompt_tokens), vocabulary_, ++seed_);
    Must append("append"), generate("generate");
    append = tsr_session_append_tokens(session, prompt.data(), prompt.size(), append);
    tsr_options* options = NewOptions();
    SetInt(options, "request.max_tokens", new_tokens);
    SetBool(options, "request.ignore_end", true);
    generate = tsr_session_generate(session, options, run.queue, tag, nullptr, generate);
    tsr_options_release(options);
  }
  // Calls finished(tag) for every terminal event.
  static void Poll(Run* run, int64_t timeout_ns, const std::function<void(uint64_t)>& finished) {
    Must must("poll");
    size_t used = 0;
    must = tsr_queue_poll(run->queue, timeout_ns, run->buffer, sizeof run->buffer, &used, must);
    tessera_bench::ForEachEvent(run->buffer, used, [&](const tsr_event& head, const char*) {
      if (head.kind == TSR_EVENT_FINISHED) finished(head.tag);
    });
  }
  static tsr_engine_metrics Metrics(const Run& run) {
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof metrics;
    Must must("metrics");
    must = tsr_engine_get_metrics(run.engine, &metrics, must);
    return metrics;
  }
  bool Step(const Run& run, Distribution* overshoot) const {
    tsr_step_stats stats = {};
    stats.struct_size = sizeof stats;
    Must must("step");
    const Clock::time_point start = Clock::now();
    must = tsr_engine_step(run.engine, a_.budget_us * 1000, &stats, must);
    const double over = Milliseconds(Clock::now() - start) - static_cast<double>(a_.budget_us) / 1000;
    if (stats.work_left != 0 && overshoot != nullptr) overshoot->Add(std::max(over, 0.0));
    return stats.work_left != 0;
  }
  double CancelOnce(Run* run, tsr_session* session, bool stepped, int64_t after_us, int64_t free_before,
                    double* blocks_back);

  const Arguments a_;
  tsr_runtime* runtime_ = nullptr;
  tsr_model* model_ = nullptr;
  int32_t vocabulary_ = 0;
  uint64_t seed_ = 0;
};

// So many sessions compute long prompts and so many decode, each beginning anew when it ends.
void Bench::Overshoot(const char* what, int prompts, int decodes) {
  Run run;
  Open(&run, /*stepped=*/true, (a_.prompt_tokens + 160) * prompts + 1024 * decodes + 1024);
  std::vector<tsr_session*> sessions(static_cast<size_t>(prompts + decodes));
  const auto begin = [&](uint64_t i) {
    tsr_session_release(sessions[i]);
    sessions[i] = Session(run);
    if (i < static_cast<uint64_t>(prompts)) {
      Ask(run, sessions[i], a_.prompt_tokens, 1, i);
    } else {
      Ask(run, sessions[i], 64, 256, i);
    }
  };
  for (size_t i = 0; i < sessions.size(); ++i) begin(i);
  for (int i = 0; i < 20; ++i) Step(run, nullptr);  // not counted: pages are touched for the first time
  Distribution overshoot;
  while (overshoot.count() < static_cast<size_t>(a_.steps)) {
    const Clock::time_point frame = Clock::now();
    Step(run, &overshoot);
    Poll(&run, 0, begin);
    std::this_thread::sleep_until(frame + std::chrono::microseconds(a_.frame_us));
  }
  for (tsr_session* session : sessions) tsr_session_release(session);
  Close(&run);
  overshoot.Print(a_, what);
}

// Milliseconds from the cancel, `after_us` from now, to the terminal event's arrival. The session is
// released.
double Bench::CancelOnce(Run* run, tsr_session* session, bool stepped, int64_t after_us, int64_t free_before,
                         double* blocks_back) {
  std::atomic<int64_t> cancelled_at{0};
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::microseconds(after_us));
    cancelled_at.store(Clock::now().time_since_epoch().count());
    tsr_session_cancel(session, TSR_CANCEL_DROP, nullptr);
    tsr_session_release(session);  // or it would keep what is computed
  });
  bool finished = false;
  while (!finished) {
    const Clock::time_point frame = Clock::now();
    if (stepped) Step(*run, nullptr);
    // What is left of the frame is spent waiting for events.
    const std::chrono::nanoseconds left = std::chrono::microseconds(a_.frame_us) - (Clock::now() - frame);
    Poll(run, stepped ? std::max<int64_t>(left.count(), 0) : -1, [&](uint64_t) { finished = true; });
  }
  const Clock::time_point polled = Clock::now();
  while (Metrics(*run).blocks_free < free_before) {
    if (stepped) {
      Step(*run, nullptr);
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  const Clock::time_point back = Clock::now();
  canceller.join();
  const Clock::time_point start{Clock::duration(cancelled_at.load())};
  *blocks_back = Milliseconds(back - start);
  return Milliseconds(polled - start);
}

// Every other prompt is cancelled near its beginning, the others where it is nearly done: there each token
// sees much context.
void Bench::Cancel(const char* what, bool stepped) {
  Run run;
  Open(&run, stepped, 3 * (a_.prompt_tokens + 160));
  const int64_t late_tokens = a_.prompt_tokens / 8;
  tsr_session* const base = Session(run);
  Ask(run, base, a_.prompt_tokens - late_tokens, 0, 0);
  bool ready = false;
  while (!ready) {
    if (stepped) Step(run, nullptr);
    Poll(&run, stepped ? 0 : -1, [&](uint64_t) { ready = true; });
  }
  Distribution to_event, to_blocks;
  for (int64_t i = 0; i < a_.cancels; ++i) {
    tsr_session* session = nullptr;
    if (i % 2 == 0) {
      session = Session(run);
    } else {
      Must fork("fork");
      fork = tsr_session_fork(base, nullptr, &session, fork);
    }
    const int64_t free_before = Metrics(run).blocks_free;
    Ask(run, session, i % 2 == 0 ? a_.prompt_tokens : late_tokens, 1, 1);
    double blocks_back = 0;
    to_event.Add(CancelOnce(&run, session, stepped, 2000 + i * 7919 % 60000, free_before, &blocks_back));
    to_blocks.Add(blocks_back);
  }
  tsr_session_release(base);
  Close(&run);
  to_event.Print(a_, what);
  to_blocks.Print(a_, (std::string(what) + "/blocks").c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments a = Parse(argc, argv);
  Bench bench(a);
  const auto wanted = [&](const char* name) { return a.only.empty() || a.only == name; };
  if (wanted("decode")) bench.Overshoot("overshoot/decode", 0, 4);
  if (wanted("prompt")) bench.Overshoot("overshoot/prompt", 2, 0);
  if (wanted("mixed")) bench.Overshoot("overshoot/mixed", 1, 4);
  if (wanted("cancel_threaded")) bench.Cancel("cancel/threaded", false);
  if (wanted("cancel_stepped")) bench.Cancel("cancel/stepped", true);
  return 0;
}
