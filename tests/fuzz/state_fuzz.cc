// Any bytes as a saved session: refused with nothing changed, or a session that the engine can go on with.
// Most inputs are edits of a sound state whose hashes are made to fit again: behind the hashes lies all that
// a forger can reach.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/engine/session_state.h"
#include "tests/fuzz/state_engine.h"

namespace tessera {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "state_fuzz: broken: %s\n", what);
  std::abort();
}

struct Place {
  std::shared_ptr<Engine> engine = MakeStateEngine();
  std::vector<uint8_t> with_cache = MakeState(*engine, true);
  std::vector<uint8_t> tokens_only = MakeState(*engine, false);
};

void Reseal(std::vector<uint8_t>* state) {
  constexpr size_t kHashed = kStateHeaderBytes - sizeof(ContentHash::bytes);
  if (state->size() < kStateHeaderBytes + sizeof(ContentHash::bytes)) return;
  std::memcpy(state->data() + kHashed, HashOf(state->data(), kHashed).bytes.data(),
              sizeof(ContentHash::bytes));
  SealState(absl::MakeSpan(*state));
}

// Edits of four bytes: where (of the first 64 KiB), what, how.
std::vector<uint8_t> Edited(std::vector<uint8_t> state, absl::Span<const uint8_t> edits) {
  for (; edits.size() >= 4 && !state.empty(); edits.remove_prefix(4)) {
    const size_t at = (edits[0] | edits[1] << 8) % state.size();
    switch (edits[3] % 4) {
      case 0:
        state[at] = edits[2];
        break;
      case 1:
        state[at] ^= static_cast<uint8_t>(1 << edits[2] % 8);
        break;
      case 2:  // a number of eight bytes, small or huge
        for (size_t i = 0; i < 8 && at + i < state.size(); ++i) {
          state[at + i] = i == 0 || edits[2] >= 128 ? edits[2] : 0;
        }
        break;
      default: {  // another length, which the header may know
        state.resize(state.size() + edits[2] - std::min<size_t>(state.size(), 128), edits[0]);
        const uint64_t size = state.size();
        if (at % 2 == 0 && size >= kStateHeaderBytes) std::memcpy(state.data() + 16, &size, sizeof(size));
      }
    }
  }
  Reseal(&state);
  return state;
}

void Try(Engine& engine, const std::vector<uint8_t>& state, bool with_cache) {
  const EngineMetrics before = engine.GetMetrics();
  uint64_t size = 0;
  const auto header = ReadStateHeader(state, &size);
  const auto view = ReadState(state);
  const auto session = engine.Restore(state, with_cache, false);
  Require(header.ok() || !view.ok(), "a state has a header");
  Require(view.ok() || !session.ok(), "what cannot be read is not restored");
  if (session.ok()) {
    Require(engine.TokenCount(**session) == view->tokens.size(), "all tokens are restored");
    GoOn(engine, *session, 2);
    std::vector<uint8_t> again(engine.TokenCount(**session) * 2048 + 4096);
    Require(engine.Save(**session, true, absl::MakeSpan(again), &size).ok(), "it can be saved again");
    engine.ReleaseSession(**session);
  }
  const EngineMetrics after = engine.GetMetrics();
  Require(after.sessions == before.sessions && after.blocks_free == before.blocks_free, "nothing is left");
}

}  // namespace
}  // namespace tessera

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const place = new tessera::Place;
  if (size == 0) return 0;
  const absl::Span<const uint8_t> rest(data + 1, size - 1);
  const bool with_cache = (data[0] & 1) != 0;
  if (data[0] % 16 < 2) {
    tessera::Try(*place->engine, {rest.begin(), rest.end()}, with_cache);
  } else {
    const std::vector<uint8_t>& sound = (data[0] & 2) != 0 ? place->with_cache : place->tokens_only;
    tessera::Try(*place->engine, tessera::Edited(sound, rest), with_cache);
  }
  return 0;
}
