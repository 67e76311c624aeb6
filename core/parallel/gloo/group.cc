// A group's life: made, watched over, ended.
#include "core/parallel/gloo/group.h"

#include <gloo/transport/tcp/device.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/env/clock.h"
#include "core/parallel/collective_tag.h"
#include "core/parallel/gloo/peer.h"

namespace tessera::gloo_ranks {
namespace {

// How long a broken connection's reason may lag behind, and a last word may take.
constexpr int64_t kLastWordNs = 300'000'000;

constexpr uint32_t kHelloOperation = UINT32_MAX;

std::string PlaceOf(const GroupOptions& options) { return absl::StrCat("rank group '", options.name, "'"); }

// An address as it goes to the peers: its length, then its bytes.
void WriteAddress(const std::vector<char>& bytes, uint8_t* out) {
  const uint32_t size = static_cast<uint32_t>(bytes.size());
  std::memset(out, 0, TSR_GLOO_ADDRESS_BYTES);
  std::memcpy(out, &size, sizeof(size));
  std::memcpy(out + sizeof(size), bytes.data(),
              std::min<size_t>(size, TSR_GLOO_ADDRESS_BYTES - sizeof(size)));
}

bool ReadAddress(const uint8_t* in, std::vector<char>* bytes) {
  uint32_t size = 0;
  std::memcpy(&size, in, sizeof(size));
  if (size == 0 || size > TSR_GLOO_ADDRESS_BYTES - sizeof(size)) return false;
  bytes->assign(in + sizeof(size), in + sizeof(size) + size);
  return true;
}

// Gloo's thread inherits the mask: no signal of the host's ever lands there.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    for (const int open : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) sigdelset(&all, open);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

std::shared_ptr<gloo::transport::Device> MakeDevice(const std::string& interface_name) {
  gloo::transport::tcp::attr where;
  if (interface_name.empty()) {
    where.hostname = "127.0.0.1";
  } else if (if_nametoindex(interface_name.c_str()) != 0) {
    where.iface = interface_name;
  } else {
    where.hostname = interface_name;
  }
  const AllSignalsBlocked blocked;
  return gloo::transport::tcp::CreateDevice(where);
}

}  // namespace

Group::Group(GroupOptions options)
    : options_(std::move(options)), peers_(options_.size), contribution_(sizeof(Frame) + kEagerBytes) {}

absl::Status Group::Open(uint8_t* addresses) {
  try {
    device_ = MakeDevice(options_.interface_name);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return InvalidArgument(PlaceOf(options_),
                           absl::StrCat("cannot listen on '", options_.interface_name, "': ", error.what()));
  }
  for (int32_t rank = 0; rank < options_.size; ++rank) {
    uint8_t* const address = addresses + static_cast<size_t>(rank) * TSR_GLOO_ADDRESS_BYTES;
    std::memset(address, 0, TSR_GLOO_ADDRESS_BYTES);
    if (rank == options_.rank) continue;
    std::shared_ptr<gloo::transport::Context> context = device_->createContext(options_.rank, options_.size);
    // Gloo waits five times this long for a connection; Connect looks at the time between two.
    const int64_t fifth_ms = options_.connect_timeout_ns / 5'000'000;
    context->setTimeout(std::chrono::milliseconds(std::max<int64_t>(1, fifth_ms)));
    WriteAddress(context->createPair(rank)->address().bytes(), address);
    peers_[rank] = std::make_unique<Peer>(std::move(context), rank, &waits_, &contribution_, &beat_);
  }
  return absl::OkStatus();
}

absl::Status Group::ConnectPair(Peer& peer, const uint8_t* address, int64_t deadline_ns) {
  std::vector<char> bytes;
  if (!ReadAddress(address, &bytes)) {
    return Internal(PlaceOf(options_),
                    absl::StrCat("rank ", peer.rank, " gave no address for rank ", options_.rank));
  }
  try {
    peer.context->getPair(peer.rank)->connect(bytes);
    peer.exchange_in[0]->Receive(kExchangeSlot, 0, sizeof(Frame) + kEagerBytes);
    peer.message_in->Receive(kMessageSlot, 0, sizeof(Frame) + kEagerBytes);
    peer.life_in->Receive(kLifeSlot, 0, sizeof(Frame) + kMostReasonBytes);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return Error(ErrorCode::kLost, PlaceOf(options_),
                 absl::StrCat("no connection to rank ", peer.rank, ": ", error.what()));
  }
  if (MonotonicClock()->NowNs() > deadline_ns) {
    return Error(ErrorCode::kDeadlineExceeded, PlaceOf(options_),
                 absl::StrCat("still connecting at rank ", peer.rank, " when the time was up"));
  }
  return absl::OkStatus();
}

absl::Status Group::Connect(const uint8_t* addresses) {
  const int64_t deadline_ns = MonotonicClock()->NowNs() + options_.connect_timeout_ns;
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    const size_t at = static_cast<size_t>(peer->rank) * options_.size + options_.rank;
    const absl::Status connected = ConnectPair(*peer, addresses + at * TSR_GLOO_ADDRESS_BYTES, deadline_ns);
    if (!connected.ok()) return Fail(connected);
  }
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    Peer* const one = peer.get();
    one->heard_ns.store(MonotonicClock()->NowNs());
    TSR_ASSIGN_OR_RETURN(one->listener, Thread::Start("tsr-rank-listen", [this, one] { Listen(*one); }));
  }
  if (options_.size > 1) {
    TSR_ASSIGN_OR_RETURN(beater_, Thread::Start("tsr-rank-beat", [this] { Beat(); }));
  }
  // All connections carry both ways, to ranks of the same group, or the group is none.
  std::vector<tsr_gloo_bytes> names(options_.size);
  const absl::Span<const uint8_t> name(reinterpret_cast<const uint8_t*>(options_.name.data()),
                                       options_.name.size());
  RankSignal signal;
  TSR_RETURN_IF_ERROR(ExchangeUntil({options_.epoch, 0, kHelloOperation}, RankSignal::kGo, name,
                                    absl::MakeSpan(names), deadline_ns - MonotonicClock()->NowNs(), &signal));
  for (int32_t rank = 0; rank < options_.size; ++rank) {
    const absl::string_view theirs(static_cast<const char*>(names[rank].data), names[rank].size);
    if (theirs != options_.name) {
      return Fail(
          Internal(PlaceOf(options_), absl::StrCat("rank ", rank, " belongs to group '", theirs, "'")));
    }
  }
  return absl::OkStatus();
}

