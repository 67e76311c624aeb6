// What the scheduler asks of the cache: it decides who computes, the engine who holds which blocks.
#ifndef TESSERA_CORE_SCHEDULE_BLOCK_LENDER_H_
#define TESSERA_CORE_SCHEDULE_BLOCK_LENDER_H_

#include <cstdint>

#include "absl/types/span.h"
#include "core/request/session.h"

namespace tessera {

class BlockLender {
 public:
  virtual ~BlockLender() = default;
  // A waiting session is about to run: it takes what the cache knows of its tokens. True when what is left of
  // its prompt, and one more token, fits beside as much for each of those that run. `must`: say yes; nobody
  // else can run.
  virtual bool Admit(Session& session, absl::Span<Session* const> running, bool must) noexcept = 0;
  // Blocks for `rows` more tokens, all of them or none.
  virtual bool Reserve(Session& session, int32_t rows) noexcept = 0;
  // Whether Reserve can serve a session that a batch in flight still writes for.
  virtual bool MayReserveAhead(const Session& session) const noexcept = 0;
  // The session gives all its blocks back; it will compute its tokens again.
  virtual void Preempt(Session& session) noexcept = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_SCHEDULE_BLOCK_LENDER_H_
