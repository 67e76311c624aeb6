// tsr_error, tsr_status and the version.
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "capi/src/guard.h"
#include "core/text/utf8.h"

struct tsr_error {
  tsr_status code = TSR_STATUS_OK;
  std::string message;
  std::string place;
};

namespace tessera::capi {
namespace {

static_assert(static_cast<int>(ErrorCode::kCancelled) == TSR_STATUS_CANCELLED);
static_assert(static_cast<int>(ErrorCode::kInvalidArgument) == TSR_STATUS_INVALID_ARGUMENT);
static_assert(static_cast<int>(ErrorCode::kDeadlineExceeded) == TSR_STATUS_DEADLINE_EXCEEDED);
static_assert(static_cast<int>(ErrorCode::kNotFound) == TSR_STATUS_NOT_FOUND);
static_assert(static_cast<int>(ErrorCode::kLimitExceeded) == TSR_STATUS_LIMIT_EXCEEDED);
static_assert(static_cast<int>(ErrorCode::kWrongState) == TSR_STATUS_WRONG_STATE);
static_assert(static_cast<int>(ErrorCode::kUnsupported) == TSR_STATUS_UNSUPPORTED);
static_assert(static_cast<int>(ErrorCode::kInternal) == TSR_STATUS_INTERNAL);
static_assert(static_cast<int>(ErrorCode::kBusy) == TSR_STATUS_BUSY);
static_assert(static_cast<int>(ErrorCode::kCorrupt) == TSR_STATUS_CORRUPT);
static_assert(static_cast<int>(ErrorCode::kOutOfMemory) == TSR_STATUS_OUT_OF_MEMORY);
static_assert(static_cast<int>(ErrorCode::kBufferTooSmall) == TSR_STATUS_BUFFER_TOO_SMALL);
static_assert(static_cast<int>(ErrorCode::kIoError) == TSR_STATUS_IO_ERROR);
static_assert(static_cast<int>(ErrorCode::kInvalidUtf8) == TSR_STATUS_INVALID_UTF8);
static_assert(static_cast<int>(ErrorCode::kClosed) == TSR_STATUS_CLOSED);
static_assert(static_cast<int>(ErrorCode::kNumericFault) == TSR_STATUS_NUMERIC_FAULT);
static_assert(static_cast<int>(ErrorCode::kLost) == TSR_STATUS_LOST);
static_assert(static_cast<int>(ErrorCode::kForked) == TSR_STATUS_FORKED);
static_assert(static_cast<int>(ErrorCode::kMismatch) == TSR_STATUS_MISMATCH);

// Errors that must exist when nothing can be allocated. Handed out as tsr_error*, recognised by address,
// never freed; the objects behind the addresses hold no string, so nothing is constructed or destroyed.
struct StaticError {
  tsr_status code;
  const char* message;
};
constexpr StaticError kOutOfMemoryError = {TSR_STATUS_OUT_OF_MEMORY,
                                           "memory could not be had; nothing was changed"};
constexpr StaticError kInternalError = {TSR_STATUS_INTERNAL, "an unexpected exception inside the library"};
constexpr StaticError kForkedError = {
    TSR_STATUS_FORKED, "this process is a child of fork; the library works in its parent only"};

const StaticError* AsStatic(const tsr_error* error) {
  for (const StaticError* known : {&kOutOfMemoryError, &kInternalError, &kForkedError}) {
    if (static_cast<const void*>(error) == static_cast<const void*>(known)) return known;
  }
  return nullptr;
}

tsr_status Hand(const StaticError& known, tsr_error** error) noexcept {
  if (error != nullptr) {
    *error = const_cast<tsr_error*>(static_cast<const tsr_error*>(static_cast<const void*>(&known)));
  }
  return known.code;
}

std::atomic<bool> in_child{false};

// Runs when the library is loaded; a handler that cannot be registered leaves fork unnoticed, nothing worse.
__attribute__((constructor)) void WatchForks() {
  pthread_atfork(nullptr, nullptr, [] { in_child.store(true, std::memory_order_relaxed); });
}

// Messages quote what hosts and files say: keys, paths. Whatever is no UTF-8, or would end a C string, is
// shown as U+FFFD.
void AppendShown(absl::string_view text, std::string* shown) {
  while (!text.empty()) {
    const size_t whole = FirstInvalidUtf8(text);
    const size_t end = std::min(text.find('\0'), whole);
    shown->append(text.data(), end);
    text.remove_prefix(end);
    if (text.empty()) return;
    shown->append("\xEF\xBF\xBD");
    text.remove_prefix(1);
  }
}

}  // namespace

bool Forked() noexcept { return in_child.load(std::memory_order_relaxed); }

tsr_status Report(const absl::Status& status, tsr_error** error) noexcept {
  if (status.ok()) return TSR_STATUS_OK;
  const tsr_status code = static_cast<tsr_status>(CodeOf(status));
  if (error == nullptr) return code;
  if (code == TSR_STATUS_OUT_OF_MEMORY && status.message().empty()) return ReportOutOfMemory(error);
  try {
    auto made = std::make_unique<tsr_error>();
    made->code = code;
    AppendShown(status.message(), &made->message);
    AppendShown(PlaceOf(status), &made->place);
    *error = made.release();
    return code;
  } catch (...) {
    return ReportOutOfMemory(error);
  }
}

tsr_status ReportOutOfMemory(tsr_error** error) noexcept { return Hand(kOutOfMemoryError, error); }
tsr_status ReportInternal(tsr_error** error) noexcept { return Hand(kInternalError, error); }
tsr_status ReportForked(tsr_error** error) noexcept { return Hand(kForkedError, error); }

}  // namespace tessera::capi

