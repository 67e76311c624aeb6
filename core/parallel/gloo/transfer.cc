#include "core/parallel/gloo/transfer.h"

#include "core/env/clock.h"

namespace tessera::gloo_ranks {
namespace {

// Gloo adds this to a clock's reading; what is added must fit.
constexpr int64_t kLongestWaitMs = int64_t{100} * 3600 * 1000;

std::chrono::milliseconds Until(int64_t deadline_ns) {
  if (deadline_ns == kForever) return std::chrono::milliseconds(kLongestWaitMs);
  const int64_t left_ns = deadline_ns - MonotonicClock()->NowNs();
  return std::chrono::milliseconds(std::clamp<int64_t>(left_ns / 1'000'000 + 1, 1, kLongestWaitMs));
}

template <typename Wait>
Waited Await(const Waits* waits, int64_t deadline_ns, Wait wait) noexcept {
  // Gloo forgets an end once it has ended one wait.
  if (waits != nullptr && waits->ended()) return Waited::kEnded;
  try {
    return wait(Until(deadline_ns)) ? Waited::kDone : Waited::kEnded;
  } catch (...) {
    const bool late = deadline_ns != kForever && MonotonicClock()->NowNs() >= deadline_ns;
    return late ? Waited::kLate : Waited::kBroken;
  }
}

}  // namespace

Transfer::Transfer(gloo::transport::Context& context, int peer, Waits* waits, void* data, size_t size)
    : peer_(peer), waits_(waits), buffer_(context.createUnboundBuffer(data, size)) {
  if (waits_ != nullptr) waits_->Add(buffer_.get());
}

Transfer::~Transfer() {
  if (waits_ != nullptr) waits_->Remove(buffer_.get());
}

Waited Transfer::AwaitSend(int64_t deadline_ns) noexcept {
  return Await(waits_, deadline_ns,
               [this](std::chrono::milliseconds left) { return buffer_->waitSend(nullptr, left); });
}

Waited Transfer::AwaitReceive(int64_t deadline_ns) noexcept {
  return Await(waits_, deadline_ns,
               [this](std::chrono::milliseconds left) { return buffer_->waitRecv(nullptr, left); });
}

}  // namespace tessera::gloo_ranks
