// What the engine itself costs a batch: planning, entering, committing, posting events; all but the backend's
// share, for this backend computes nothing. 256 sessions run, with some 500 tokens of context each. "cold":
// the backend leaves nothing of the engine's in the processor's caches.
//
// Usage: scheduler_bench [BATCHES [COMMIT]]; prints lines for bench/results/scheduler.jsonl.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/engine/engine.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

constexpr int kSessions = 256;
constexpr size_t kPromptTokens = 400;  // and up to 15 more, so that blocks do not fill all at once
constexpr int64_t kGenerated = 220;    // of a round; contexts grow from 400 to 620
constexpr int64_t kWarmUp = 20;        // batches of a round that are not counted: they hold the prompts
constexpr size_t kMixedPrompts = 32;   // sessions that always compute prompts, in the mixed case
constexpr size_t kColdBytes = 64 << 20;

// This thread's time on a processor: what other programs of the machine take does not count.
class ProcessorClock final : public Clock {
 public:
  int64_t NowNs() const noexcept override {
    timespec now = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
};

// Nothing is computed; each sample gets a letter.
class NullContext final : public BackendContext {
 public:
  explicit NullContext(std::vector<uint8_t>* sweep) : sweep_(sweep) {}
  absl::Status Execute(const Region& region, const RegionWeights&, const StepView& step) noexcept override {
    if (region.kind == RegionKind::kEmbed) {
      for (size_t i = 0; i < sweep_->size(); i += 64) ++(*sweep_)[i];
    }
    if (region.kind != RegionKind::kSample) return absl::OkStatus();
    for (int32_t i = 0; i < step.sample_count; ++i) {
      step.samples[i].token = 3 + 'a' + static_cast<int32_t>(step.samples[i].position % 26);
      step.samples[i].numeric_fault = false;
      step.samples[i].top_count = 0;
    }
    return absl::OkStatus();
  }

 private:
  std::vector<uint8_t>* sweep_;
};

class NullBackend final : public Backend {
 public:
  explicit NullBackend(std::vector<uint8_t>* sweep) : sweep_(sweep) {}
  const char* name() const override { return "null"; }
  size_t PackedBytes(TensorType, int64_t, int64_t) const override { return 1; }
  int64_t PackRows() const override { return 1; }
  absl::Status Pack(TensorType, int64_t, int64_t, int64_t, int64_t, const void*, void*) const override {
    return absl::OkStatus();
  }
  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec&, const BackendLimits&) const override {
    return ContextMemory{};
  }
  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec&, const BackendLimits&,
                                                                const Residency*,
                                                                MemorySource*) const override {
    return std::unique_ptr<BackendContext>(std::make_unique<NullContext>(sweep_));
  }

 private:
  std::vector<uint8_t>* sweep_;
};

struct Case {
  const char* name;
  bool mixed = false;
  bool cold = false;
  int queues = 1;
};

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "scheduler_bench: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

class SchedulerBench {
 public:
  explicit SchedulerBench(const Case& what) : what_(what), sweep_(what.cold ? kColdBytes : 0) {
    auto backend = std::make_shared<NullBackend>(&sweep_);
    TinyModelOptions model_options;
    model_options.context_tokens = 1024;
    auto model = LoadModel(FileOf(MakeTinyModel(model_options)), *backend, SystemMemory(), nullptr);
    if (!model.ok()) Fail(model.status());
    EngineOptions options;
    options.stepped = true;
    options.context_tokens = 1024;
    options.cache_tokens = int64_t{kSessions} * 700;
    options.batch_sequences = kSessions;
    options.batch_tokens = 512;
    auto engine = Engine::Create(*model, backend, options, &clock_, SystemMemory(), Logger());
    if (!engine.ok()) Fail(engine.status());
    engine_ = *std::move(engine);
    for (int i = 0; i < what.queues; ++i) queues_.push_back(*EventQueue::Create(nullptr));
    for (int i = 0; i < kSessions; ++i) sessions_.push_back(*engine_->CreateSession(false));
  }
  ~SchedulerBench() {
    engine_->Close();
    for (const std::shared_ptr<EventQueue>& queue : queues_) queue->Abandon();
  }

  void Run(int64_t batches) {
    while (static_cast<int64_t>(own_us_.size()) < batches) {
      for (size_t i = what_.mixed ? kMixedPrompts : 0; i < sessions_.size(); ++i) Ask(i, kGenerated);
      for (int64_t batch = 0; decoding() && static_cast<int64_t>(own_us_.size()) < batches; ++batch) {
        for (size_t i = 0; what_.mixed && i < kMixedPrompts; ++i) {
          if (sessions_[i]->request == nullptr) Ask(i, 0);
        }
        Step(batch >= rounds_warm_up());
      }
      Finish();
    }
  }
  const std::vector<double>& own_us() const { return own_us_; }
  const std::vector<double>& poll_us() const { return poll_us_; }

