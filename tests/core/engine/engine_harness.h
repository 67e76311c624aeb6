// An engine over the simulated backend and a clock that a test moves: sessions, requests and their events in
// few words. Its model has three layers in two cache groups, a context of 256 tokens and the tiny vocabulary.
#ifndef TESSERA_TESTS_CORE_ENGINE_ENGINE_HARNESS_H_
#define TESSERA_TESTS_CORE_ENGINE_ENGINE_HARNESS_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/engine/engine.h"
#include "tests/doubles/event_reader.h"
#include "tests/doubles/simulated_backend.h"
#include "tests/doubles/virtual_clock.h"

namespace tessera {

inline constexpr int32_t kHarnessLayers = 3;
inline constexpr int32_t kHarnessVocabulary = 300;
inline constexpr int64_t kHarnessRegions = 3 + 5 * kHarnessLayers;  // of one step

// Stepped, 4 tokens in a block, room for 8 sequences of 64 tokens.
EngineOptions HarnessOptions();
EngineOptions ThreadedOptions();
std::shared_ptr<const LoadedModel> HarnessModel();

// Tokens of the single bytes of a text.
std::vector<int32_t> BytesOf(const std::string& text);
// `count` tokens that differ from one `which` to another.
std::vector<int32_t> Prompt(int which, size_t count);
// Greedy, `max_tokens`, no end but that.
RequestParams Params(int64_t max_tokens);

class EngineHarness {
 public:
  // depth > 1: the backend is a device that runs so many steps ahead.
  explicit EngineHarness(const EngineOptions& options = HarnessOptions(), int32_t depth = 1);
  ~EngineHarness();

  std::shared_ptr<Session> SessionOf(const std::vector<int32_t>& tokens, bool logits = false);
  void Append(const std::shared_ptr<Session>& session, const std::vector<int32_t>& tokens);
  // Events come under `tag`.
  void Generate(const std::shared_ptr<Session>& session, uint64_t tag, const RequestParams& params);
  void Generate(const std::shared_ptr<Session>& session, uint64_t tag, int64_t max_tokens) {
    Generate(session, tag, Params(max_tokens));
  }
  ErrorCode TryGenerate(const std::shared_ptr<Session>& session, uint64_t tag, const RequestParams& params);

  StepStats Step(int64_t budget_ns = -1);
  // Steps and polls until nothing is left to do.
  void Run();
  void Drain() { events.Drain(*queue); }
  // A session with this prompt, run to the end of `max_tokens`: what it generated.
  std::vector<int32_t> GenerateAlone(const std::vector<int32_t>& prompt, int64_t max_tokens);

  // Each generated token follows from those before it, as the oracle has it.
  void CheckFollows(std::vector<int32_t> tokens, const SamplingParams& sampling,
                    const std::vector<int32_t>& generated) const;

  std::vector<int32_t> TokensOf(const std::shared_ptr<Session>& session);
  std::vector<int32_t> TokensAfter(const std::shared_ptr<Session>& session, size_t first);
  int64_t FreeBlocks() { return engine->GetMetrics().blocks_free; }
  int64_t TotalBlocks() { return engine->GetMetrics().blocks_total; }

  VirtualClock clock;
  std::shared_ptr<Simulation> simulation = std::make_shared<Simulation>();
  SimulatedModel oracle{kHarnessLayers};
  std::shared_ptr<Engine> engine;
  std::shared_ptr<EventQueue> queue;
  EventReader events;

 private:
  uint64_t next_alone_ = 1000000;
};

// Every block belongs to one session or is free, in each group; lists of one session are equally long and
// hold what is computed. `sessions` are all that may hold blocks. The engine does not compute meanwhile.
void ExpectBlocksConserved(Engine& engine, const std::vector<std::shared_ptr<Session>>& sessions);

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_ENGINE_ENGINE_HARNESS_H_
