// A program that is one rank of an engine, for tests that start several of it and may kill one:
//   rank_process FOLDER SETTING...
// SETTINGs are KEY=NUMBER or KEY=WORD: see Life. The model is FOLDER/model.gguf; the ranks meet through files
// in FOLDER, and each leaves there what it computed and when it was answered. Its exit code is the status
// that ended it: of the engine's creation, or of tsr_engine_serve; 0 where nothing went wrong, or rank 0's
// requests alone did.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/capi/api/host.h"

namespace tessera::host {
namespace {

constexpr int kBroken = 99;  // an exit code: the program itself found something that must not be
constexpr int64_t kPatienceNs = 60'000'000'000;

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

struct Life {
  std::string folder;
  std::map<std::string, std::string> settings;
  int64_t Int(const std::string& key, int64_t otherwise) const {
    const auto at = settings.find(key);
    return at == settings.end() ? otherwise : std::stoll(at->second);
  }
  bool Is(const std::string& key, const std::string& value) const {
    const auto at = settings.find(key);
    return at != settings.end() && at->second == value;
  }
  int rank() const { return static_cast<int>(Int("rank", 0)); }
  int tensor() const { return static_cast<int>(Int("tensor", 1)); }
  int stages() const { return static_cast<int>(Int("stages", 1)); }
  int ranks() const { return tensor() * stages(); }
  std::string File(const std::string& name) const { return folder + "/" + name; }

  // A whole file, or none.
  void Leave(const std::string& name, const std::string& bytes) const {
    std::ofstream(File(name) + ".part", std::ios::binary) << bytes;
    rename((File(name) + ".part").c_str(), File(name).c_str());
  }
  // The end, or a standstill, where the test wants it here: at=PLACE way=kill|stop.
  void At(const std::string& place) const {
    if (!Is("at", place)) return;
    Leave("fault", std::to_string(NowNs()));
    raise(Is("way", "kill") ? SIGKILL : SIGSTOP);
  }
};

// What hosts bring: here by files that all can see. It gives up when the time is up, as the header asks.
struct Meeting {
  const Life* life;
  int meetings = 0;

