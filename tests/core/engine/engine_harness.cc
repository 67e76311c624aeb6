#include "tests/core/engine/engine_harness.h"

#include <algorithm>
#include <set>
#include <utility>

#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

std::shared_ptr<const LoadedModel> LoadHarnessModel() {
  TinyModelOptions options;
  options.layers = kHarnessLayers;
  options.hidden = options.feed_forward = 32;
  options.head_size = 16;
  const SimulatedBackend backend(std::make_shared<Simulation>());
  auto model = LoadModel(FileOf(MakeTinyModel(options)), backend, SystemMemory(), nullptr);
  if (!model.ok()) {
    ADD_FAILURE() << model.status().message();
    return nullptr;
  }
  // Two groups, as a model with two kinds of layers has them: blocks of both must come and go together.
  auto divided = std::const_pointer_cast<LoadedModel>(*model);
  CacheGroupSpec second = divided->spec.cache_groups[0];
  second.layers = {1};
  divided->spec.cache_groups[0].layers = {0, 2};
  divided->spec.cache_groups.push_back(second);
  divided->spec.layers[1].cache_group = 1;
  return divided;
}

}  // namespace

EngineOptions HarnessOptions() {
  EngineOptions options;
  options.stepped = true;
  options.cache_type = CacheType::kF32;
  options.block_tokens = 4;
  options.cache_tokens = 8 * 64;
  options.context_tokens = 256;
  options.batch_tokens = 32;
  options.batch_sequences = 16;
  options.max_requests = 64;
  options.max_sessions = 64;
  return options;
}

EngineOptions ThreadedOptions() {
  EngineOptions options = HarnessOptions();
  options.stepped = false;
  return options;
}

std::shared_ptr<const LoadedModel> HarnessModel() {
  static const std::shared_ptr<const LoadedModel> model = LoadHarnessModel();
  return model;
}

std::vector<int32_t> BytesOf(const std::string& text) {
  std::vector<int32_t> tokens;
  for (const char byte : text) tokens.push_back(3 + static_cast<unsigned char>(byte));
  return tokens;
}

std::vector<int32_t> Prompt(int which, size_t count) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i) tokens.push_back(3 + static_cast<int32_t>((which * 37 + i * 11) % 256));
  return tokens;
}

RequestParams Params(int64_t max_tokens) {
  RequestParams params;
  params.max_tokens = max_tokens;
  return params;
}

EngineHarness::EngineHarness(const EngineOptions& options, int32_t depth) {
  simulation->RunAhead(depth);
  auto made = Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(simulation), options, &clock,
                             SystemMemory(), Logger());
  if (!made.ok()) {
    ADD_FAILURE() << made.status().message();
    return;
  }
  engine = *std::move(made);
  queue = *EventQueue::Create(nullptr);
}

EngineHarness::~EngineHarness() {
  simulation->Release();
  if (engine != nullptr) engine->Close();
  EXPECT_EQ(simulation->wrong_positions(), 0);
  // Requests hold their queue, and a queue holds requests whose events wait.
  if (queue != nullptr) queue->Abandon();
}

std::shared_ptr<Session> EngineHarness::SessionOf(const std::vector<int32_t>& tokens, bool logits) {
  auto session = engine->CreateSession(logits);
  if (!session.ok()) {
    ADD_FAILURE() << session.status().message();
    return nullptr;
  }
  if (!tokens.empty()) Append(*session, tokens);
  return *session;
}

void EngineHarness::Append(const std::shared_ptr<Session>& session, const std::vector<int32_t>& tokens) {
  const absl::Status status = engine->Append(*session, tokens);
  EXPECT_TRUE(status.ok()) << status.message();
}

void EngineHarness::Generate(const std::shared_ptr<Session>& session, uint64_t tag,
                             const RequestParams& params) {
  const auto id = engine->Generate(session, params, queue, tag);
  EXPECT_TRUE(id.ok()) << id.status().message();
}

