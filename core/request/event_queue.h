// Where requests' events wait for the host. Requests with something to deliver are linked in the order in
// which they became ready; nothing is dropped and nothing is allocated after construction.
#ifndef TESSERA_CORE_REQUEST_EVENT_QUEUE_H_
#define TESSERA_CORE_REQUEST_EVENT_QUEUE_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "core/request/outbox.h"

namespace tessera {

class EventQueue;

// Whoever may go on when a request's outbox has room again: the engine's thread.
class RoomListener {
 public:
  virtual ~RoomListener() = default;
  virtual void OnRoom() noexcept = 0;  // any thread, no lock held
};

// The part of a request that a queue holds. Owned by shared_ptr; the queue keeps it while events wait.
class EventSource : public std::enable_shared_from_this<EventSource> {
 public:
  EventSource(uint64_t tag, uint64_t id, size_t most_record_bytes)
      : tag(tag), id(id), outbox(most_record_bytes) {}
  virtual ~EventSource() = default;
  const uint64_t tag;
  const uint64_t id;

 private:
  friend class EventQueue;
  Outbox outbox;                      // guarded by the queue's mutex
  std::shared_ptr<EventSource> next;  // in the queue's list
  bool linked = false;
  bool starved = false;  // found without room since the last drain
  std::weak_ptr<RoomListener> listener;
};

// Ended requests of one queue whose terminal event nobody has polled; more are not accepted.
inline constexpr int32_t kMostUndelivered = 8192;

// The host's on_ready; implemented by the C API.
class ReadyListener {
 public:
  virtual ~ReadyListener() = default;
  virtual void OnReady() noexcept = 0;
};

class EventQueue {
 public:
  // kLimitExceeded when the system grants no descriptor. `ready` may be null.
  static absl::StatusOr<std::shared_ptr<EventQueue>> Create(std::unique_ptr<ReadyListener> ready);
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  // The engine's side; any thread. After Abandon all of these throw events away. Posting wakes pollers; it
  // returns true when the queue became ready by it, and the caller then calls CallReady once it holds no
  // lock.
  void SetListener(EventSource& source, std::weak_ptr<RoomListener> listener);
  bool Crowded() noexcept;                     // kMostUndelivered is reached
  bool HasRoom(EventSource& source) noexcept;  // false is remembered: the listener hears of the next drain
  bool PostToken(EventSource& source, const TokenOutput& output) noexcept;
  bool PostTerminal(EventSource& source, const FinishedRecord& record, absl::string_view message) noexcept;
  void CallReady() noexcept;

  struct PollResult {
    size_t used = 0;
    size_t needed = 0;    // size of a first record that alone is larger than the buffer; then used is 0
    bool closed = false;  // closed and empty
    bool busy = false;    // another thread polls
    bool woken = false;
  };
  // The host's side. One poller at a time: while a Poller holds the queue, others are busy. `waiter`, which
  // may be null and takes no lock of ours, hears of all that is posted or raised meanwhile.
  class Poller {
   public:
    explicit Poller(EventQueue& queue, std::shared_ptr<RoomListener> waiter = nullptr) noexcept;
    ~Poller();
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;
    // timeout_ns: 0 does not wait, negative waits without end.
    PollResult Poll(int64_t timeout_ns, uint8_t* buffer, size_t capacity) noexcept;
    bool busy() const { return !held_; }

   private:
    EventQueue& queue_;
    bool held_ = false;
  };
  PollResult Poll(int64_t timeout_ns, uint8_t* buffer, size_t capacity) noexcept {
    return Poller(*this).Poll(timeout_ns, buffer, capacity);
  }
  bool Ready() noexcept;  // a poll would return at once
  void Wake() noexcept;
  void Close() noexcept;    // delivers what was posted, then answers closed
  void Abandon() noexcept;  // nobody will poll again
  // Readable as long as a poll would return at once. Costs a system call at each change from now on.
  int descriptor() noexcept;

 private:
  explicit EventQueue(std::unique_ptr<ReadyListener> ready) : ready_(std::move(ready)) {}
  bool ReadyLocked() const { return first_ != nullptr || woken_ || closed_; }
  void Link(EventSource& source) noexcept;  // mutex held
  PollResult Drain(int64_t timeout_ns, uint8_t* buffer, size_t capacity) noexcept;
  void Raise(bool* flag) noexcept;
  void TellLocked() noexcept;                        // whoever waits
  void SetDescriptorLocked(bool readable) noexcept;  // mutex held

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<EventSource> first_;
  EventSource* last_ = nullptr;
  bool polled_ = false;
  int32_t undelivered_ = 0;  // terminal events that wait
  bool woken_ = false;
  bool closed_ = false;
  bool abandoned_ = false;
  bool descriptor_wanted_ = false;
  bool descriptor_readable_ = false;
  int descriptor_ = -1;
  std::unique_ptr<ReadyListener> ready_;
  std::shared_ptr<RoomListener> waiter_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_EVENT_QUEUE_H_
