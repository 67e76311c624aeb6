// The small engine whose saved sessions state_fuzz breaks and state_seeds writes down.
#ifndef TESSERA_TESTS_FUZZ_STATE_ENGINE_H_
#define TESSERA_TESTS_FUZZ_STATE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/engine/engine.h"

namespace tessera {

// Stepped, on the simulated backend: its tokens depend on every row of the cache. Ends the process without
// it.
std::shared_ptr<Engine> MakeStateEngine();

// A session of 21 tokens, 20 of which are computed.
std::vector<uint8_t> MakeState(Engine& engine, bool with_cache);

// Generates `count` tokens and polls them away.
void GoOn(Engine& engine, const std::shared_ptr<Session>& session, int64_t count);

}  // namespace tessera

#endif  // TESSERA_TESTS_FUZZ_STATE_ENGINE_H_