ErrorCode EngineHarness::TryGenerate(const std::shared_ptr<Session>& session, uint64_t tag,
                                     const RequestParams& params) {
  return CodeOf(engine->Generate(session, params, queue, tag).status());
}

StepStats EngineHarness::Step(int64_t budget_ns) {
  StepStats stats;
  const absl::Status status = engine->Step(budget_ns, &stats);
  EXPECT_TRUE(status.ok()) << status.message();
  return stats;
}

void EngineHarness::Run() {
  for (int step = 0; step < 100000; ++step) {
    const bool work_left = Step().work_left;
    Drain();
    // Room that was just made may bring work back.
    if (!work_left && engine->GetMetrics().requests_running + engine->GetMetrics().requests_queued == 0)
      return;
  }
  ADD_FAILURE() << "the engine does not come to an end";
}

std::vector<int32_t> EngineHarness::GenerateAlone(const std::vector<int32_t>& prompt, int64_t max_tokens) {
  const uint64_t tag = next_alone_++;
  const std::shared_ptr<Session> session = SessionOf(prompt);
  Generate(session, tag, max_tokens);
  Run();
  EXPECT_EQ(events.Of(tag).terminals, 1);
  engine->ReleaseSession(*session);
  return events.Of(tag).tokens;
}

void EngineHarness::CheckFollows(std::vector<int32_t> tokens, const SamplingParams& sampling,
                                 const std::vector<int32_t>& generated) const {
  for (const int32_t token : generated) {
    std::vector<int32_t> history;
    if (sampling.presence_penalty != 0) {
      const size_t count = std::min(tokens.size(), static_cast<size_t>(sampling.penalty_window_tokens));
      history.assign(tokens.end() - static_cast<std::ptrdiff_t>(count), tokens.end());
    }
    ASSERT_EQ(token, oracle.NextToken(tokens, sampling, history));
    tokens.push_back(token);
  }
}

std::vector<int32_t> EngineHarness::TokensOf(const std::shared_ptr<Session>& session) {
  return TokensAfter(session, 0);
}

std::vector<int32_t> EngineHarness::TokensAfter(const std::shared_ptr<Session>& session, size_t first) {
  std::vector<int32_t> tokens(1024);
  const auto count = engine->CopyTokens(*session, first, tokens.data(), tokens.size());
  EXPECT_TRUE(count.ok()) << count.status().message();
  tokens.resize(count.ok() ? *count : 0);
  return tokens;
}

void ExpectBlocksConserved(Engine& engine, const std::vector<std::shared_ptr<Session>>& sessions) {
  const EngineMetrics metrics = engine.GetMetrics();
  int64_t held = 0;
  int64_t in_flight = 0;  // sessions: for each, a batch may hold one block in each group that it replaces
  for (size_t group = 0; group < 2; ++group) {
    std::set<int32_t> owned;
    for (const std::shared_ptr<Session>& session : sessions) {
      if (group == 0 && session->in_flight != 0) ++in_flight;
      ASSERT_EQ(session->blocks[group].size(), session->blocks[0].size());
      for (const int32_t block : session->blocks[group]) {
        EXPECT_GE(block, 0);
        EXPECT_LT(block, metrics.blocks_total);
        owned.insert(block);
      }
      if (session->released && session->in_flight == 0) {
        EXPECT_TRUE(session->blocks[group].empty());
        continue;
      }
      const auto capacity = static_cast<int64_t>(session->blocks[group].size()) * metrics.block_tokens;
      EXPECT_GE(capacity, static_cast<int64_t>(session->computed));
      if (session->request == nullptr && session->in_flight == 0) {
        EXPECT_LT(capacity, static_cast<int64_t>(session->computed) + metrics.block_tokens);
      }
    }
    held = std::max(held, static_cast<int64_t>(owned.size()));
  }
  EXPECT_LE(metrics.blocks_free + held, metrics.blocks_total);
  EXPECT_GE(metrics.blocks_free + held + in_flight, metrics.blocks_total);
}

}  // namespace tessera
