// Decides what the next batch computes: continuous batching, prompts in chunks beside decoding sequences.
// Knows tokens and blocks as numbers only; reads no clock but the time it is handed.
#ifndef TESSERA_CORE_SCHEDULE_SCHEDULER_H_
#define TESSERA_CORE_SCHEDULE_SCHEDULER_H_

#include <cstdint>
#include <vector>

#include "core/request/session.h"
#include "core/schedule/batch_plan.h"

namespace tessera {

struct SchedulerLimits {
  int32_t batch_tokens = 256;    // rows of a batch
  int32_t batch_sequences = 64;  // sequences of a batch
  int32_t max_requests = 256;    // waiting and running
  int64_t total_blocks = 0;      // of each cache group
};

// Guarded by the engine's mutex. Holds sessions by pointer from Submit to Remove. Allocates at construction
// only.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  bool full() const { return waiting_.size() + running_.size() >= static_cast<size_t>(limits_.max_requests); }
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }

  // Not full; session.request says how many blocks it may come to need.
  void Submit(Session* session) noexcept;
  void Remove(Session* session) noexcept;  // nothing happens when it is not here

  // Fills `plan` (begun, not ended) and planned[i], the session of its i-th sequence. A request is admitted,
  // in order of submission, when its worst case and those of all running fit the cache, so that a running one
  // never lacks blocks. Decoding sequences come first, one row each; prompts share what is left.
  void Plan(int64_t now_ns, BatchPlan& plan, std::vector<Session*>& planned) noexcept;

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
  void Admit() noexcept;
  bool CanAdmit(const Session& session) const noexcept;
  void AddRows(Session& session, int32_t rows, int64_t now_ns, BatchPlan& plan,
               std::vector<Session*>& planned) noexcept;

  SchedulerLimits limits_;
  std::vector<Session*> waiting_;  // in order of submission
  std::vector<Session*> running_;  // in order of admission
  int64_t promised_blocks_ = 0;    // the running requests' worst case
  size_t turn_ = 0;                // where the next plan begins, so that none is always last
};

}  // namespace tessera

#endif  // TESSERA_CORE_SCHEDULE_SCHEDULER_H_