  static int32_t AllGather(void* user, const char* tag, size_t tag_size, uint64_t epoch, const void* in,
                           size_t size, void* out, int64_t timeout_ns) {
    auto& self = *static_cast<Meeting*>(user);
    const Life& life = *self.life;
    const std::string number = std::to_string(self.meetings++);
    const std::string name = std::string(tag, tag_size) + "." + std::to_string(epoch) + ".";
    life.At("before_meeting_" + number);
    life.Leave(name + std::to_string(life.rank()), std::string(static_cast<const char*>(in), size));
    const int64_t end_ns = NowNs() + timeout_ns;
    for (int rank = 0; rank < life.ranks(); ++rank) {
      std::ifstream theirs;
      for (;;) {
        theirs.open(life.File(name + std::to_string(rank)), std::ios::binary);
        if (theirs.is_open()) break;
        if (NowNs() > end_ns) return 1;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      theirs.read(static_cast<char*>(out) + static_cast<size_t>(rank) * size,
                  static_cast<std::streamsize>(size));
      if (theirs.gcount() != static_cast<std::streamsize>(size)) return 2;
    }
    life.At("after_meeting_" + number);
    return 0;
  }
};

std::unique_ptr<Host> Load(const Life& life, bool shard) {
  Options options;
  if (shard) {
    options.Int("model.tensor_parallel", life.tensor())
        .Int("model.pipeline", life.stages())
        .Int("model.rank", life.rank());
  }
  return Host::FromFile(life.File("model.gguf"), options);
}

Options EngineOptions(const Life& life) {
  return Options()
      .Int("engine.batch_tokens", 128)  // exchanges of a whole batch are larger than what goes with a header
      .Int("engine.cache_tokens", life.Int("cache_tokens", 16384))
      .String("engine.cache_type", life.Int("bf16_cache", 0) != 0 ? "bf16" : "f16")
      .String("engine.activations", life.Int("f32_activations", 0) != 0 ? "f32" : "int8")
      .Int("engine.threads", 1)
      .Bool("engine.stepped", life.rank() == 0 && life.Is("stepped", "1"));
}

Outcome Create(const Life& life, const Host& host, Meeting* meeting, Handle<tsr_engine>* engine) {
  Options options = EngineOptions(life);
  if (life.ranks() > 1) {
    tsr_rendezvous_callbacks callbacks = {};
    callbacks.struct_size = sizeof(callbacks);
    callbacks.user = meeting;
    callbacks.all_gather = &Meeting::AllGather;
    options.Int("engine.tensor_parallel", life.tensor())
        .Int("engine.pipeline", life.stages())
        .Int("engine.rank", life.rank())
        .Int("engine.rank_timeout_ns", life.Int("timeout_ms", 10'000) * 1'000'000)
        .Callbacks("engine.rendezvous", &callbacks);
  }
  return Try([&](tsr_error** error) {
    tsr_engine* made = nullptr;
    const tsr_status status = tsr_engine_create(host.model(), options.get(), &made, error);
    engine->reset(made);
    return status;
  });
}

void Put(const std::vector<int32_t>& values, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
}
void Put(const std::vector<float>& values, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
}

// Short requests of every kind, together; what they gave, to the bit.
std::string Compute(const Host& host, tsr_engine* engine) {
  const Handle<tsr_queue> queue = host.Queue();
  std::vector<Handle<tsr_session>> sessions;
  for (int i = 0; i < 4; ++i) {
    sessions.push_back(NewSession(engine, /*logits=*/true));
    Append(sessions.back().get(), std::string(static_cast<size_t>(1 + 40 * i), 'a') + " the lamps were lit");
    Options asked = Options().Int("request.max_tokens", 12).Bool("request.ignore_end", true);
    asked.Int("request.top_logprobs", 2);
    if (i % 2 == 1)
      asked.Float("sampling.temperature", 0.9).Float("sampling.top_p", 0.9).Int("sampling.seed", 5);
    EXPECT_EQ(tsr_session_generate(sessions.back().get(), asked.get(), queue.get(), static_cast<uint64_t>(i),
                                   nullptr, nullptr),
              TSR_STATUS_OK);
  }
  std::map<uint64_t, Answer> answers = Finish(queue.get(), engine, sessions.size());
  std::string bytes;
  for (size_t i = 0; i < sessions.size(); ++i) {
    EXPECT_EQ(answers[i].end.status, TSR_STATUS_OK) << answers[i].message;
    EXPECT_EQ(answers[i].tokens.size(), 12u);
    Put(answers[i].tokens, &bytes);
    Put(answers[i].logprobs, &bytes);
    Put(Logits(sessions[i].get()), &bytes);
  }
  return bytes;
}

// Requests that go on until something ends them, and where they stand told by files. What is accepted is
// answered once; what is not, since a rank is lost.
class LongRequests {
 public:
  LongRequests(const Life& life, const Host& host, tsr_engine* engine)
      : life_(life), engine_(engine), queue_(host.Queue()) {
    for (uint64_t tag = 0; tag < 4; ++tag) {
      const Outcome outcome = Try([&](tsr_error** error) { return Submit(tag, error); });
      EXPECT_TRUE(outcome.code == TSR_STATUS_OK || outcome.code == TSR_STATUS_LOST) << outcome.message;
      if (outcome.code == TSR_STATUS_OK) ++accepted_;
    }
    life_.Leave("prompt", "");
  }

  // Until all have ended, or, with `close`, until all decode: then the engine is closed under them.
  void Run(bool close) {
    const int64_t end_ns = NowNs() + kPatienceNs;
    std::vector<uint64_t> buffer(8192);
    bool told = false;
    while (Ended() < accepted_ && NowNs() < end_ns) {
      size_t used = 0;
      const tsr_status status = tsr_queue_wait(queue_.get(), engine_, 100'000'000, buffer.data(),
                                               buffer.size() * 8, &used, nullptr);
      if (status != TSR_STATUS_OK) break;
      Collect(buffer.data(), used, &answers_);
      if (told || !AllDecode()) continue;
      told = true;
      life_.Leave("decode", "");
      if (close) CloseEngine();
    }
    answered_ns_ = NowNs();
    EXPECT_EQ(Ended(), accepted_);
    // One terminal event each, and no more.
    size_t used = 0;
    if (tsr_queue_poll(queue_.get(), 0, buffer.data(), buffer.size() * 8, &used, nullptr) == TSR_STATUS_OK) {
      Collect(buffer.data(), used, &answers_);
    }
    for (const auto& [tag, answer] : answers_) EXPECT_EQ(answer.finished, 1) << tag;
  }

  int64_t answered_ns() const { return answered_ns_; }
  // How the requests ended: the status of each.
  std::string Statuses() const {
    std::string statuses;
    for (const auto& entry : answers_) statuses += " " + std::to_string(entry.second.end.status);
    return statuses;
  }

 private:
  tsr_status Submit(uint64_t tag, tsr_error** error) {
    tsr_session* made = nullptr;
    const tsr_status status = tsr_session_create(engine_, nullptr, &made, error);
    if (status != TSR_STATUS_OK) return status;
    sessions_.emplace_back(made);
    std::vector<int32_t> prompt(1200);
    for (int32_t i = 0; i < 1200; ++i) {
      prompt[static_cast<size_t>(i)] = 3 + (i * 7 + static_cast<int32_t>(tag) * 31) % 250;
    }
    Append(made, prompt);
    return tsr_session_generate(
        made, Options().Int("request.max_tokens", 2500).Bool("request.ignore_end", true).get(), queue_.get(),
        tag, nullptr, error);
  }
  size_t Ended() const {
    size_t ended = 0;
    for (const auto& entry : answers_) ended += static_cast<size_t>(entry.second.finished);
    return ended;
  }
  bool AllDecode() const {
    size_t decoding = 0;
    for (const auto& entry : answers_) decoding += entry.second.tokens.empty() ? 0 : 1;
    return decoding == accepted_;
  }
  void CloseEngine() {
    life_.Leave("close", "");
    life_.At("close");
    EXPECT_EQ(tsr_engine_close(engine_, nullptr), TSR_STATUS_OK);
  }

  const Life& life_;
  tsr_engine* const engine_;
  Handle<tsr_queue> queue_;
  std::vector<Handle<tsr_session>> sessions_;
  size_t accepted_ = 0;
  std::map<uint64_t, Answer> answers_;
  int64_t answered_ns_ = 0;
};

int ResidentKilobytes() {
  std::ifstream file("/proc/self/statm");
  long size = 0, resident = 0;
  file >> size >> resident;
  return static_cast<int>(resident * (sysconf(_SC_PAGESIZE) / 1024));
}

void AwaitFile(const Life& life, const std::string& name) {
  while (access(life.File(name).c_str(), F_OK) != 0) usleep(1000);
}

// As a rank, whatever becomes of it. `answer`: when it was answered, and how.
Outcome LiveAsRank(const Life& life, const Host& host, std::string* answer) {
  Meeting meeting{&life};
  Handle<tsr_engine> engine;
  Outcome outcome = Create(life, host, &meeting, &engine);
  int64_t answered_ns = NowNs();
  if (outcome.code == TSR_STATUS_OK) life.At("created");
  if (outcome.code == TSR_STATUS_OK && life.rank() != 0) {
    std::thread closer;
    if (life.Is("life", "leaves")) {  // a host that ends its engine while a thread serves
      closer = std::thread([&] {
        AwaitFile(life, "decode");
        EXPECT_EQ(tsr_engine_close(engine.get(), nullptr), TSR_STATUS_OK);
      });
    }
    outcome = Try([&](tsr_error** error) { return tsr_engine_serve(engine.get(), error); });
    answered_ns = NowNs();
    if (closer.joinable()) closer.join();
  } else if (outcome.code == TSR_STATUS_OK && life.Is("life", "computes")) {
    life.Leave("result", Compute(host, engine.get()));
    engine.reset();
  } else if (outcome.code == TSR_STATUS_OK) {
    if (life.Is("life", "idles")) {
      life.Leave("idle", "");
      AwaitFile(life, "work");
    }
    LongRequests requests(life, host, engine.get());
    requests.Run(/*close=*/life.Is("life", "closes"));
    answered_ns = requests.answered_ns();
    *answer = requests.Statuses();
  }
  *answer = std::to_string(answered_ns) + *answer;
  return outcome;
}

int Live(const Life& life) {
  const int before = ResidentKilobytes();
  std::unique_ptr<Host> host = Load(life, life.Is("shard", "1"));
  life.Leave("kilobytes." + std::to_string(life.rank()), std::to_string(ResidentKilobytes() - before));
  life.At("loaded");
  std::string answer;
  const Outcome outcome = LiveAsRank(life, *host, &answer);
  std::fprintf(stderr, "rank %d: %d %s\n", life.rank(), outcome.code, outcome.message.c_str());
  life.Leave("answered." + std::to_string(life.rank()), answer);
  // The process is none the worse: another engine of its own computes.
  Life alone = life;
  alone.settings = {};
  if (life.Is("shard", "1")) host = Load(alone, false);
  Handle<tsr_engine> engine;
  EXPECT_EQ(Create(alone, *host, nullptr, &engine).code, TSR_STATUS_OK);
  life.Leave("alone." + std::to_string(life.rank()), Compute(*host, engine.get()));
  return outcome.code;
}

}  // namespace
}  // namespace tessera::host

int main(int argc, char** argv) {
  tessera::host::Life life;
  if (argc < 2) return tessera::host::kBroken;
  life.folder = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string setting = argv[i];
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) return tessera::host::kBroken;
    life.settings[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  const int code = tessera::host::Live(life);
  return testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed() ? tessera::host::kBroken : code;
}
