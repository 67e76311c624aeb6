// A plan beside the truth: what tsr_plan says of a model from its header, then what loading and running it
// takes. Prints JSON. Includes the C header only.
//   plan_bench (--model FILE | --shape 1b/q4_0) [--threads N] [--context N] [--prompt-tokens N]
//   [--decode-tokens N]
// Memory is measured twice: what the process has mapped and allocated (growth of VmData on a stepped engine,
// without the stacks of its workers), and what is resident once the cache is full (growth of RssAnon).
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "bench/host.h"

namespace {

using tessera_bench::Must;
using Clock = std::chrono::steady_clock;

struct Arguments {
  tessera_bench::ModelChoice model;
  int64_t threads = 2;
  int64_t context = 1024;
  int64_t prompt_tokens = 256;
  int64_t decode_tokens = 64;
};

Arguments Parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--model") a.model.file = argv[i + 1];
    if (name == "--shape") a.model.shape = argv[i + 1];
    if (name == "--threads") a.threads = std::atoll(argv[i + 1]);
    if (name == "--context") a.context = std::atoll(argv[i + 1]);
    if (name == "--prompt-tokens") a.prompt_tokens = std::atoll(argv[i + 1]);
    if (name == "--decode-tokens") a.decode_tokens = std::atoll(argv[i + 1]);
  }
  if (a.model.file.empty() == a.model.shape.empty()) {
    tessera_bench::Fail("plan_bench", "--model, --shape", "one of them");
  }
  if (a.context < a.prompt_tokens + a.decode_tokens + 2) {
    tessera_bench::Fail("plan_bench", "--context", "must hold the prompt and the decoded tokens");
  }
  return a;
}

// A line of /proc/self/status, in bytes.
uint64_t Status(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10) * 1024;
  }
  return 0;
}

struct Memory {
  uint64_t mapped = Status("VmData:");
  uint64_t resident = Status("RssAnon:");
};

// The address space of one worker's stack.
uint64_t StackBytes() {
  rlimit limit = {};
  getrlimit(RLIMIT_STACK, &limit);
  const uint64_t unlimited = uint64_t{2} << 20;
  return limit.rlim_cur == RLIM_INFINITY ? unlimited : limit.rlim_cur;
}

class Bench {
 public:
  explicit Bench(const Arguments& arguments) : a_(arguments) {
    Must runtime("runtime"), queue("queue");
    runtime = tsr_runtime_create(nullptr, &runtime_, runtime);
    queue = tsr_queue_create(runtime_, nullptr, &queue_, queue);
    settings_ = tessera_bench::NewOptions();
    tessera_bench::SetInt(settings_, "engine.threads", a_.threads);
    tessera_bench::SetInt(settings_, "engine.context_tokens", a_.context);
    tessera_bench::SetBool(settings_, "engine.stepped", true);
  }

  tsr_plan Plan() const {
    tsr_options* options = tessera_bench::NewOptions();
    tessera_bench::SetInt(options, "engine.threads", a_.threads);
    tessera_bench::SetInt(options, "engine.context_tokens", a_.context);
    tessera_bench::SetInt(options, "engine.batch_tokens", 256);
    tessera_bench::SetBool(options, "plan.probe", true);
    tsr_plan plan = {};
    plan.struct_size = sizeof plan;
    Must must("plan");
    if (a_.model.shape.empty()) {
      must = tsr_plan_file(runtime_, a_.model.file.data(), a_.model.file.size(), options, &plan, must);
    } else {
      tessera_bench::ShapedModel shaped(a_.model.Shape());
      const tsr_reader reader = shaped.Reader();
      must = tsr_plan_reader(runtime_, &reader, options, &plan, must);
    }
    tsr_options_release(options);
    return plan;
  }

  void Load() {
    model_ = tessera_bench::LoadModel(runtime_, a_.model);
    Must engine("engine"), info("info");
    engine = tsr_engine_create(model_, settings_, &engine_, engine);
    info_.struct_size = sizeof info_;
    info = tsr_model_get_info(model_, &info_, info);
  }

  tsr_engine_metrics Metrics() const {
    tsr_engine_metrics metrics = {};
    metrics.struct_size = sizeof metrics;
    Must must("metrics");
    must = tsr_engine_get_metrics(engine_, &metrics, must);
    return metrics;
  }
  const tsr_model_info& info() const { return info_; }

