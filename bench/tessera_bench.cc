// Measures a model through the public API, as a program that uses the library would see it: tokens per second
// for a prompt, and for decoding after a context. Prints JSON, one number for each repetition. Includes the C
// header only.
//   tessera_bench --model FILE [--threads N] [--prompt-tokens N] [--decode-tokens N] [--context N]
//   [--repetitions N]
// --prompt-tokens 0 or --decode-tokens 0 leaves that part out. --threads 0: what the machine grants.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/host.h"
#include "tessera/tessera.h"

namespace {

using Clock = std::chrono::steady_clock;

using tessera_bench::Must;
using tessera_bench::SetInt;

[[noreturn]] void Fail(const char* what, const char* message) {
  tessera_bench::Fail("tessera_bench", what, message);
}

struct Settings {
  std::string model;
  std::string cache_type = "f16";
  int64_t threads = 0;
  int64_t prompt_tokens = 512;
  int64_t decode_tokens = 64;
  int64_t context = 128;  // tokens before the first decoded one
  int64_t repetitions = 5;
};

Settings Parse(int argc, char** argv) {
  Settings settings;
  const struct {
    const char* name;
    int64_t* value;
    int64_t least;
  } numbers[] = {{"--threads", &settings.threads, 0},
                 {"--prompt-tokens", &settings.prompt_tokens, 0},
                 {"--decode-tokens", &settings.decode_tokens, 0},
                 {"--context", &settings.context, 1},
                 {"--repetitions", &settings.repetitions, 1}};
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) Fail(argv[i], "needs a value");
    if (std::strcmp(argv[i], "--model") == 0) {
      settings.model = argv[i + 1];
      continue;
    }
    if (std::strcmp(argv[i], "--cache-type") == 0) {
      settings.cache_type = argv[i + 1];
      continue;
    }
    bool known = false;
    for (const auto& number : numbers) {
      if (std::strcmp(argv[i], number.name) != 0) continue;
      char* end = nullptr;
      *number.value = std::strtoll(argv[i + 1], &end, 10);
      if (*end != '\0' || *number.value < number.least)
        Fail(argv[i], "is not a number that makes sense here");
      known = true;
    }
    if (!known) Fail(argv[i], "is not an option");
  }
  if (settings.model.empty()) Fail("--model", "is missing");
  return settings;
}

struct Timing {
  double first_seconds = 0;  // from the call to the first token
  double rest_seconds = 0;   // from the first token to the terminal event
  uint32_t generated = 0;
};

class Bench {
 public:
  explicit Bench(const Settings& settings) {
    Must runtime("runtime"), model("model"), options("options"), cache("--cache-type"), engine("engine"),
        queue("queue"), info("info");
    runtime = tsr_runtime_create(nullptr, &runtime_, runtime);
    model =
        tsr_model_load_file(runtime_, settings.model.data(), settings.model.size(), nullptr, &model_, model);
    tsr_options* chosen = nullptr;
    options = tsr_options_create(&chosen, options);
    if (settings.threads > 0) SetInt(chosen, "engine.threads", settings.threads);
    const int64_t longest = std::max(settings.prompt_tokens, settings.context) + settings.decode_tokens + 16;
    SetInt(chosen, "engine.context_tokens", longest);
    const char* key = "engine.cache_type";
    cache = tsr_options_set_string(chosen, key, std::strlen(key), settings.cache_type.data(),
                                   settings.cache_type.size(), cache);
    engine = tsr_engine_create(model_, chosen, &engine_, engine);
    tsr_options_release(chosen);
    queue = tsr_queue_create(runtime_, nullptr, &queue_, queue);
    info_.struct_size = sizeof info_;
    info = tsr_model_get_info(model_, &info_, info);
  }

  ~Bench() {
    tsr_queue_release(queue_);
    tsr_engine_release(engine_);
    tsr_model_release(model_);
    tsr_runtime_release(runtime_);
  }

  const tsr_model_info& info() const { return info_; }

  tsr_engine_metrics Metrics() const {
    tsr_engine_metrics metrics;
    metrics.struct_size = sizeof metrics;
    Must must("metrics");
    must = tsr_engine_get_metrics(engine_, &metrics, must);
    return metrics;
  }

