// The seam between ranks. Every operation carries (epoch, step, operation), so that ranks which have lost
// each other find out at once, honours abort and, where ranks can die alone, a deadline. A communicator
// belongs to one rank and has one caller at a time, Abort excepted. Implementations: threads of one process,
// Gloo between processes (a module of its own), and a scripted one that injects faults (tests/doubles).
#ifndef TESSERA_CORE_PARALLEL_COMMUNICATOR_H_
#define TESSERA_CORE_PARALLEL_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tessera {

struct CollectiveTag {
  uint64_t epoch = 0;      // grows when the group is made anew
  uint64_t step = 0;       // the batch's number
  uint32_t operation = 0;  // the operation's place in the step
};

// What a rank says of itself in each exchange; all see the gravest, at the same place, and leave together.
enum class RankSignal : uint32_t {
  kGo = 0,
  kAbandon = 1,  // nobody wants the step any more
  kFailed = 2,   // this rank cannot go on with the step
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int32_t rank() const noexcept = 0;
  virtual int32_t size() const noexcept = 0;

  // Each rank brings bytes (sizes may differ, and be 0) and gets views of everybody's, in rank order: all
  // [size()]. The views are valid until this rank enters its next Exchange here; `mine` stays valid and
  // unchanged until this rank's next Exchange here has returned: peers may read it in place. Two buffers used
  // by turns are enough. Returns the gravest signal. An error (a lost or late peer, another tag, an abort) is
  // for good: the group cannot be used any more.
  virtual absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                              absl::Span<const uint8_t> mine,
                                              absl::Span<absl::Span<const uint8_t>> all) noexcept = 0;

  // From one rank to another, in order for each pair. Send copies `data` and returns without waiting for the
  // receiver unless many messages to it are on their way; Receive fills `buffer` and returns the size, an
  // error when the message is larger than the buffer or carries another tag.
  virtual absl::Status Send(const CollectiveTag& tag, int32_t to,
                            absl::Span<const uint8_t> data) noexcept = 0;
  virtual absl::StatusOr<size_t> Receive(const CollectiveTag& tag, int32_t from,
                                         absl::Span<uint8_t> buffer) noexcept = 0;

  // Makes every pending and later operation fail, on all ranks as far as they can be reached. Any thread, any
  // number of times.
  virtual void Abort() noexcept = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_COMMUNICATOR_H_
