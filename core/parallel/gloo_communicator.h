// Ranks that are processes, on one machine or several, connected by Gloo over TCP. Gloo and its dependencies
// live in a module, libtessera_gloo.so, which is loaded here when it is asked for.
//
// A peer that dies, is stopped or does not come in time ends the group for all, with an error, whatever they
// wait in: see core/parallel/gloo/group.h. Connections are neither authenticated nor encrypted; they belong
// on a network that only the ranks' hosts share.
#ifndef TESSERA_CORE_PARALLEL_GLOO_COMMUNICATOR_H_
#define TESSERA_CORE_PARALLEL_GLOO_COMMUNICATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/parallel/communicator.h"
#include "core/parallel/rendezvous.h"

namespace tessera {

struct GlooOptions {
  int32_t rank = 0;   // of this process, among all
  int32_t ranks = 1;  // all that call `all_gather`
  // The members of this process's group, ascending, itself among them; empty: all ranks. Groups that are made
  // together do not overlap, and each rank is in one: `all_gather` is everybody's.
  std::vector<int32_t> group;
  std::string tag;     // names the groups that are made together, the same on all ranks
  uint64_t epoch = 0;  // likewise
  AllGather all_gather;

  // The operation timeout: whoever does not come to an operation for so long is late, and the group is done.
  // The first operation of a step (operation 0) waits for its rank 0 without end, since there may be no work.
  int64_t timeout_ns = 10'000'000'000;
  // Time to meet and to connect. Creation ends within about twice this, plus what all_gather takes over its
  // own.
  int64_t connect_timeout_ns = 30'000'000'000;
  // A peer that gives no sign of life for so long is lost. 0: half of timeout_ns.
  int64_t silence_ns = 0;
  // A network interface ("eth0"), or this machine's name or address there. Empty: the loopback, for ranks of
  // one machine.
  std::string interface_name;
  std::string module_folder;  // empty: where this build's modules lie
};

// Collective over all ranks: every one calls it, with the same tag and epoch, and gets its place in its
// group. The communicator's ranks are places in `group`. kUnsupported where there is no module.
absl::StatusOr<std::unique_ptr<Communicator>> CreateGlooCommunicator(const GlooOptions& options);

}  // namespace tessera

#endif  // TESSERA_CORE_PARALLEL_GLOO_COMMUNICATOR_H_
