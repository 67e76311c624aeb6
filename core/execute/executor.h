// Who carries out steps: one context in this process, a device that computes by itself, or a group of ranks.
// Steps are begun in order and done in order; several may be in flight. Knows no session, request or
// scheduler.
#ifndef TESSERA_CORE_EXECUTE_EXECUTOR_H_
#define TESSERA_CORE_EXECUTE_EXECUTOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/execute/backend.h"
#include "core/execute/loop.h"

namespace tessera {

// One caller at a time.
class Executor {
 public:
  virtual ~Executor() = default;

  // Steps that may be begun and not yet done: 1 on a CPU, 2 where a device computes by itself, the number of
  // stages in a pipeline.
  virtual int32_t depth() const noexcept = 0;
  // Whether a step may have inputs that an earlier one in flight samples (StepView::sources).
  virtual bool resolves_slots() const noexcept { return false; }
  // Whether the oldest step can be forgotten in the middle (Drop), when nobody wants it any more.
  virtual bool may_drop() const noexcept { return false; }

  // Fewer than depth() are begun. `step` and all that it points to stays valid and unchanged until the step
  // is done or dropped.
  virtual absl::Status Begin(const StepView* step) noexcept = 0;
  // Works until the oldest step is done (true) or the condition asks to stop (false). An error is the oldest
  // step's: it is over, and may have written anything where its rows belong; the others go on.
  virtual absl::StatusOr<bool> Run(StopCondition& condition) noexcept = 0;
  // Forgets every step that is begun. Nothing touches them when it returns.
  virtual void Drop() noexcept = 0;
  // There is nothing to do for now: workers may sleep. The next Begin or Run wakes them.
  virtual void Rest() noexcept = 0;
  // For good: whoever computes is gone, and every later Begin and Run fails.
  virtual bool lost() const noexcept { return false; }

  virtual size_t scratch_bytes() const noexcept = 0;
  // As BackendContext says it.
  virtual DeviceTimes times() const noexcept { return {}; }
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_EXECUTOR_H_