using tessera::capi::AsStatic;

const char* tsr_version_string(void) { return TESSERA_VERSION; }

int32_t tsr_version_number(void) {
  return TSR_VERSION_MAJOR * 1000000 + TSR_VERSION_MINOR * 1000 + TSR_VERSION_PATCH;
}

const char* tsr_status_name(tsr_status status) {
  switch (status) {
    case TSR_STATUS_OK:
      return "TSR_STATUS_OK";
    case TSR_STATUS_CANCELLED:
      return "TSR_STATUS_CANCELLED";
    case TSR_STATUS_INVALID_ARGUMENT:
      return "TSR_STATUS_INVALID_ARGUMENT";
    case TSR_STATUS_DEADLINE_EXCEEDED:
      return "TSR_STATUS_DEADLINE_EXCEEDED";
    case TSR_STATUS_NOT_FOUND:
      return "TSR_STATUS_NOT_FOUND";
    case TSR_STATUS_LIMIT_EXCEEDED:
      return "TSR_STATUS_LIMIT_EXCEEDED";
    case TSR_STATUS_WRONG_STATE:
      return "TSR_STATUS_WRONG_STATE";
    case TSR_STATUS_UNSUPPORTED:
      return "TSR_STATUS_UNSUPPORTED";
    case TSR_STATUS_INTERNAL:
      return "TSR_STATUS_INTERNAL";
    case TSR_STATUS_BUSY:
      return "TSR_STATUS_BUSY";
    case TSR_STATUS_CORRUPT:
      return "TSR_STATUS_CORRUPT";
    case TSR_STATUS_OUT_OF_MEMORY:
      return "TSR_STATUS_OUT_OF_MEMORY";
    case TSR_STATUS_BUFFER_TOO_SMALL:
      return "TSR_STATUS_BUFFER_TOO_SMALL";
    case TSR_STATUS_IO_ERROR:
      return "TSR_STATUS_IO_ERROR";
    case TSR_STATUS_INVALID_UTF8:
      return "TSR_STATUS_INVALID_UTF8";
    case TSR_STATUS_CLOSED:
      return "TSR_STATUS_CLOSED";
    case TSR_STATUS_NUMERIC_FAULT:
      return "TSR_STATUS_NUMERIC_FAULT";
    case TSR_STATUS_LOST:
      return "TSR_STATUS_LOST";
    case TSR_STATUS_FORKED:
      return "TSR_STATUS_FORKED";
    case TSR_STATUS_MISMATCH:
      return "TSR_STATUS_MISMATCH";
    default:
      return "unknown status";
  }
}

tsr_status tsr_error_code(const tsr_error* error) {
  if (error == nullptr) return TSR_STATUS_OK;
  if (const auto* known = AsStatic(error)) return known->code;
  return error->code;
}

const char* tsr_error_message(const tsr_error* error, size_t* size) {
  const char* text = "";
  size_t length = 0;
  if (error != nullptr) {
    if (const auto* known = AsStatic(error)) {
      text = known->message;
      length = std::strlen(text);
    } else {
      text = error->message.c_str();
      length = error->message.size();
    }
  }
  if (size != nullptr) *size = length;
  return text;
}

const char* tsr_error_place(const tsr_error* error, size_t* size) {
  const bool has = error != nullptr && AsStatic(error) == nullptr;
  if (size != nullptr) *size = has ? error->place.size() : 0;
  return has ? error->place.c_str() : "";
}

void tsr_error_release(tsr_error* error) {
  if (error == nullptr || AsStatic(error) != nullptr || tessera::capi::Forked()) return;
  delete error;
}
