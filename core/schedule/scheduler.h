// Decides what the next batch computes: continuous batching, prompts in chunks beside decoding sequences,
// preemption when blocks run out. Knows tokens and blocks as numbers only; reads no clock but the time it is
// handed.
//
// Everything follows one order, the rank: the batch at which a request was submitted, less what its priority
// is worth. It never changes, so whoever is submitted later comes to stand behind at last, and nobody
// starves: the first in rank advances with every batch, at the cost of those behind where blocks are short.
// (Where more sequences decode than a batch holds they take turns, it among them; what a batch in flight
// holds it gets when that has ended.)
#ifndef TESSERA_CORE_SCHEDULE_SCHEDULER_H_
#define TESSERA_CORE_SCHEDULE_SCHEDULER_H_

#include <cstdint>
#include <vector>

#include "core/request/session.h"
#include "core/schedule/batch_plan.h"
#include "core/schedule/block_lender.h"

namespace tessera {

struct SchedulerLimits {
  int32_t batch_tokens = 256;    // rows of a batch
  int32_t batch_sequences = 64;  // sequences of a batch
  int32_t max_running = 64;      // requests that hold blocks and are not paused
  int32_t max_requests = 256;    // waiting and running
  int32_t depth = 1;             // batches in flight
  bool slots = false;            // a batch may have inputs that one in flight samples
};

// Batches that one step of priority is worth.
inline constexpr int64_t kBatchesPerPriority = 256;

// Guarded by the engine's mutex. Holds sessions by pointer from Submit to Remove. Allocates at construction
// only.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  bool full() const { return waiting_.size() + running_.size() >= static_cast<size_t>(limits_.max_requests); }
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }

  // Not full. `batch`: the number of the last one planned.
  void Submit(Session* session, uint64_t batch) noexcept;
  void Remove(Session* session) noexcept;  // nothing happens when it is not here

  // Fills `plan` (begun, not ended) and planned[i], the session of its i-th sequence, whose blocks are
  // reserved. The first in rank comes first; then decoding sequences, one row each; then prompts, which share
  // what is left. Where there are prompts, decoding leaves them a part of the batch.
  void Plan(int64_t now_ns, BatchPlan& plan, std::vector<Session*>& planned, BlockLender& lender) noexcept;

  // Whether a plan made now would not be empty.
  bool HasWork() const noexcept;
  // The earliest deadline among its requests; 0: none.
  int64_t NextDeadlineNs() const noexcept;
  // Calls found(session) for each whose deadline has passed. `found` may Remove that session.
  template <typename Function>
  void ForEachExpired(int64_t now_ns, Function&& found) {
    for (std::vector<Session*>* list : {&waiting_, &running_}) {
      for (size_t i = list->size(); i-- > 0;) {
        Session* session = (*list)[i];
        if (session->request->deadline_ns != 0 && session->request->deadline_ns <= now_ns) found(session);
      }
    }
  }

 private:
  // One plan in the making.
  struct Draft {
    int64_t now_ns;
    BatchPlan& plan;
    std::vector<Session*>& planned;
    BlockLender& lender;
  };
  void NotePauses() noexcept;
  void Admit(BlockLender& lender) noexcept;
  bool AdmitOne(Session* session, BlockLender& lender) noexcept;
  void Preempt(Session* session, BlockLender& lender) noexcept;
  // Somebody behind `session` in rank, or paused, who holds blocks and is in no batch; null: nobody.
  Session* Victim(const Session& session) const noexcept;
  bool Place(Session& session, int32_t rows, Draft& draft) noexcept;
  void PlaceFirst(Draft& draft) noexcept;
  void PlaceDecoding(Draft& draft) noexcept;
  void PlacePrompts(Draft& draft) noexcept;
  bool MayPlace(const Session& session) const noexcept;
  // Somebody lacks blocks or a place that those behind it in rank may have, who are in a batch in flight.
  // Until the plan's end none of them is placed: once that batch has ended they can be preempted.
  void HoldBehind(const Session& session) noexcept;
  bool Plannable(const Session& session) const noexcept;
  int32_t MostDecoding() const noexcept;

  SchedulerLimits limits_;
  std::vector<Session*> waiting_;             // by rank
  std::vector<Session*> running_;             // by rank
  std::vector<Session*> decoding_, prompts_;  // candidates of the plan in the making, by rank
  const Session* held_behind_ = nullptr;      // in the plan in the making
  int32_t paused_ = 0;                        // running requests that their host does not poll
  uint64_t placements_ = 0;                   // sequences placed in all plans so far
  uint64_t plan_start_ = 0;                   // of these, before the plan in the making
};

}  // namespace tessera

#endif  // TESSERA_CORE_SCHEDULE_SCHEDULER_H_