Group::~Group() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  waits_.EndAll();
  beater_.reset();
  // The listeners take leave, all at the same time; then the connections are closed after what was sent.
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer != nullptr) peer->listener.reset();
  }
  peers_.clear();
}

absl::Status Group::Fail(absl::Status status) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failed_) {
      failed_ = true;
      failure_ = std::move(status);
      changed_.notify_all();
    }
  }
  waits_.EndAll();
  return Failure();
}

absl::Status Group::Failure() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return failed_ ? failure_ : Closed(PlaceOf(options_), "it is being closed");
}

void Group::Abort() noexcept {
  try {
    (void)Fail(Cancelled(PlaceOf(options_), absl::StrCat("rank ", options_.rank, " aborted it")));
  } catch (const std::bad_alloc&) {
    (void)Fail(BareError(ErrorCode::kCancelled));
  }
}

void Group::Listen(Peer& peer) noexcept {
  try {
    while (ListenOnce(peer)) {
    }
  } catch (const std::bad_alloc&) {
    (void)Fail(BareError(ErrorCode::kOutOfMemory));
  }
  // A peer that left in order is not waited for by those who need nothing from it; the rest still may.
  if (peer.left.load()) return;
  TakeLeave(peer);
}

bool Group::ListenOnce(Peer& peer) noexcept {
  const Waited waited = peer.life_in->AwaitReceive(kForever);
  if (waited == Waited::kEnded) return false;
  if (waited != Waited::kDone) {
    peer.deserted.store(true);
    if (MonotonicClock()->NowNs() >= peer.deadline_ns.load()) {
      (void)Late(peer);
      return false;
    }
    (void)Fail(Error(ErrorCode::kLost, PlaceOf(options_),
                     absl::StrCat("rank ", peer.rank, " is gone: its connection was closed")));
    return false;
  }
  peer.heard_ns.store(MonotonicClock()->NowNs());
  Frame frame;
  std::memcpy(&frame, peer.life_in.data(), sizeof(frame));
  if (frame.magic == Frame::kMagic && frame.kind == FrameKind::kBeat) {
    try {
      peer.life_in->Receive(kLifeSlot, 0, sizeof(Frame) + kMostReasonBytes);
    } catch (const std::exception&) {
      // The next wait says that it is closed.
    }
    return true;
  }
  if (frame.magic == Frame::kMagic && frame.kind == FrameKind::kGoodbye) {
    const std::lock_guard<std::mutex> lock(mutex_);
    peer.left.store(true);
    changed_.notify_all();
    return false;
  }
  peer.deserted.store(true);
  if (frame.magic != Frame::kMagic || frame.kind != FrameKind::kFarewell || frame.size > kMostReasonBytes) {
    (void)Fail(Internal(PlaceOf(options_), absl::StrCat("rank ", peer.rank, " sent what no rank sends")));
    return false;
  }
  const absl::string_view reason(reinterpret_cast<const char*>(peer.life_in.data()) + sizeof(frame),
                                 frame.size);
  (void)Fail(Error(static_cast<ErrorCode>(frame.signal), PlaceOf(options_),
                   absl::StrCat("rank ", peer.rank, " gave up: ", reason)));
  return false;
}

