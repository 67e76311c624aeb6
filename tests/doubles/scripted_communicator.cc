#include "tests/doubles/scripted_communicator.h"

#include <algorithm>
#include <chrono>

namespace tessera {

using Kind = CommunicatorFault::Kind;

void Gate::Open() {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = true;
  changed_.notify_all();
}

bool Gate::open() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return open_;
}

void ScriptedCommunicator::At(int64_t operation, CommunicatorFault fault) {
  const std::lock_guard<std::mutex> lock(mutex_);
  script_[operation] = std::move(fault);
}

void ScriptedCommunicator::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  released_ = true;
  changed_.notify_all();
}

void ScriptedCommunicator::Abort() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
  }
  inner_->Abort();
}

absl::Status ScriptedCommunicator::FailForGood(absl::Status status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  failed_ = std::move(status);
  return failed_;
}

absl::Status ScriptedCommunicator::Hang() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    ++held_;
    changed_.wait(lock, [this] { return aborted_ || released_; });
    --held_;
  }
  return FailForGood(aborted_
                         ? Cancelled("scripted rank", "aborted while it hung")
                         : Error(ErrorCode::kDeadlineExceeded, "scripted rank", "released from its hang"));
}

absl::Status ScriptedCommunicator::AwaitGate(Gate& gate) {
  ++held_;
  {
    // Two conditions of two owners: looked at by turns.
    std::unique_lock<std::mutex> lock(gate.mutex_);
    while (!gate.open_ && !aborted_) gate.changed_.wait_for(lock, std::chrono::milliseconds(1));
  }
  --held_;
  if (gate.open()) return absl::OkStatus();
  return FailForGood(Cancelled("scripted rank", "aborted while it was late"));
}

absl::StatusOr<CommunicatorFault> ScriptedCommunicator::Enter(CollectiveTag* tag) {
  const int64_t operation = operations_.fetch_add(1);
  CommunicatorFault fault = CommunicatorFault::Signals(RankSignal::kGo);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failed_.ok()) return failed_;
    const auto found = script_.find(operation);
    if (found != script_.end()) fault = found->second;
  }
  switch (fault.kind) {
    case Kind::kError:
      return FailForGood(fault.status);
    case Kind::kHang:
      return Hang();
    case Kind::kLate:
      TSR_RETURN_IF_ERROR(AwaitGate(*fault.gate));
      break;
    case Kind::kWrongTag:
      ++tag->operation;
      break;
    case Kind::kWrongSize:
    case Kind::kSignal:
      break;
  }
  return fault;
}

absl::Span<const uint8_t> ScriptedCommunicator::Resized(const CommunicatorFault& fault,
                                                        absl::Span<const uint8_t> bytes) {
  if (fault.kind != Kind::kWrongSize) return bytes;
  std::vector<uint8_t>& copy = resized_[turn_++ % 2];
  copy.assign(bytes.begin(), bytes.end());
  copy.resize(
      static_cast<size_t>(std::max<int64_t>(0, static_cast<int64_t>(bytes.size()) + fault.size_delta)));
  return copy;
}

absl::StatusOr<RankSignal> ScriptedCommunicator::Exchange(
    const CollectiveTag& tag, RankSignal signal, absl::Span<const uint8_t> mine,
    absl::Span<absl::Span<const uint8_t>> all) noexcept {
  CollectiveTag said = tag;
  TSR_ASSIGN_OR_RETURN(const CommunicatorFault fault, Enter(&said));
  if (fault.kind == Kind::kSignal) signal = std::max(signal, fault.signal);
  return inner_->Exchange(said, signal, Resized(fault, mine), all);
}

absl::Status ScriptedCommunicator::Send(const CollectiveTag& tag, int32_t to,
                                        absl::Span<const uint8_t> data) noexcept {
  CollectiveTag said = tag;
  TSR_ASSIGN_OR_RETURN(const CommunicatorFault fault, Enter(&said));
  return inner_->Send(said, to, Resized(fault, data));
}

absl::StatusOr<size_t> ScriptedCommunicator::Receive(const CollectiveTag& tag, int32_t from,
                                                     absl::Span<uint8_t> buffer) noexcept {
  CollectiveTag said = tag;
  TSR_ASSIGN_OR_RETURN(const CommunicatorFault fault, Enter(&said));
  TSR_ASSIGN_OR_RETURN(const size_t size, inner_->Receive(said, from, buffer));
  if (fault.kind != Kind::kWrongSize) return size;
  const int64_t changed = static_cast<int64_t>(size) + fault.size_delta;
  return static_cast<size_t>(std::clamp<int64_t>(changed, 0, static_cast<int64_t>(buffer.size())));
}

}  // namespace tessera
