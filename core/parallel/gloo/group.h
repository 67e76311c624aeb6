// A group of ranks in different processes, as one of them sees it: a connection to each peer, made by Gloo.
//
// How a peer's end is noticed. When its process dies, the kernel closes its connections, and whoever listens
// there sees it at once. When it is stopped, or its machine is gone, nothing is closed: so each rank says at
// intervals that it lives (a beat), and a peer that says nothing for too long is lost. A rank that fails says
// why before it closes (a farewell), and one that leaves in order says goodbye. A thread for each peer
// listens for all of that, whether or not an operation is under way.
//
// Deadlines. An operation has the operation timeout. Only the first of a step (operation 0) may wait for rank
// 0, the leader, as long as there is no work; once the leader is there, the timeout begins for the others.
#ifndef TESSERA_CORE_PARALLEL_GLOO_GROUP_H_
#define TESSERA_CORE_PARALLEL_GLOO_GROUP_H_

#include <gloo/transport/device.h>
#include <gloo/transport/pair.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/base/status.h"
#include "core/env/threads.h"
#include "core/parallel/communicator.h"
#include "core/parallel/gloo/frame.h"
#include "core/parallel/gloo/module.h"
#include "core/parallel/gloo/transfer.h"

namespace tessera::gloo_ranks {

struct GroupOptions {
  int32_t rank = 0;
  int32_t size = 1;
  int64_t connect_timeout_ns = 0;
  int64_t operation_timeout_ns = 0;
  int64_t silence_ns = 0;
  int64_t beat_ns = 0;
  uint64_t epoch = 0;
  std::string name;
  std::string interface_name;
};

// Methods may throw what Gloo and the memory throw, Fail, Abort and the destructor excepted: module.cc
// catches.
class Group {
 public:
  explicit Group(GroupOptions options);
  ~Group();  // says goodbye, unless the group has failed
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int32_t size() const { return options_.size; }

  // Opens a port for each peer; addresses[size * TSR_GLOO_ADDRESS_BYTES] gets where.
  absl::Status Open(uint8_t* addresses);
  // addresses[size * size * TSR_GLOO_ADDRESS_BYTES]: everybody's. Returns when all are connected to all.
  absl::Status Connect(const uint8_t* addresses);

  absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                      absl::Span<const uint8_t> mine, absl::Span<tsr_gloo_bytes> all);
  absl::Status Send(const CollectiveTag& tag, int32_t to, absl::Span<const uint8_t> data);
  absl::StatusOr<size_t> Receive(const CollectiveTag& tag, int32_t from, absl::Span<uint8_t> buffer);
  void Abort() noexcept;

  // The first failure is the group's; returns that one. Never throws: the message is lost with the memory.
  absl::Status Fail(absl::Status status) noexcept;

 private:
  static constexpr int kMessagesOnTheirWay = 8;
  struct Peer;

  absl::Status ConnectPair(Peer& peer, const uint8_t* address, int64_t deadline_ns);
  absl::Status ExchangeUntil(const CollectiveTag& tag, RankSignal signal, absl::Span<const uint8_t> mine,
                             absl::Span<tsr_gloo_bytes> all, int64_t timeout_ns, RankSignal* gravest);
  absl::Status AwaitContribution(Peer& peer, size_t turn, const CollectiveTag& tag, int64_t deadline_ns);
  absl::Status CheckTags(const CollectiveTag& mine, size_t turn);
  absl::Status AwaitFreeMessage(Peer& peer, uint64_t number, const CollectiveTag& tag);
  absl::StatusOr<Peer*> PeerAt(int32_t rank);
  // A wait for a peer, and its outcome as an error.
  absl::Status AwaitSend(Transfer& transfer, Peer& peer, const CollectiveTag& tag, int64_t deadline_ns);
  absl::Status AwaitReceive(Transfer& transfer, Peer& peer, const CollectiveTag& tag, int64_t deadline_ns);
  // A broken connection waits a moment for the reason that its listener hears.
  absl::Status Outcome(Waited waited, Peer& peer, const CollectiveTag& tag);
  absl::Status Late(const Peer& peer);
  absl::Status Failure();
  bool Usable() { return !waits_.ended(); }

  void Listen(Peer& peer) noexcept;      // the thread of a peer
  bool ListenOnce(Peer& peer) noexcept;  // false: there is no more to hear
  void TakeLeave(Peer& peer) noexcept;
  void BeatFor(Peer& peer, int64_t now_ns, bool was_away) noexcept;
  void Beat() noexcept;  // the group's thread that says at intervals that it lives

  const GroupOptions options_;
  std::shared_ptr<gloo::transport::Device> device_;
  Waits waits_;
  std::vector<std::unique_ptr<Peer>> peers_;  // [size]; null at our own rank
  uint64_t exchanges_ = 0;
  std::vector<uint8_t> contribution_;  // a frame and up to kEagerBytes: what exchanges send
  Frame beat_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool failed_ = false;
  bool closing_ = false;
  absl::Status failure_;
  std::unique_ptr<Thread> beater_;
};

}  // namespace tessera::gloo_ranks

#endif  // TESSERA_CORE_PARALLEL_GLOO_GROUP_H_