void Group::TakeLeave(Peer& peer) noexcept {
  Frame frame;
  frame.kind = FrameKind::kGoodbye;
  bool failed = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    failed = failed_;
    if (failed_) {
      absl::string_view reason = failure_.message().substr(tessera::PlaceOf(failure_).size());
      if (!tessera::PlaceOf(failure_).empty()) reason.remove_prefix(2);  // ": "
      frame.kind = FrameKind::kFarewell;
      frame.signal = static_cast<uint32_t>(CodeOf(failure_));
      frame.size = std::min(reason.size(), kMostReasonBytes);
      if (frame.size > 0) std::memcpy(peer.leave_out.data() + sizeof(frame), reason.data(), frame.size);
    }
  }
  std::memcpy(peer.leave_out.data(), &frame, sizeof(frame));
  if (!peer.deserted.load()) {
    try {
      peer.leave_out->Send(kLifeSlot, 0, sizeof(frame) + frame.size);
      (void)peer.leave_out->AwaitSend(MonotonicClock()->NowNs() + kLastWordNs);
    } catch (const std::exception&) {
      // It heard that the connection closed.
    }
  }
  // Peers need not wait for the host to release a group that is done. The destructor closes gently.
  if (failed) peer.context->getPair(peer.rank)->close();
}

void Group::Beat() noexcept {
  int64_t last_turn_ns = MonotonicClock()->NowNs();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!failed_ && !closing_) {
    lock.unlock();
    const int64_t now_ns = MonotonicClock()->NowNs();
    // Who was stopped, or found no processor, has heard nothing either: its peers get their time anew.
    const bool was_away = now_ns - last_turn_ns > options_.silence_ns / 2;
    last_turn_ns = now_ns;
    for (const std::unique_ptr<Peer>& peer : peers_) {
      if (peer != nullptr && !peer->left.load()) BeatFor(*peer, now_ns, was_away);
    }
    lock.lock();
    changed_.wait_for(lock, std::chrono::nanoseconds(options_.beat_ns),
                      [this] { return failed_ || closing_; });
  }
}

void Group::BeatFor(Peer& peer, int64_t now_ns, bool was_away) noexcept {
  if (was_away) peer.heard_ns.store(now_ns);
  try {
    if (now_ns - peer.heard_ns.load() > options_.silence_ns) {
      peer.deserted.store(true);
      (void)Fail(Error(ErrorCode::kLost, PlaceOf(options_),
                       absl::StrCat("rank ", peer.rank, " has given no sign of life for ",
                                    options_.silence_ns / 1'000'000, " ms")));
      return;
    }
    peer.life_out.Send(kLifeSlot, 0, sizeof(Frame));
  } catch (const std::exception&) {
    // Of a connection that is closed, which its listener hears too; or memory is out, and the peer misses a
    // beat.
  }
}

absl::Status Group::AwaitSend(Transfer& transfer, Peer& peer, const CollectiveTag& tag, int64_t deadline_ns) {
  peer.deadline_ns.store(deadline_ns);
  absl::Status status = Outcome(transfer.AwaitSend(deadline_ns), peer, tag);
  peer.deadline_ns.store(kForever);
  return status;
}

absl::Status Group::AwaitReceive(Transfer& transfer, Peer& peer, const CollectiveTag& tag,
                                 int64_t deadline_ns) {
  peer.deadline_ns.store(deadline_ns);
  absl::Status status = Outcome(transfer.AwaitReceive(deadline_ns), peer, tag);
  peer.deadline_ns.store(kForever);
  return status;
}

absl::Status Group::Late(const Peer& peer) {
  return Fail(Error(ErrorCode::kDeadlineExceeded, PlaceOf(options_),
                    absl::StrCat("rank ", peer.rank, " is late: rank ", options_.rank,
                                 " has waited for it for longer than the timeout of ",
                                 options_.operation_timeout_ns / 1'000'000, " ms")));
}

absl::Status Group::Outcome(Waited waited, Peer& peer, const CollectiveTag& tag) {
  switch (waited) {
    case Waited::kDone:
      return absl::OkStatus();
    case Waited::kEnded:
      return Failure();
    case Waited::kLate:
      return Late(peer);
    case Waited::kBroken:
      break;
  }
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::nanoseconds(kLastWordNs),
                      [&] { return failed_ || closing_ || peer.left.load(); });
  }
  return Fail(Error(ErrorCode::kLost, PlaceOf(options_),
                    absl::StrCat("rank ", peer.rank, " is gone; rank ", options_.rank, " waited for it at ",
                                 Describe(tag))));
}

}  // namespace tessera::gloo_ranks