 private:
  bool decoding() const { return sessions_.back()->request != nullptr; }
  int64_t rounds_warm_up() const {
    return own_us_.empty() ? 300 : kWarmUp;
  }  // the first computes all prompts

  static size_t PromptTokens(size_t index) { return kPromptTokens + index % 16; }

  // A fresh prompt, or the old one cut to its length: then nothing but decoding is left.
  void Ask(size_t index, int64_t max_tokens) {
    Session& session = *sessions_[index];
    if (max_tokens == 0 || session.tokens.empty()) {
      std::vector<int32_t> tokens(PromptTokens(index));
      for (int32_t& token : tokens) {
        random_ = random_ * 6364136223846793005u + 1442695040888963407u;
        token = 3 + static_cast<int32_t>(random_ >> 56);
      }
      if (absl::Status status = engine_->Rewind(session, 0); !status.ok()) Fail(status);
      if (absl::Status status = engine_->Append(session, tokens); !status.ok()) Fail(status);
    } else if (absl::Status status = engine_->Rewind(session, PromptTokens(index)); !status.ok()) {
      Fail(status);
    }
    RequestParams params;
    params.max_tokens = max_tokens;
    params.ignore_end = true;
    auto id = engine_->Generate(sessions_[index], params, queues_[index % queues_.size()], index);
    if (!id.ok()) Fail(id.status());
  }

  void Step(bool counted) {
    const uint64_t compute = engine_->GetMetrics().compute_ns;
    const int64_t start_ns = clock_.NowNs();
    StepStats stats;
    if (absl::Status status = engine_->Step(-1, &stats); !status.ok()) Fail(status);
    const int64_t stepped_ns = clock_.NowNs();
    Poll();
    const int64_t polled_ns = clock_.NowNs();
    if (!counted) return;
    const auto compute_ns = static_cast<int64_t>(engine_->GetMetrics().compute_ns - compute);
    own_us_.push_back(static_cast<double>(stepped_ns - start_ns - compute_ns) / 1000);
    poll_us_.push_back(static_cast<double>(polled_ns - stepped_ns) / 1000);
  }

  void Poll() {
    for (const std::shared_ptr<EventQueue>& queue : queues_) {
      while (queue->Poll(0, reinterpret_cast<uint8_t*>(buffer_.data()), buffer_.size() * 8).used != 0) {
      }
    }
  }

  void Finish() {
    for (const std::shared_ptr<Session>& session : sessions_) {
      engine_->Cancel(*session, CancelEffect::kKeep);
    }
    Poll();
  }

  const Case what_;
  std::vector<uint8_t> sweep_;
  ProcessorClock clock_;
  std::shared_ptr<Engine> engine_;
  std::vector<std::shared_ptr<EventQueue>> queues_;
  std::vector<std::shared_ptr<Session>> sessions_;
  std::vector<uint64_t> buffer_ = std::vector<uint64_t>(8192);
  uint64_t random_ = 1;
  std::vector<double> own_us_, poll_us_;
};

std::string Device() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

void Print(const std::string& name, std::vector<double> values, double part, const std::string& commit) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  char date[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof(date), "%Y-%m-%d", std::gmtime(&now));
  std::printf(
      "{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"us/batch\", \"share_of_limit\": null, \"peer\": null, "
      "\"ratio_to_peer\": null, \"device\": \"%s\", \"date\": \"%s\", \"commit\": \"%s\", "
      "\"command\": \"scheduler_bench %zu\"}\n",
      name.c_str(), *at, Device().c_str(), date, commit.c_str(), values.size());
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using tessera::Case;
  const int64_t batches = argc > 1 ? std::atoll(argv[1]) : 10000;
  const std::string commit = argc > 2 ? argv[2] : "unknown";
  const Case cases[] = {{"decode"},
                        {"decode/cold", false, true},
                        {"decode/256queues", false, false, 256},
                        {"mixed", true},
                        {"mixed/cold", true, true}};
  for (const Case& what : cases) {
    tessera::SchedulerBench bench(what);
    bench.Run(batches);
    const std::string name = std::string("scheduler/256sessions/") + what.name;
    tessera::Print(name, bench.own_us(), 0.5, commit);
    tessera::Print(name + "/p99", bench.own_us(), 0.99, commit);
    tessera::Print(name + "/poll", bench.poll_us(), 0.5, commit);
  }
  return 0;
}
