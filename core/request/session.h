// One conversation as the engine sees it: its tokens, how many of them are in the cache, and where.
#ifndef TESSERA_CORE_REQUEST_SESSION_H_
#define TESSERA_CORE_REQUEST_SESSION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/request/block_table.h"
#include "core/request/request.h"

namespace tessera {

// Guarded by the engine's mutex. While `in_flight`, a batch reads `blocks` without it, and nobody else
// changes them.
struct Session : std::enable_shared_from_this<Session> {
  uint64_t id = 0;
  std::vector<int32_t> tokens;       // appended and generated, in order
  size_t computed = 0;               // tokens[0, computed) have keys and values in the cache
  BlockTable blocks;                 // with room for the whole context
  std::shared_ptr<Request> request;  // the one that runs; null: idle
  int32_t in_flight = 0;             // batches that have rows of it
  size_t ahead = 0;                  // tokens behind `computed` that those batches compute
  int32_t samples_ahead = 0;         // tokens behind `tokens` that those batches sample
  int32_t last_sample = -1;          // its sample among those of the batch in flight that was planned last
  bool released = false;             // the host is done with it; it goes when its batch ends
  uint64_t last_used = 0;            // batch number, for eviction
  std::vector<float> logits;         // [vocabulary] when the session keeps them
  bool logits_valid = false;

  // What is known, or will be when the batches in flight have ended as expected, and not yet planned.
  size_t pending() const { return tokens.size() + static_cast<size_t>(samples_ahead) - computed - ahead; }
  size_t planned() const { return computed + ahead; }
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_SESSION_H_
