// Memory that Gloo sends from or receives into, waited for until a deadline or until the group gives up.
// Gloo's own timeouts close the connection, as we want it: after one the group is done.
#ifndef TESSERA_CORE_PARALLEL_GLOO_TRANSFER_H_
#define TESSERA_CORE_PARALLEL_GLOO_TRANSFER_H_

#include <gloo/transport/context.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace tessera::gloo_ranks {

inline constexpr int64_t kForever = INT64_MAX;  // as a deadline

// All transfers of a group, so that whoever ends it can end every wait.
class Waits {
 public:
  using Buffer = gloo::transport::UnboundBuffer;

  void Add(Buffer* buffer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    buffers_.push_back(buffer);
    if (ended_.load()) End(*buffer);
  }
  void Remove(Buffer* buffer) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    buffers_.erase(std::remove(buffers_.begin(), buffers_.end(), buffer), buffers_.end());
  }
  // Every wait returns at once, from now on.
  void EndAll() noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_.store(true);
    for (Buffer* const buffer : buffers_) End(*buffer);
  }
  bool ended() const noexcept { return ended_.load(); }

 private:
  static void End(Buffer& buffer) noexcept {
    buffer.abortWaitRecv();
    buffer.abortWaitSend();
  }
  std::mutex mutex_;
  std::vector<Buffer*> buffers_;
  std::atomic<bool> ended_{false};
};

enum class Waited { kDone, kLate, kBroken, kEnded };

class Transfer {
 public:
  // `data` outlives it. `waits` may be null: then nobody ends its waits but the deadline.
  Transfer(gloo::transport::Context& context, int peer, Waits* waits, void* data, size_t size);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Never block. Throw where the connection is closed.
  void Send(uint64_t slot, size_t offset, size_t size) { buffer_->send(peer_, slot, offset, size); }
  void Receive(uint64_t slot, size_t offset, size_t size) { buffer_->recv(peer_, slot, offset, size); }

  Waited AwaitSend(int64_t deadline_ns) noexcept;
  Waited AwaitReceive(int64_t deadline_ns) noexcept;

 private:
  const int peer_;
  Waits* const waits_;
  std::unique_ptr<gloo::transport::UnboundBuffer> buffer_;
};

// A Transfer and its memory, which grows.
class OwnedTransfer {
 public:
  OwnedTransfer(std::shared_ptr<gloo::transport::Context> context, int peer, Waits* waits)
      : context_(std::move(context)), peer_(peer), waits_(waits) {}
  // Only when nothing is under way. The contents are lost.
  void Reserve(size_t size) {
    if (transfer_ != nullptr && bytes_.size() >= size) return;
    transfer_.reset();
    bytes_.resize(size);
    transfer_ = std::make_unique<Transfer>(*context_, peer_, waits_, bytes_.data(), bytes_.size());
  }
  uint8_t* data() { return bytes_.data(); }
  Transfer& operator*() { return *transfer_; }
  Transfer* operator->() { return transfer_.get(); }

 private:
  const std::shared_ptr<gloo::transport::Context> context_;
  const int peer_;
  Waits* const waits_;
  std::vector<uint8_t> bytes_;
  std::unique_ptr<Transfer> transfer_;
};

}  // namespace tessera::gloo_ranks

#endif  // TESSERA_CORE_PARALLEL_GLOO_TRANSFER_H_
