// The seam between ranks. Collectives carry (epoch, step, operation), so that ranks which have lost each
// other find out at once, and honour a deadline and abort. One rank alone needs none: NoCommunicator answers
// everything itself.
#ifndef TESSERA_CORE_PARALLEL_COMMUNICATOR_H_
#define TESSERA_CORE_PARALLEL_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"

namespace tessera {

struct CollectiveTag {
  uint64_t epoch = 0;      // grows when the group is made anew
  uint64_t step = 0;       // the batch's number
  uint32_t operation = 0;  // the collective's place in the step
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;
  // Sums values[0, count) over all ranks, folded in rank order, so that the bits do not depend on who is
  // late.
  virtual absl::Status AllReduceSum(const CollectiveTag& tag, float* values, size_t count) noexcept = 0;
  // Sends rank 0's bytes to everyone.
  virtual absl::Status Broadcast(const CollectiveTag& tag, void* data, size_t size_bytes) noexcept = 0;
  // Makes every pending and later operation fail on all ranks. Any thread.
  virtual void Abort() noexcept = 0;
};

class NoCommunicator final : public Communicator {
 public:
  int32_t rank() const override { return 0; }
  int32_t size() const override { return 1; }
  absl::Status AllReduceSum(const CollectiveTag&, float*, size_t) noexcept override {
    return absl::OkStatus();
  }
  absl::Status Broadcast(const CollectiveTag&, void*, size_t) noexcept override { return absl::OkStatus(); }
  void Abort() noexcept override {}
};

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_COMMUNICATOR_H_
