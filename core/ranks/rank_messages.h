// The messages between ranks: their operation numbers within a step, and what is said instead of a hidden
// state or of results where a step has failed.
#ifndef TESSERA_CORE_RANKS_RANK_MESSAGES_H_
#define TESSERA_CORE_RANKS_RANK_MESSAGES_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "core/base/status.h"
#include "core/parallel/communicator.h"

namespace tessera {

// Operations of a step; those of its regions come after the others.
enum RankOperation : uint32_t {
  kRecordHeadOperation = 0,
  kRecordOperation = 1,
  kHandedOnOperation = 2,
  kHiddenOperation = 3,
  kResultsHeadOperation = 4,
  kResultsOperation = 5,
  kVoteToRunOperation = 6,
  kVoteToCommitOperation = 7,
  kTermsOperation = 8,  // before the first step
  kFirstRegionOperation = 16,
};

// Before a hidden state or results: how the step stands, and how long what follows is (0: nothing follows).
struct HandedOn {
  int32_t code = 0;  // ErrorCode
  uint32_t reserved = 0;
  uint64_t size_bytes = 0;
};

inline HandedOn HeadOf(const absl::Status& status, size_t size_bytes) {
  HandedOn head;
  head.code = status.ok() ? 0 : static_cast<int32_t>(CodeOf(status));
  head.size_bytes = status.ok() ? size_bytes : 0;
  return head;
}

// Messages of other ranks do not travel; their logs have them. These need no memory that could lack.
inline absl::Status FailedElsewhere() { return BareError(ErrorCode::kInternal); }
inline absl::Status AbandonedStep() { return BareError(ErrorCode::kCancelled); }
inline absl::Status StatusOf(const HandedOn& head) {
  if (head.code == 0) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(head.code), "");
}

template <typename T>
absl::Status SendValue(Communicator& to_ranks, const CollectiveTag& tag, int32_t to,
                       const T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  return to_ranks.Send(tag, to, {reinterpret_cast<const uint8_t*>(&value), sizeof(T)});
}

template <typename T>
absl::Status ReceiveValue(Communicator& from_ranks, const CollectiveTag& tag, int32_t from,
                          T* value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  const absl::StatusOr<size_t> size =
      from_ranks.Receive(tag, from, {reinterpret_cast<uint8_t*>(value), sizeof(T)});
  if (!size.ok()) return size.status();
  if (*size != sizeof(T)) return Error(ErrorCode::kLost, "rank", "a message of a wrong size");
  return absl::OkStatus();
}

// The group is gone, however it was noticed: a rank that was late, gave up or went away in the middle.
inline absl::Status AsLoss(absl::Status status) noexcept {
  const ErrorCode code = CodeOf(status);
  if (code != ErrorCode::kDeadlineExceeded && code != ErrorCode::kCancelled) return status;
  try {
    const absl::string_view place = PlaceOf(status);
    const absl::string_view message = status.message().substr(place.size());
    return Error(ErrorCode::kLost, place, place.empty() ? message : message.substr(2));  // ": "
  } catch (const std::bad_alloc&) {
    return BareError(ErrorCode::kLost);
  }
}

// A message that nobody here can use.
inline absl::Status Discard(Communicator& from_ranks, const CollectiveTag& tag, int32_t from,
                            size_t size) noexcept {
  const std::unique_ptr<uint8_t[]> rubbish(new (std::nothrow) uint8_t[size]);
  if (rubbish == nullptr) return BareError(ErrorCode::kLost);
  return from_ranks.Receive(tag, from, {rubbish.get(), size}).status();
}

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RANK_MESSAGES_H_
