// The transaction: what one step computes, what it reserved, and how to undo it. All that can fail comes
// before commit; a rollback leaves every sequence as it was. Allocates at construction only.
#ifndef TESSERA_CORE_ENGINE_BATCH_H_
#define TESSERA_CORE_ENGINE_BATCH_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "core/cache/kv_cache.h"
#include "core/execute/backend.h"
#include "core/request/session.h"
#include "core/schedule/batch_plan.h"

namespace tessera {

class Batch {
 public:
  struct Entry {
    std::shared_ptr<Session> session;
    std::shared_ptr<Request> request;  // as of planning: a cancelled one may be replaced meanwhile
    int32_t row_count = 0;
    SampleRow* sample = nullptr;  // null: a part of a prompt
  };

  Batch(int32_t max_rows, int32_t max_sequences, int32_t cache_groups);

  BatchPlan& plan() { return plan_; }
  std::vector<Session*>& planned() { return planned_; }
  std::vector<BlockCopy>& copies() { return copies_; }
  bool empty() const { return entries_.empty(); }
  absl::Span<const Entry> entries() const { return {entries_.data(), entries_.size()}; }
  const StepView& view() const { return view_; }

  // Forgets the last step. Engine's mutex held.
  void Begin(uint64_t step) noexcept;
  // Takes the plan's i-th sequence in: its blocks are reserved already, and its session and request know of
  // the batch from now on. Engine's mutex held.
  void Enter(size_t index, std::shared_ptr<Session> session) noexcept;
  // The view is complete.
  void Seal(const KvCache& cache) noexcept;
  // Takes an entry's rows off its session's and request's accounts. Engine's mutex held.
  static void Leave(const Entry& entry) noexcept;
  // Lets go of sessions and requests.
  void Clear() noexcept;

  // Entries whose request goes on; 0: nobody wants the batch any more. Written under the engine's mutex.
  std::atomic<int32_t> live{0};

 private:
  int32_t cache_groups_;
  BatchPlan plan_;
  std::vector<Session*> planned_;  // parallel to the plan's sequences
  std::vector<Entry> entries_;
  std::vector<int32_t> tokens_, positions_, sources_;  // [rows]; slots of the plan resolved where they can be
  std::vector<SequenceView> sequences_;
  std::vector<const int32_t*> block_lists_;  // [sequence][group]
  std::vector<SampleRow> samples_;
  std::vector<BlockCopy> copies_;
  StepView view_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_BATCH_H_