  struct Rates {
    double prompt = 0;  // tokens a second
    double decode = 0;
  };
  Rates Run(int64_t prompt_tokens, int64_t decode_tokens) {
    tsr_session* session = nullptr;
    Must create("session"), append("append"), generate("generate");
    create = tsr_session_create(engine_, nullptr, &session, create);
    const std::vector<int32_t> prompt =
        tessera_bench::RandomTokens(static_cast<size_t>(prompt_tokens), info_.vocabulary_size, ++seed_);
    append = tsr_session_append_tokens(session, prompt.data(), prompt.size(), append);
    tsr_options* options = tessera_bench::NewOptions();
    tessera_bench::SetInt(options, "request.max_tokens", decode_tokens + 1);
    tessera_bench::SetBool(options, "request.ignore_end", true);
    generate = tsr_session_generate(session, options, queue_, 0, nullptr, generate);
    tsr_options_release(options);
    const Clock::time_point start = Clock::now();
    const Clock::time_point first = WaitFor(TSR_EVENT_TOKENS);
    const Clock::time_point end = finished_ ? first : WaitFor(TSR_EVENT_FINISHED);
    finished_ = false;
    tsr_session_release(session);
    Rates rates;
    rates.prompt = static_cast<double>(prompt_tokens) / std::chrono::duration<double>(first - start).count();
    rates.decode = static_cast<double>(decode_tokens) / std::chrono::duration<double>(end - first).count();
    return rates;
  }

 private:
  Clock::time_point WaitFor(uint32_t kind) {
    for (;;) {
      Must wait("wait");
      size_t used = 0;
      wait = tsr_queue_wait(queue_, engine_, -1, buffer_, sizeof buffer_, &used, wait);
      const Clock::time_point now = Clock::now();
      bool seen = false;
      tessera_bench::ForEachEvent(buffer_, used, [&](const tsr_event& head, const char*) {
        seen = seen || head.kind == kind;
        finished_ = finished_ || head.kind == TSR_EVENT_FINISHED;
      });
      if (seen) return now;
    }
  }

  const Arguments a_;
  tsr_runtime* runtime_ = nullptr;
  tsr_queue* queue_ = nullptr;
  tsr_options* settings_ = nullptr;
  tsr_model* model_ = nullptr;
  tsr_engine* engine_ = nullptr;
  tsr_model_info info_ = {};
  uint64_t seed_ = 0;
  bool finished_ = false;
  uint64_t buffer_[8192];
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments a = Parse(argc, argv);
  Bench bench(a);
  const Memory before;  // the probe's threads leave their stacks behind for the pool's
  const tsr_plan plan = bench.Plan();
  bench.Load();
  const Memory loaded;
  bench.Run(a.context - 2, 1);  // fills the cache
  const Memory full;
  double prompt = 0, decode = 0, decode_full = 0;
  for (int round = 0; round < 5; ++round) {
    const Bench::Rates rates = bench.Run(a.prompt_tokens, a.decode_tokens);
    prompt = std::max(prompt, rates.prompt);
    decode = std::max(decode, rates.decode);
    decode_full = std::max(decode_full, bench.Run(a.context - a.decode_tokens - 2, a.decode_tokens).decode);
  }
  const tsr_engine_metrics metrics = bench.Metrics();
  const uint64_t stacks = static_cast<uint64_t>(metrics.threads - 1) * StackBytes();
  std::printf(
      "{\"model\": \"%s\", \"threads\": %d, \"context\": %lld, \"prompt_tokens\": %lld,\n"
      " \"planned\": {\"host_bytes\": %llu, \"weight_bytes\": %llu, \"cache_bytes\": %llu, "
      "\"scratch_bytes\": %llu, \"object_bytes\": %llu, \"decode_tokens_per_s\": %.2f, "
      "\"decode_tokens_per_s_full\": %.2f, \"prompt_tokens_per_s\": %.2f, \"read_bandwidth\": %.3e, "
      "\"products_per_s\": %.3e},\n",
      a.model.name().c_str(), metrics.threads, static_cast<long long>(a.context),
      static_cast<long long>(a.prompt_tokens), static_cast<unsigned long long>(plan.host_bytes),
      static_cast<unsigned long long>(plan.host_weight_bytes),
      static_cast<unsigned long long>(plan.host_cache_bytes),
      static_cast<unsigned long long>(plan.host_scratch_bytes),
      static_cast<unsigned long long>(plan.host_object_bytes), plan.decode_tokens_per_second,
      plan.decode_tokens_per_second_full, plan.prompt_tokens_per_second, plan.read_bandwidth,
      plan.products_per_second);
  std::printf(
      " \"measured\": {\"mapped_bytes\": %llu, \"resident_bytes\": %llu, \"weight_bytes\": %llu, "
      "\"cache_bytes\": %llu, \"scratch_bytes\": %llu, \"decode_tokens_per_s\": %.2f, "
      "\"decode_tokens_per_s_full\": %.2f, \"prompt_tokens_per_s\": %.2f}}\n",
      static_cast<unsigned long long>(loaded.mapped - before.mapped - stacks),
      static_cast<unsigned long long>(full.resident - before.resident),
      static_cast<unsigned long long>(bench.info().weight_bytes),
      static_cast<unsigned long long>(metrics.cache_bytes),
      static_cast<unsigned long long>(metrics.scratch_bytes), decode, decode_full, prompt);
  return 0;
}
