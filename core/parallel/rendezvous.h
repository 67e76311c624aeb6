// How ranks of different processes find each other: one callback of the host's, so that MPI, Slurm,
// Kubernetes or a database can start them. It is used when a group is made, and never again.
#ifndef TESSERA_CORE_PARALLEL_RENDEZVOUS_H_
#define TESSERA_CORE_PARALLEL_RENDEZVOUS_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tessera {

// Collective over all `ranks` of the host: each brings `in`, of the same size everywhere, and gets
// everybody's in `out`, [ranks * in.size()], in rank order. Calls of one (tag, epoch) belong together. Fails,
// on every rank that still lives, when a rank does not come within timeout_ns.
using AllGather =
    std::function<absl::Status(absl::string_view tag, uint64_t epoch, absl::Span<const uint8_t> in,
                               absl::Span<uint8_t> out, int64_t timeout_ns)>;

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_RENDEZVOUS_H_
