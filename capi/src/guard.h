// Where the engine's statuses and exceptions become the C API's. Nothing leaves a Guard but a tsr_status.
#ifndef TESSERA_CAPI_SRC_GUARD_H_
#define TESSERA_CAPI_SRC_GUARD_H_

#include <new>
#include <stdexcept>

#include "capi/src/throw_safety.h"
#include "core/base/status.h"
#include "tessera/tessera.h"

namespace tessera::capi {

// Writes *error (when given) and returns the code. Never throws: without memory the error is the static one.
tsr_status Report(const absl::Status& status, tsr_error** error) noexcept;
tsr_status ReportOutOfMemory(tsr_error** error) noexcept;
tsr_status ReportInternal(tsr_error** error) noexcept;
tsr_status ReportForked(tsr_error** error) noexcept;

// True in a child of fork, where no thread of the library lives and its locks may be held by nobody.
bool Forked() noexcept;

template <typename Function>
tsr_status Guard(tsr_error** error, Function&& function) noexcept {
  if (error != nullptr) *error = nullptr;
  if (Forked()) return ReportForked(error);
  if (!ThrowingIsSafe()) TouchExceptionGlobals();
  try {
    return Report(function(), error);
  } catch (const std::bad_alloc&) {
    return ReportOutOfMemory(error);
  } catch (const std::length_error&) {  // a size that no container can have
    return ReportOutOfMemory(error);
  } catch (...) {
    return ReportInternal(error);
  }
}

inline absl::Status CheckPointer(const void* pointer, absl::string_view name) {
  if (pointer != nullptr) return absl::OkStatus();
  return InvalidArgument(name, "NULL");
}

// A pointer and its length: NULL goes with 0 only.
inline absl::Status CheckRange(const void* pointer, size_t size, absl::string_view name) {
  if (pointer != nullptr || size == 0) return absl::OkStatus();
  return InvalidArgument(name, absl::StrCat("NULL with a length of ", size));
}

inline absl::string_view View(const char* data, size_t size) {
  return size == 0 ? absl::string_view() : absl::string_view(data, size);
}

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_GUARD_H_
