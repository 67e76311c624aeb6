// Saved sessions through the public API: restored in another engine, with other threads, in another process,
// they go on with the bits of the session that was saved; whatever does not fit is refused.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

constexpr char kPrompt[] =
    "The quick brown fox jumps over the lazy dog, again and again, until the night comes.";

struct Result {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
};

void ExpectSameBits(const Result& a, const Result& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  ASSERT_EQ(a.logits.size(), b.logits.size());
  EXPECT_EQ(std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)), 0);
}

using State = std::vector<uint8_t>;

State Save(tsr_session* session, const Options& options = {}) {
  size_t size = 0;
  EXPECT_EQ(tsr_session_save(session, options.get(), nullptr, 0, &size, nullptr),
            TSR_STATUS_BUFFER_TOO_SMALL);
  State state(size);
  const Outcome outcome = Try(
      [&](tsr_error** e) { return tsr_session_save(session, options.get(), state.data(), size, &size, e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  EXPECT_EQ(size, state.size());
  return state;
}

Outcome TryRestore(tsr_engine* engine, const State& state, const Options& options, tsr_session** session) {
  return Try([&](tsr_error** e) {
    return tsr_session_restore(engine, state.data(), state.size(), options.get(), session, e);
  });
}

Handle<tsr_session> Restore(tsr_engine* engine, const State& state, bool cache = true) {
  tsr_session* session = nullptr;
  const Outcome outcome =
      TryRestore(engine, state, Options().Bool("session.logits", true).Bool("state.cache", cache), &session);
  EXPECT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  return Handle<tsr_session>(session);
}

tsr_engine_metrics MetricsOf(tsr_engine* engine) {
  tsr_engine_metrics metrics;
  metrics.struct_size = sizeof(metrics);
  EXPECT_EQ(tsr_engine_get_metrics(engine, &metrics, nullptr), TSR_STATUS_OK);
  return metrics;
}

Options Asked(int64_t count) {
  return Options().Int("request.max_tokens", count).Bool("request.ignore_end", true);
}

Result GoOn(const Host& host, tsr_engine* engine, tsr_session* session, int64_t count) {
  const Handle<tsr_queue> queue = host.Queue();
  Result result;
  result.tokens = Generate(session, engine, queue.get(), Asked(count)).tokens;
  result.logits = Logits(session);
  return result;
}

struct EngineSetup {
  int64_t threads;
  int64_t batch_tokens;
  const char* cache_type;
  const char* activations;
};

Options EngineOptions(const EngineSetup& setup) {
  return Options()
      .Bool("engine.stepped", true)
      .Int("engine.threads", setup.threads)
      .Int("engine.batch_tokens", setup.batch_tokens)
      .String("engine.cache_type", setup.cache_type)
      .String("engine.activations", setup.activations);
}

// In a process of its own, from files.
Result GoOnElsewhere(const std::string& model_path, const State& state, const EngineSetup& setup,
                     int64_t count) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("tessera_saved_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string state_path = folder / "state", result_path = folder / "result";
  std::ofstream(state_path, std::ios::binary)
      .write(reinterpret_cast<const char*>(state.data()), static_cast<std::streamsize>(state.size()));
  const std::vector<std::string> words = {TESSERA_SAVED_SESSION_CHILD,
                                          model_path,
                                          state_path,
                                          std::to_string(setup.threads),
                                          std::to_string(setup.batch_tokens),
                                          setup.cache_type,
                                          setup.activations,
                                          std::to_string(count),
                                          result_path};
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::ifstream file(result_path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::filesystem::remove_all(folder);
  Result result;
  uint64_t tokens = 0;
  if (bytes.size() < sizeof(tokens)) return result;
  std::memcpy(&tokens, bytes.data(), sizeof(tokens));
  const char* at = bytes.data() + sizeof(tokens);
  result.tokens.resize(tokens);
  std::memcpy(result.tokens.data(), at, tokens * sizeof(int32_t));
  at += tokens * sizeof(int32_t);
  result.logits.resize(static_cast<size_t>(bytes.data() + bytes.size() - at) / sizeof(float));
  std::memcpy(result.logits.data(), at, result.logits.size() * sizeof(float));
  return result;
}

std::string WriteModel(const std::vector<uint8_t>& bytes) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("tessera_model_" + std::to_string(getpid()) + ".gguf");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path;
}

// The session itself, and what others make of its state: with other threads and chunks, here and elsewhere,
// with its cache and without.
void CheckGoesOnWithTheSameBits(const Host& host, const std::string& model_path, const char* cache_type,
                                const char* activations, int64_t count) {
  const EngineSetup two = {2, 256, cache_type, activations};
  const EngineSetup one = {1, 256, cache_type, activations};
  const EngineSetup chunked = {3, 7, cache_type, activations};
  const Handle<tsr_engine> engine = host.Engine(EngineOptions(two));
  const Handle<tsr_session> session = NewSession(engine.get(), true);
  Append(session.get(), kPrompt);
  GoOn(host, engine.get(), session.get(), count);
  const State state = Save(session.get());
  const State tokens = Save(session.get(), Options().Bool("state.cache", false));
  EXPECT_LT(tokens.size(), state.size());
  const Result original = GoOn(host, engine.get(), session.get(), count);

  for (const EngineSetup& setup : {one, chunked}) {
    const Handle<tsr_engine> other = host.Engine(EngineOptions(setup));
    const Handle<tsr_session> restored = Restore(other.get(), state);
    EXPECT_GT(MetricsOf(other.get()).blocks_total, MetricsOf(other.get()).blocks_free);
    ExpectSameBits(GoOn(host, other.get(), restored.get(), count), original);
    EXPECT_EQ(MetricsOf(other.get()).prompt_tokens, 1u) << "all but the last token came with the state";
    const Handle<tsr_session> computed = Restore(other.get(), tokens);
    ExpectSameBits(GoOn(host, other.get(), computed.get(), count), original);
    EXPECT_GT(MetricsOf(other.get()).prompt_tokens, 16u) << "a state without a cache is computed";
    ExpectSameBits(GoOnElsewhere(model_path, state, setup, count), original);
  }
}

struct Case {
  TensorType type;
  const char* activations;
  const char* cache_type;
  int32_t window_tokens;
};

class SavedSession : public ::testing::TestWithParam<Case> {};

TEST_P(SavedSession, GoesOnWithTheSameBitsInAnyEngineAndProcess) {
  TinyModelOptions options = TinyOptionsOfType(GetParam().type);
  options.window_tokens = GetParam().window_tokens;
  const std::string path = WriteModel(MakeTinyModel(options));
  CheckGoesOnWithTheSameBits(*Host::FromFile(path), path, GetParam().cache_type, GetParam().activations, 40);
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(
    Models, SavedSession,
    ::testing::Values(Case{TensorType::kF32, "f32", "f32", 0}, Case{TensorType::kQ4_1, "int8", "f16", 0},
                      Case{TensorType::kQ4_K, "int8", "bf16", 0}, Case{TensorType::kQ8_0, "int8", "f16", 40},
                      Case{TensorType::kQ4_0, "int8", "int8", 0}, Case{TensorType::kF16, "f32", "int8", 40}));

TEST(SavedRealSession, GoesOnWithTheSameBitsInAnyEngineAndProcess) {
  const char* path = std::getenv("TESSERA_MODEL_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 names no model file";
  CheckGoesOnWithTheSameBits(*Host::FromFile(path), path, "f16", "int8", 5);
}

class SavedSessionRefusal : public ::testing::Test {
 protected:
  SavedSessionRefusal() : host_(MakeTinyModel()), engine_(host_.Engine(EngineOptions(kSetup))) {
    session_ = NewSession(engine_.get());
    Append(session_.get(), kPrompt);
    const Handle<tsr_queue> queue = host_.Queue();
    Generate(session_.get(), engine_.get(), queue.get(), Asked(5));
  }
  static constexpr EngineSetup kSetup = {1, 64, "f16", "int8"};
  Host host_;
  Handle<tsr_engine> engine_;
  Handle<tsr_session> session_;
};

TEST_F(SavedSessionRefusal, OfAnotherModelTokenizerArithmeticOrCacheNamesWhatDiffers) {
  TinyModelOptions seed;
  seed.seed = 2;
  GgufWriter split = BuildTinyModel({}).writer;
  split.Remove("tokenizer.ggml.pre").String("tokenizer.ggml.pre", "gpt-2");
  struct Other {
    std::vector<uint8_t> model;
    EngineSetup setup;
    const char* what;
  };
  const Other others[] = {
      {MakeTinyModel(seed), kSetup, "the model's hash"},
      {split.Build(), kSetup, "the tokenizer's hash"},
      {MakeTinyModel(), {1, 64, "f16", "f32"}, "the arithmetic"},
      {MakeTinyModel(), {1, 64, "bf16", "int8"}, "the cache's type is f16 there and bf16"}};
  const State state = Save(session_.get());
  for (const Other& other : others) {
    const Host host(other.model);
    const Handle<tsr_engine> engine = host.Engine(EngineOptions(other.setup));
    tsr_session* session = nullptr;
    const Outcome outcome = TryRestore(engine.get(), state, {}, &session);
    EXPECT_EQ(outcome.code, TSR_STATUS_MISMATCH) << other.what;
    EXPECT_EQ(outcome.place, "state");
    EXPECT_NE(outcome.message.find(other.what), std::string::npos) << outcome.message;
    EXPECT_EQ(session, nullptr);
    EXPECT_EQ(MetricsOf(engine.get()).sessions, 0);
    EXPECT_EQ(MetricsOf(engine.get()).blocks_free, MetricsOf(engine.get()).blocks_total);
  }
}

TEST_F(SavedSessionRefusal, OfADamagedOrCutStateLeavesTheEngineAsItWas) {
  const State state = Save(session_.get());
  const tsr_engine_metrics before = MetricsOf(engine_.get());
  for (size_t at = 0; at < state.size(); at += at < 200 ? 1 : 997) {
    State changed = state;
    changed[at] ^= 0x10;
    State cut(state.begin(), state.begin() + static_cast<std::ptrdiff_t>(at));
    State longer = state;
    longer.resize(state.size() + at + 1);
    for (const State& broken : {changed, cut, longer}) {
      tsr_session* session = nullptr;
      const tsr_status code = TryRestore(engine_.get(), broken, {}, &session).code;
      EXPECT_TRUE(code == TSR_STATUS_CORRUPT || (code == TSR_STATUS_UNSUPPORTED && at >= 8 && at < 16)) << at;
      EXPECT_EQ(session, nullptr);
    }
  }
  EXPECT_EQ(MetricsOf(engine_.get()).sessions, before.sessions);
  EXPECT_EQ(MetricsOf(engine_.get()).blocks_free, before.blocks_free);
}

TEST_F(SavedSessionRefusal, BuffersPointersAndForeignSettingsAreChecked) {
  State state = Save(session_.get());
  size_t size = 0;
  State small(state.size() - 1, 0xEE);
  Outcome outcome = Try([&](tsr_error** e) {
    return tsr_session_save(session_.get(), nullptr, small.data(), small.size(), &size, e);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, state.size());
  EXPECT_EQ(small, State(small.size(), 0xEE)) << "nothing is written";
  const Options foreign = Options().Int("request.max_tokens", 1);
  tsr_session* session = nullptr;
  EXPECT_EQ(TryRestore(engine_.get(), state, foreign, &session).code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_save(session_.get(), foreign.get(), nullptr, 0, &size, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_save(session_.get(), nullptr, nullptr, 5, &size, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_save(session_.get(), nullptr, nullptr, 0, nullptr, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_save(nullptr, nullptr, nullptr, 0, &size, nullptr), TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_restore(engine_.get(), nullptr, 5, nullptr, &session, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_restore(nullptr, state.data(), state.size(), nullptr, &session, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_restore(engine_.get(), state.data(), state.size(), nullptr, nullptr, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(tsr_session_restore(engine_.get(), nullptr, 0, nullptr, &session, nullptr), TSR_STATUS_CORRUPT);
  EXPECT_EQ(tsr_session_park(nullptr, nullptr), TSR_STATUS_INVALID_ARGUMENT);
}

tsr_state_info ProbeOf(const uint8_t* data, size_t size) {
  tsr_state_info info;
  std::memset(&info, 0xEE, sizeof(info));
  info.struct_size = sizeof(info);
  const Outcome outcome = Try([&](tsr_error** e) { return tsr_state_probe(data, size, &info, e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  return info;
}

TEST_F(SavedSessionRefusal, AProbeSaysWhatAStateIsWithoutAModel) {
  const State state = Save(session_.get());
  const State tokens = Save(session_.get(), Options().Bool("state.cache", false));
  tsr_model_info model;
  model.struct_size = sizeof(model);
  ASSERT_EQ(tsr_model_get_info(host_.model(), &model, nullptr), TSR_STATUS_OK);
  size_t count = 0;
  ASSERT_EQ(tsr_session_token_count(session_.get(), &count, nullptr), TSR_STATUS_OK);
  for (const State* each : {&state, &tokens}) {
    for (const size_t given : {each->size(), size_t{TSR_STATE_HEADER_BYTES}, each->size() - 1}) {
      const tsr_state_info info = ProbeOf(each->data(), given);
      EXPECT_EQ(info.size_bytes, each->size());
      EXPECT_EQ(info.token_count, count);
      EXPECT_EQ(info.cached_tokens, each == &state ? count - 1 : 0);
      EXPECT_EQ(info.cache_type, each == &state ? TSR_CACHE_F16 : TSR_CACHE_NONE);
      EXPECT_EQ(info.version, 1);
      EXPECT_EQ(info.complete, given == each->size() ? 1 : 0);
      EXPECT_EQ(info.reserved, 0);
      EXPECT_EQ(std::memcmp(info.model_hash, model.hash, 16), 0);
      EXPECT_EQ(std::memcmp(info.tokenizer_hash, model.tokenizer_hash, 16), 0);
    }
  }
  tsr_state_info info;
  info.struct_size = sizeof(info);
  EXPECT_EQ(tsr_state_probe(state.data(), TSR_STATE_HEADER_BYTES - 1, &info, nullptr), TSR_STATUS_CORRUPT);
  State changed = state;
  changed.back() ^= 1;
  EXPECT_EQ(tsr_state_probe(changed.data(), changed.size(), &info, nullptr), TSR_STATUS_CORRUPT);
  EXPECT_EQ(ProbeOf(changed.data(), 1000).complete, 0);
  changed = state;
  changed.push_back(0);
  EXPECT_EQ(tsr_state_probe(changed.data(), changed.size(), &info, nullptr), TSR_STATUS_CORRUPT);
}

TEST_F(SavedSessionRefusal, SavingAndParkingABusySessionIsRefusedAndParkingAnIdleOneFreesItsCache) {
  const Handle<tsr_queue> queue = host_.Queue();
  const Options options = Asked(3);
  ASSERT_EQ(tsr_session_generate(session_.get(), options.get(), queue.get(), 1, nullptr, nullptr),
            TSR_STATUS_OK);
  size_t size = 0;
  EXPECT_EQ(tsr_session_save(session_.get(), nullptr, nullptr, 0, &size, nullptr), TSR_STATUS_BUSY);
  EXPECT_EQ(tsr_session_park(session_.get(), nullptr), TSR_STATUS_BUSY);
  Finish(queue.get(), engine_.get(), 1);
  EXPECT_LT(MetricsOf(engine_.get()).blocks_free, MetricsOf(engine_.get()).blocks_total);
  EXPECT_EQ(tsr_session_park(session_.get(), nullptr), TSR_STATUS_OK);
  EXPECT_EQ(MetricsOf(engine_.get()).blocks_free, MetricsOf(engine_.get()).blocks_total);
}

}  // namespace
}  // namespace tessera::host
