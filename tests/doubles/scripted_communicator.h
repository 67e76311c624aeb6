// A communicator that goes wrong on purpose: a script says what happens at the k-th operation (exchanges,
// sends and receives counted together, from 0) of this rank. The rest it leaves to the communicator that it
// wraps.
#ifndef TESSERA_TESTS_DOUBLES_SCRIPTED_COMMUNICATOR_H_
#define TESSERA_TESTS_DOUBLES_SCRIPTED_COMMUNICATOR_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/parallel/communicator.h"

namespace tessera {

// What a late rank waits for; a test opens it. Several ranks may share one.
class Gate {
 public:
  void Open();
  bool open() const;

 private:
  friend class ScriptedCommunicator;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

struct CommunicatorFault {
  enum class Kind {
    kError,      // the operation fails with `status` and never reaches the group; so do all later ones
    kHang,       // the operation does not return before Abort or Release, and fails then
    kLate,       // the operation waits for `gate`, then goes on
    kWrongSize,  // `size_delta` bytes more (zeros) or fewer are contributed or sent, or are said to have come
    kWrongTag,   // the operation is the next one of its step, as this rank says
    kSignal,     // an exchange says `signal`; other operations are as they are
  };
  Kind kind = Kind::kError;
  absl::Status status;
  std::shared_ptr<Gate> gate;
  int64_t size_delta = 0;
  RankSignal signal = RankSignal::kFailed;

  static CommunicatorFault Fails(absl::Status status) {
    CommunicatorFault fault;
    fault.status = std::move(status);
    return fault;
  }
  static CommunicatorFault Hangs() { return Of(Kind::kHang); }
  static CommunicatorFault Waits(std::shared_ptr<Gate> gate) {
    CommunicatorFault fault = Of(Kind::kLate);
    fault.gate = std::move(gate);
    return fault;
  }
  static CommunicatorFault Resizes(int64_t delta) {
    CommunicatorFault fault = Of(Kind::kWrongSize);
    fault.size_delta = delta;
    return fault;
  }
  static CommunicatorFault Mistags() { return Of(Kind::kWrongTag); }
  static CommunicatorFault Signals(RankSignal signal) {
    CommunicatorFault fault = Of(Kind::kSignal);
    fault.signal = signal;
    return fault;
  }

 private:
  static CommunicatorFault Of(Kind kind) {
    CommunicatorFault fault;
    fault.kind = kind;
    return fault;
  }
};

class ScriptedCommunicator final : public Communicator {
 public:
  explicit ScriptedCommunicator(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}

  // Before the operation is entered. One fault an operation.
  void At(int64_t operation, CommunicatorFault fault);
  void Release();                                            // what hangs, now or later, fails
  int64_t operations() const { return operations_.load(); }  // begun so far
  int64_t held() const { return held_.load(); }              // that hang or are late at this moment

  int32_t rank() const noexcept override { return inner_->rank(); }
  int32_t size() const noexcept override { return inner_->size(); }
  absl::StatusOr<RankSignal> Exchange(const CollectiveTag& tag, RankSignal signal,
                                      absl::Span<const uint8_t> mine,
                                      absl::Span<absl::Span<const uint8_t>> all) noexcept override;
  absl::Status Send(const CollectiveTag& tag, int32_t to, absl::Span<const uint8_t> data) noexcept override;
  absl::StatusOr<size_t> Receive(const CollectiveTag& tag, int32_t from,
                                 absl::Span<uint8_t> buffer) noexcept override;
  void Abort() noexcept override;

 private:
  // The operation's fault, waited out where it is of that kind; its kind is kSignal with kGo where there is
  // none.
  absl::StatusOr<CommunicatorFault> Enter(CollectiveTag* tag);
  absl::Status Hang();
  absl::Status AwaitGate(Gate& gate);
  absl::Status FailForGood(absl::Status status);
  absl::Span<const uint8_t> Resized(const CommunicatorFault& fault, absl::Span<const uint8_t> bytes);

  const std::unique_ptr<Communicator> inner_;
  std::atomic<int64_t> operations_{0}, held_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, CommunicatorFault> script_;
  absl::Status failed_;
  bool released_ = false;
  std::atomic<bool> aborted_{false};
  std::vector<uint8_t> resized_[2];  // by turns, as the contract of Exchange wants it
  size_t turn_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_SCRIPTED_COMMUNICATOR_H_
