// Errors inside the engine: an absl::Status whose raw code is one of ErrorCode (ask CodeOf, not code()) and
// whose message names the place (file, tensor, key, byte offset), what was wrong, what was expected. Memory
// that runs out is thrown as std::bad_alloc and becomes a status at the C boundary or at a batch's edge.
// Knows nothing of the C API.
#ifndef TESSERA_CORE_BASE_STATUS_H_
#define TESSERA_CORE_BASE_STATUS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tessera {

// The numbers are those of TSR_STATUS_* in the public header (capi checks that); where a canonical
// absl::StatusCode has the same meaning, the number is its own.
enum class ErrorCode : int32_t {
  kOk = 0,
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kLimitExceeded = 8,  // a queue, a pool or a budget of ours is full
  kWrongState = 9,     // a call that the order of calls forbids
  kUnsupported = 12,   // valid, but not something this build can run
  kInternal = 13,      // a defect of ours
  kBusy = 14,          // another caller is inside, or a request runs; try again later
  kCorrupt = 15,       // a file or a saved state that breaks its format
  kOutOfMemory = 32,
  kBufferTooSmall = 33,
  kIoError = 34,
  kInvalidUtf8 = 35,
  kClosed = 36,
  kNumericFault = 37,  // NaN or infinity where a number was needed
  kLost = 38,          // the device or a rank is gone
  kForked = 39,        // the process is a fork's child
  kMismatch = 40,      // a saved state of another model, tokenizer or layout
};

// The message begins with the place; how many of its bytes that are rides along in the status's raw code,
// above the ErrorCode, for hosts that want the place apart (PlaceOf). A payload would say it too, but
// absl::Cord keeps thread-local counters, and a thread's first touch of those may need memory and aborts
// where there is none.
inline constexpr int kCodeBits = 8;
inline constexpr size_t kLongestPlaceBytes = (size_t{1} << (31 - kCodeBits)) - 1;

// `place` says where (may be empty): "model.gguf", "tensor 'blk.0.attn_q.weight'", "setting
// 'engine.threads'".
inline absl::Status Error(ErrorCode code, absl::string_view place, absl::string_view message) {
  if (place.empty()) return absl::Status(static_cast<absl::StatusCode>(code), message);
  const auto place_bytes = static_cast<int32_t>(std::min(place.size(), kLongestPlaceBytes));
  const int32_t raw = static_cast<int32_t>(code) | place_bytes << kCodeBits;
  return absl::Status(static_cast<absl::StatusCode>(raw), absl::StrCat(place, ": ", message));
}

inline absl::Status InvalidArgument(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kInvalidArgument, place, message);
}
inline absl::Status NotFound(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kNotFound, place, message);
}
inline absl::Status LimitExceeded(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kLimitExceeded, place, message);
}
inline absl::Status WrongState(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kWrongState, place, message);
}
inline absl::Status Unsupported(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kUnsupported, place, message);
}
inline absl::Status Internal(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kInternal, place, message);
}
inline absl::Status Busy(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kBusy, place, message);
}
inline absl::Status Corrupt(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kCorrupt, place, message);
}
inline absl::Status OutOfMemory(absl::string_view place, uint64_t bytes) {
  return Error(ErrorCode::kOutOfMemory, place, absl::StrCat("could not allocate ", bytes, " bytes"));
}
inline absl::Status IoError(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kIoError, place, message);
}
inline absl::Status InvalidUtf8(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kInvalidUtf8, place, message);
}
inline absl::Status Closed(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kClosed, place, message);
}
inline absl::Status Mismatch(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kMismatch, place, message);
}
inline absl::Status Cancelled(absl::string_view place, absl::string_view message) {
  return Error(ErrorCode::kCancelled, place, message);
}

// A code alone: needs no memory, which may be what is lacking.
inline absl::Status BareError(ErrorCode code) {
  return absl::Status(static_cast<absl::StatusCode>(code), "");
}

inline ErrorCode CodeOf(const absl::Status& status) {
  return static_cast<ErrorCode>(status.raw_code() & ((1 << kCodeBits) - 1));
}

// Valid as long as the status.
inline absl::string_view PlaceOf(const absl::Status& status) {
  return status.message().substr(0, static_cast<size_t>(status.raw_code()) >> kCodeBits);
}

}  // namespace tessera

#define TSR_CONCAT_INNER_(a, b) a##b
#define TSR_CONCAT_(a, b) TSR_CONCAT_INNER_(a, b)

#define TSR_RETURN_IF_ERROR(expression)        \
  do {                                         \
    absl::Status tsr_status_ = (expression);   \
    if (!tsr_status_.ok()) return tsr_status_; \
  } while (false)

// The arguments are a name, a declaration or an lvalue: none of them can stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define TSR_ASSIGN_OR_RETURN_IMPL_(result, target, expression) \
  auto result = (expression);                                  \
  if (!result.ok()) return result.status();                    \
  target = *std::move(result)

// NOLINTEND(bugprone-macro-parentheses)

#define TSR_ASSIGN_OR_RETURN(target, expression) \
  TSR_ASSIGN_OR_RETURN_IMPL_(TSR_CONCAT_(tsr_result_, __LINE__), target, expression)

#endif  // TESSERA_CORE_BASE_STATUS_H_
