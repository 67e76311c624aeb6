#include "core/request/event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/base/status.h"

namespace tessera {

absl::StatusOr<std::shared_ptr<EventQueue>> EventQueue::Create(std::unique_ptr<ReadyListener> ready) {
  std::shared_ptr<EventQueue> queue(new EventQueue(std::move(ready)));
  queue->descriptor_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (queue->descriptor_ < 0) {
    return LimitExceeded("queue", absl::StrCat("the system grants no descriptor: ", std::strerror(errno)));
  }
  return queue;
}

EventQueue::~EventQueue() {
  Abandon();
  if (descriptor_ >= 0) close(descriptor_);
}

void EventQueue::SetListener(EventSource& source, std::weak_ptr<RoomListener> listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  source.listener = std::move(listener);
}

bool EventQueue::Crowded() noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  return undelivered_ >= kMostUndelivered;
}

bool EventQueue::HasRoom(EventSource& source) noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  if (abandoned_ || source.outbox.HasRoom()) return true;
  source.starved = true;
  return false;
}

bool EventQueue::PostToken(EventSource& source, const TokenOutput& output) noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  if (abandoned_) return false;
  const bool was_ready = ReadyLocked();
  source.outbox.PutToken(output);
  Link(source);
  TellLocked();
  return !was_ready;
}

bool EventQueue::PostTerminal(EventSource& source, const FinishedRecord& record,
                              absl::string_view message) noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  if (abandoned_) return false;
  const bool was_ready = ReadyLocked();
  if (!source.outbox.terminal_posted()) ++undelivered_;
  source.outbox.PutTerminal(record, message);
  Link(source);
  TellLocked();
  return !was_ready;
}

void EventQueue::CallReady() noexcept {
  if (ready_ != nullptr) ready_->OnReady();
}

void EventQueue::Link(EventSource& source) noexcept {
  if (source.linked) return;
  source.linked = true;
  std::shared_ptr<EventSource> self = source.shared_from_this();
  if (first_ == nullptr) {
    first_ = std::move(self);
  } else {
    last_->next = std::move(self);
  }
  last_ = &source;
  SetDescriptorLocked(true);
}

int EventQueue::descriptor() noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  descriptor_wanted_ = true;
  SetDescriptorLocked(ReadyLocked());
  return descriptor_;
}

void EventQueue::SetDescriptorLocked(bool readable) noexcept {
  if (!descriptor_wanted_ || readable == descriptor_readable_) return;
  uint64_t count = 1;
  const ssize_t moved =
      readable ? write(descriptor_, &count, sizeof(count)) : read(descriptor_, &count, sizeof(count));
  if (moved == sizeof(count)) descriptor_readable_ = readable;
}

EventQueue::Poller::Poller(EventQueue& queue, std::shared_ptr<RoomListener> waiter) noexcept : queue_(queue) {
  std::lock_guard<std::mutex> lock(queue_.mutex_);
  held_ = !std::exchange(queue_.polled_, true);
  if (held_) queue_.waiter_ = std::move(waiter);
}

EventQueue::Poller::~Poller() {
  if (!held_) return;
  std::shared_ptr<RoomListener> waiter;  // let go of without the lock
  std::lock_guard<std::mutex> lock(queue_.mutex_);
  waiter = std::move(queue_.waiter_);
  queue_.polled_ = false;
}

EventQueue::PollResult EventQueue::Poller::Poll(int64_t timeout_ns, uint8_t* buffer,
                                                size_t capacity) noexcept {
  if (held_) return queue_.Drain(timeout_ns, buffer, capacity);
  PollResult result;
  result.busy = true;
  return result;
}

EventQueue::PollResult EventQueue::Drain(int64_t timeout_ns, uint8_t* buffer, size_t capacity) noexcept {
  PollResult result;
  std::unique_lock<std::mutex> lock(mutex_);
  const auto ready = [this] { return ReadyLocked(); };
  if (timeout_ns < 0) {
    changed_.wait(lock, ready);
  } else if (timeout_ns > 0) {
    // Far timeouts are cut, so that the sum with the clock cannot overflow.
    constexpr int64_t kLongestNs = int64_t{1} << 60;
    changed_.wait_for(lock, std::chrono::nanoseconds(std::min(timeout_ns, kLongestNs)), ready);
  }
  result.woken = std::exchange(woken_, false);

  // Listeners are told after the lock is gone; sources that gained room are few, so one drain at a time will
  // do.
  while (first_ != nullptr) {
    EventSource& source = *first_;
    size_t needed = 0;
    const size_t used = source.outbox.Drain(buffer + result.used, capacity - result.used, &needed);
    result.used += used;
    const bool tell = used > 0 && std::exchange(source.starved, false);
    std::shared_ptr<RoomListener> listener = tell ? source.listener.lock() : nullptr;
    if (needed != 0) {
      if (result.used == 0) result.needed = needed;
    } else {
      source.linked = false;
      if (source.outbox.drained_after_terminal()) --undelivered_;
      std::shared_ptr<EventSource> done = std::move(first_);
      first_ = std::move(done->next);
      if (first_ == nullptr) last_ = nullptr;
      lock.unlock();
      done.reset();  // may be the request's last owner; its destructor takes no lock of ours
      lock.lock();
    }
    if (listener != nullptr) {
      lock.unlock();
      listener->OnRoom();
      listener.reset();
      lock.lock();
    }
    if (needed != 0) break;
  }
  result.closed = closed_ && first_ == nullptr && result.used == 0;
  SetDescriptorLocked(ReadyLocked());
  return result;
}

bool EventQueue::Ready() noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  return ReadyLocked();
}

void EventQueue::TellLocked() noexcept {
  changed_.notify_all();
  if (waiter_ != nullptr) waiter_->OnRoom();
}

void EventQueue::Wake() noexcept { Raise(&woken_); }
void EventQueue::Close() noexcept { Raise(&closed_); }

void EventQueue::Raise(bool* flag) noexcept {
  bool was_ready;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    was_ready = ReadyLocked();
    *flag = true;
    SetDescriptorLocked(true);
    TellLocked();
  }
  if (!was_ready) CallReady();
}

void EventQueue::Abandon() noexcept {
  std::shared_ptr<EventSource> first;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    abandoned_ = true;
    undelivered_ = 0;
    first = std::move(first_);
    last_ = nullptr;
  }
  // One by one: a chain released at its head would recurse as deep as it is long.
  while (first != nullptr) {
    std::shared_ptr<RoomListener> listener = first->listener.lock();
    if (listener != nullptr) listener->OnRoom();
    std::shared_ptr<EventSource> next = std::move(first->next);
    first = std::move(next);
  }
}

}  // namespace tessera
