#include "core/parallel/thread_communicator.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/env/threads.h"
#include "core/parallel/collective_tag.h"

namespace tessera {
namespace {

constexpr size_t kCacheLineBytes = 64;
// About 10 microseconds; where the ranks outnumber the processors, spinning would only keep them from who is
// awaited.
constexpr int kPausesBeforeSleep = 400;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Where one rank waits. All that it waits for are sequentially consistent atomics: either who changes one
// sees the sleeper, or the sleeper sees the change.
class Doorbell {
 public:
  void Ring() noexcept {
    if (!sleeping_.load()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_one();
  }
  template <typename Predicate>
  void Await(int spins, Predicate done) noexcept {
    for (int i = 0; i < spins; ++i) {
      if (done()) return;
      Pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.store(true);
    while (!done()) changed_.wait(lock);
    sleeping_.store(false);
  }

 private:
  std::atomic<bool> sleeping_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

// What a rank brings to an exchange. Two of them by turns: a rank enters the next but one exchange only when
// all have left this one.
struct alignas(kCacheLineBytes) Contribution {
  CollectiveTag tag;
  RankSignal signal = RankSignal::kGo;
  absl::Span<const uint8_t> bytes;
};

struct Message {
  CollectiveTag tag;
  size_t size = 0;
  std::vector<uint8_t> bytes;  // of which `size` count
};

// From one rank to another: one writer, one reader.
struct Mailbox {
  alignas(kCacheLineBytes) std::atomic<uint64_t> sent{0};
  alignas(kCacheLineBytes) std::atomic<uint64_t> received{0};
  Message messages[ThreadGroup::kMessagesOnTheirWay];

  Message& At(uint64_t number) { return messages[number % ThreadGroup::kMessagesOnTheirWay]; }
};

struct Rank {
  Contribution contributions[2];
  alignas(kCacheLineBytes) Doorbell doorbell;
  std::atomic<bool> left{false};
  std::atomic<uint64_t> entered{0};   // exchanges, the one that it waits in included
  std::atomic<uint64_t> awaiting{0};  // the message that it waits for, as Awaited says; 0: none
  uint64_t exchanges = 0;             // completed; its own thread's, and final once it has left
};

constexpr uint64_t Awaited(uint64_t number, int32_t from) {
  return number * ThreadGroup::kMostRanks + static_cast<uint64_t>(from) + 1;
}

struct Group {
  explicit Group(int32_t n) : size(n), ranks(n), mailboxes(static_cast<size_t>(n) * n) {}

  Mailbox& From(int32_t from, int32_t to) { return mailboxes[static_cast<size_t>(from) * size + to]; }
  void RingAll() noexcept {
    for (Rank& rank : ranks) rank.doorbell.Ring();
  }
  // The first failure is everybody's.
  absl::Status Fail(absl::Status status) noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failed.load()) {
        failure = std::move(status);
        failed.store(true);
      }
    }
    RingAll();
    return Failure();
  }
  absl::Status Failure() noexcept {
    const std::lock_guard<std::mutex> lock(mutex);
    return failure;
  }
  // `describe` makes the message; without memory there is none.
  template <typename Describe>
  absl::Status FailAs(ErrorCode code, Describe describe) noexcept {
    try {
      return Fail(Error(code, "rank group", describe()));
    } catch (const std::bad_alloc&) {
      return Fail(BareError(code));
    }
  }

  const int32_t size;
  int spins = 0;
  std::vector<Rank> ranks;
  std::vector<Mailbox> mailboxes;                               // [from, to]
  alignas(kCacheLineBytes) std::atomic<uint64_t> arrivals{0};   // in all exchanges together
  alignas(kCacheLineBytes) std::atomic<uint64_t> completed{0};  // exchanges that all have entered
  std::atomic<bool> failed{false};
  std::mutex mutex;
  absl::Status failure;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int32_t rank)
      : group_(std::move(group)), rank_(rank), self_(group_->ranks[rank]) {}
  ~ThreadCommunicator() override {
    self_.left.store(true);
    group_->RingAll();
  }

  int32_t rank() const noexcept override { return rank_; }
  int32_t size() const noexcept override { return group_->size; }

  absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                      absl::Span<const uint8_t> mine,
                                      absl::Span<absl::Span<const uint8_t>> all) noexcept override {
    if (group_->failed.load()) return group_->Failure();
    if (all.size() != static_cast<size_t>(size())) {
      return group_->FailAs(ErrorCode::kInternal, [&] {
        return absl::StrCat("rank ", rank_, " has room for ", all.size(), " contributions of ", size());
      });
    }
    const size_t turn = self_.exchanges % 2;
    self_.contributions[turn] = {tag, signal, mine};
    const uint64_t number = self_.exchanges + 1;
    self_.entered.store(number);
    for (int32_t peer = 0; peer < size(); ++peer) {
      if (AwaitsMe(peer)) return Stuck(tag, peer);
    }
    if (group_->arrivals.fetch_add(1) + 1 == number * size()) {
      group_->completed.store(number);
      group_->RingAll();
    } else {
      int32_t lost = -1;
      self_.doorbell.Await(group_->spins, [&] {
        return group_->completed.load() >= number || group_->failed.load() || (lost = Lost(number)) >= 0;
      });
      if (group_->completed.load() < number) return Incomplete(tag, lost);
    }
    self_.exchanges = number;
    return Collect(turn, all);
  }

  absl::Status Send(const CollectiveTag& tag, int32_t to, absl::Span<const uint8_t> data) noexcept override {
    TSR_RETURN_IF_ERROR(CheckPeer(to));
    Mailbox& box = group_->From(rank_, to);
    const uint64_t number = box.sent.load();
    const auto full = [&] { return number - box.received.load() >= ThreadGroup::kMessagesOnTheirWay; };
    const std::atomic<bool>& left = group_->ranks[to].left;
    self_.doorbell.Await(group_->spins, [&] { return !full() || left.load() || group_->failed.load(); });
    if (group_->failed.load()) return group_->Failure();
    if (left.load()) return Incomplete(tag, to);
    Message& message = box.At(number);
    try {
      if (message.bytes.size() < data.size()) message.bytes.resize(data.size());
    } catch (const std::bad_alloc&) {
      return group_->Fail(BareError(ErrorCode::kOutOfMemory));
    }
    if (!data.empty()) std::memcpy(message.bytes.data(), data.data(), data.size());
    message.tag = tag;
    message.size = data.size();
    box.sent.store(number + 1);
    group_->ranks[to].doorbell.Ring();
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Receive(const CollectiveTag& tag, int32_t from,
                                 absl::Span<uint8_t> buffer) noexcept override {
    TSR_RETURN_IF_ERROR(CheckPeer(from));
    Mailbox& box = group_->From(from, rank_);
    const uint64_t number = box.received.load();
    const auto empty = [&] { return box.sent.load() == number; };
    const std::atomic<bool>& left = group_->ranks[from].left;
    if (empty()) {
      // Published before the peer is looked at, as the peer does: one of two that wait for each other sees
      // it.
      self_.awaiting.store(Awaited(number, from));
      const bool peer_waits = group_->ranks[from].entered.load() > self_.exchanges || AwaitsMe(from);
      if (peer_waits && empty()) return Stuck(tag, from);
      self_.doorbell.Await(group_->spins, [&] { return !empty() || left.load() || group_->failed.load(); });
      self_.awaiting.store(0);
    }
    if (group_->failed.load()) return group_->Failure();
    if (empty())
      return Incomplete(tag, from);  // what was sent before leaving is seen: `left` is stored later
    const Message& message = box.At(number);
    if (!SameTag(message.tag, tag)) {
      return group_->FailAs(ErrorCode::kInternal, [&] {
        return absl::StrCat("rank ", from, " sent the message of ", Describe(message.tag), ", rank ", rank_,
                            " is at ", Describe(tag));
      });
    }
    if (message.size > buffer.size()) {
      return group_->FailAs(ErrorCode::kInternal, [&] {
        return absl::StrCat("at ", Describe(tag), " rank ", from, " sent ", message.size, " bytes, rank ",
                            rank_, " has room for ", buffer.size());
      });
    }
    const size_t size = message.size;
    if (size > 0) std::memcpy(buffer.data(), message.bytes.data(), size);
    box.received.store(number + 1);
    group_->ranks[from].doorbell.Ring();
    return size;
  }

  void Abort() noexcept override {
    if (group_->failed.load()) return;
    (void)group_->FailAs(ErrorCode::kCancelled, [&] { return absl::StrCat("rank ", rank_, " aborted it"); });
  }

 private:
  // A rank that left without entering exchange `number`; -1: none.
  int32_t Lost(uint64_t number) const noexcept {
    for (int32_t i = 0; i < size(); ++i) {
      // Its count is final, and visible, once it has left.
      if (group_->ranks[i].left.load() && group_->ranks[i].exchanges < number) return i;
    }
    return -1;
  }

  // Whether the peer waits for a message that this rank has not sent. The number makes a stale look harmless.
  bool AwaitsMe(int32_t peer) const noexcept {
    return peer != rank_ &&
           group_->ranks[peer].awaiting.load() == Awaited(group_->From(rank_, peer).sent.load(), rank_);
  }

  absl::Status Stuck(const CollectiveTag& tag, int32_t peer) noexcept {
    return group_->FailAs(ErrorCode::kInternal, [&] {
      return absl::StrCat("rank ", rank_, " at ", Describe(tag), " and rank ", peer,
                          " wait for each other in different operations");
    });
  }

  absl::Status Incomplete(const CollectiveTag& tag, int32_t lost) noexcept {
    if (group_->failed.load()) return group_->Failure();
    return group_->FailAs(ErrorCode::kLost, [&] {
      return absl::StrCat("rank ", lost, " is gone; rank ", rank_, " waited for it at ", Describe(tag));
    });
  }

  absl::StatusOr<RankSignal> Collect(size_t turn, absl::Span<absl::Span<const uint8_t>> all) noexcept {
    RankSignal gravest = RankSignal::kGo;
    const CollectiveTag& leaders = group_->ranks[0].contributions[turn].tag;
    for (int32_t i = 0; i < size(); ++i) {
      const Contribution& theirs = group_->ranks[i].contributions[turn];
      if (!SameTag(theirs.tag, leaders)) {
        return group_->FailAs(ErrorCode::kInternal, [&] {
          return absl::StrCat("rank ", i, " is at ", Describe(theirs.tag), ", rank 0 at ", Describe(leaders));
        });
      }
      gravest = std::max(gravest, theirs.signal);
      all[i] = theirs.bytes;
    }
    // An abort that came while this rank slept holds for it too.
    if (group_->failed.load()) return group_->Failure();
    return gravest;
  }

  absl::Status CheckPeer(int32_t peer) noexcept {
    if (group_->failed.load()) return group_->Failure();
    if (peer >= 0 && peer < size() && peer != rank_) return absl::OkStatus();
    return group_->FailAs(ErrorCode::kInternal, [&] {
      return absl::StrCat("rank ", rank_, " of ", size(), " cannot exchange messages with rank ", peer);
    });
  }

  const std::shared_ptr<Group> group_;
  const int32_t rank_;
  Rank& self_;
};

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Communicator>>> ThreadGroup::Create(
    int32_t size, const MessageBytes& message_bytes) {
  if (size < 1 || size > kMostRanks) {
    return InvalidArgument("rank group", absl::StrCat(size, " ranks are outside 1 to ", kMostRanks));
  }
  const auto group = std::make_shared<Group>(size);
  group->spins = size <= GrantedThreads() ? kPausesBeforeSleep : 0;
  for (int32_t from = 0; message_bytes && from < size; ++from) {
    for (int32_t to = 0; to < size; ++to) {
      const size_t bytes = message_bytes(from, to);
      for (Message& message : group->From(from, to).messages) message.bytes.resize(bytes);
    }
  }
  std::vector<std::unique_ptr<Communicator>> ranks;
  ranks.reserve(size);
  for (int32_t rank = 0; rank < size; ++rank) {
    ranks.push_back(std::make_unique<ThreadCommunicator>(group, rank));
  }
  return ranks;
}

}  // namespace tessera