  // A fresh session each time, so that nothing is left over from the last.
  Timing Run(int64_t prompt_tokens, int64_t new_tokens) {
    Must session("session"), append("append"), options("options"), ignore("ignore_end"), generate("generate");
    tsr_session* conversation = nullptr;
    session = tsr_session_create(engine_, nullptr, &conversation, session);
    const std::vector<int32_t> prompt = RandomTokens(prompt_tokens);
    append = tsr_session_append_tokens(conversation, prompt.data(), prompt.size(), append);
    tsr_options* request = nullptr;
    options = tsr_options_create(&request, options);
    SetInt(request, "request.max_tokens", new_tokens);
    const char* key = "request.ignore_end";
    ignore = tsr_options_set_bool(request, key, std::strlen(key), 1, ignore);

    const Clock::time_point start = Clock::now();
    generate = tsr_session_generate(conversation, request, queue_, 0, nullptr, generate);
    const Timing timing = Drain(start);
    tsr_options_release(request);
    tsr_session_release(conversation);
    if (timing.generated != new_tokens) Fail("generate", "ended early");
    return timing;
  }

 private:
  std::vector<int32_t> RandomTokens(int64_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      token = static_cast<int32_t>((random_ >> 33) % static_cast<uint64_t>(info_.vocabulary_size));
    }
    return tokens;
  }

  Timing Drain(Clock::time_point start) {
    Timing timing;
    Clock::time_point first{};
    for (;;) {
      Must poll("poll");
      size_t used = 0;
      poll = tsr_queue_poll(queue_, -1, buffer_, sizeof buffer_, &used, poll);
      const Clock::time_point now = Clock::now();
      const char* bytes = reinterpret_cast<const char*>(buffer_);
      for (size_t at = 0; at < used;) {
        tsr_event head;
        std::memcpy(&head, bytes + at, sizeof head);
        if (head.kind == TSR_EVENT_TOKENS && first == Clock::time_point{}) first = now;
        if (head.kind == TSR_EVENT_FINISHED) {
          tsr_event_finished finished;
          std::memcpy(&finished, bytes + at, sizeof finished);
          if (finished.status != TSR_STATUS_OK) Fail("generate", tsr_status_name(finished.status));
          timing.generated = finished.generated_tokens;
          timing.first_seconds = std::chrono::duration<double>(first - start).count();
          timing.rest_seconds = std::chrono::duration<double>(now - first).count();
          return timing;
        }
        at += head.size;
      }
    }
  }

  tsr_runtime* runtime_ = nullptr;
  tsr_model* model_ = nullptr;
  tsr_engine* engine_ = nullptr;
  tsr_queue* queue_ = nullptr;
  tsr_model_info info_ = {};
  uint64_t random_ = 1;
  uint64_t buffer_[8192];
};

void PrintRates(const char* name, const std::vector<double>& rates) {
  std::printf(", \"%s\": [", name);
  for (size_t i = 0; i < rates.size(); ++i) std::printf("%s%.3f", i == 0 ? "" : ", ", rates[i]);
  std::printf("]");
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = Parse(argc, argv);
  Bench bench(settings);
  bench.Run(std::min<int64_t>(32, std::max(settings.prompt_tokens, settings.context)), 4);  // not counted
  std::vector<double> prompt_rates, decode_rates;  // tokens per second
  for (int64_t r = 0; r < settings.repetitions; ++r) {
    if (settings.prompt_tokens > 0) {
      const Timing timing = bench.Run(settings.prompt_tokens, 1);
      prompt_rates.push_back(static_cast<double>(settings.prompt_tokens) / timing.first_seconds);
    }
    if (settings.decode_tokens > 0) {
      // One more than is counted: the first token's time belongs to the prompt.
      const Timing timing = bench.Run(settings.context, settings.decode_tokens + 1);
      decode_rates.push_back(static_cast<double>(settings.decode_tokens) / timing.rest_seconds);
    }
  }
  const tsr_engine_metrics metrics = bench.Metrics();
  const double cache_bytes = static_cast<double>(metrics.cache_bytes) /
                             (static_cast<double>(metrics.blocks_total) * metrics.block_tokens);
  std::printf(
      "{\"version\": \"%s\", \"threads\": %d, \"prompt_tokens\": %lld, \"decode_tokens\": %lld, "
      "\"context\": %lld, \"weight_bytes_per_token\": %llu, \"cache_bytes_per_context_token\": %.1f",
      tsr_version_string(), metrics.threads, static_cast<long long>(settings.prompt_tokens),
      static_cast<long long>(settings.decode_tokens), static_cast<long long>(settings.context),
      static_cast<unsigned long long>(bench.info().bytes_per_token), cache_bytes);
  PrintRates("prompt_tokens_per_s", prompt_rates);
  PrintRates("decode_tokens_per_s", decode_rates);
  std::printf("}\n");
  return 0;
}
