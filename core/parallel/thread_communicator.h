// Ranks that are threads of one process. An exchange copies nothing: views are the peers' own memory. There
// is no deadline, for such a rank dies only with the process; one that leaves is noticed at once. What the
// exchanged bytes mean is not known here.
#ifndef TESSERA_CORE_PARALLEL_THREAD_COMMUNICATOR_H_
#define TESSERA_CORE_PARALLEL_THREAD_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/parallel/communicator.h"

namespace tessera {

class ThreadGroup {
 public:
  static constexpr int32_t kMostRanks = 64;
  // How many messages from one rank to another may be on their way before Send waits.
  static constexpr int32_t kMessagesOnTheirWay = 8;

  // The group's communicators, [size], in rank order; each may go to a thread of its own and be destroyed at
  // any time. A rank that is destroyed is lost to those that wait for it, now or later; what it had sent and
  // the exchanges that it had entered still arrive, unless the group fails meanwhile.
  //
  // A rank's last contributions must stay valid until its peers have read them. So a group that parts in
  // order ends with an exchange of nothing, and after an error the memory goes only when every rank has
  // stopped.
  //
  // Exchange allocates nothing. Send copies into memory that belongs to the pair of ranks, holds at least
  // message_bytes(from, to) from the start (none: nothing), and grows, for good, with the largest message.
  using MessageBytes = std::function<size_t(int32_t from, int32_t to)>;
  static absl::StatusOr<std::vector<std::unique_ptr<Communicator>>> Create(
      int32_t size, const MessageBytes& message_bytes = nullptr);
};

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_THREAD_COMMUNICATOR_H_
