// A host's callback table, copied, with its `drop` called exactly once after the last use.
#ifndef TESSERA_CAPI_SRC_CALLBACKS_H_
#define TESSERA_CAPI_SRC_CALLBACKS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "core/base/status.h"

namespace tessera::capi {

// A call into the host. Closing is refused and the last release deferred inside one: the thread that would
// have to be waited for may be this one, or wait for it.
class CallbackScope {
 public:
  CallbackScope() noexcept;
  ~CallbackScope();
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  int32_t slot_ = -1;
};
bool InsideCallback() noexcept;  // whether this thread is in one
inline absl::Status CheckOutsideCallback(absl::string_view call) {
  if (!InsideCallback()) return absl::OkStatus();
  return WrongState(call, "it was called inside a callback; release is what callbacks may do");
}

// Every table begins with these.
struct CallbackHead {
  size_t struct_size;
  void* user;
  void (*drop)(void* user);
};

// Calls drop when it goes, unless the table was taken over. Made first in a call that takes a table, so that
// the call's failure drops it too.
class DropGuard {
 public:
  explicit DropGuard(const void* table) {
    if (table == nullptr) return;
    std::memcpy(&head_, table, sizeof(head_));
    armed_ = head_.struct_size >= sizeof(CallbackHead);
  }
  ~DropGuard() {
    const CallbackScope scope;
    if (armed_ && head_.drop != nullptr) head_.drop(head_.user);
  }
  DropGuard(const DropGuard&) = delete;
  DropGuard& operator=(const DropGuard&) = delete;
  void Disarm() { armed_ = false; }

 private:
  CallbackHead head_ = {};
  bool armed_ = false;
};

class CallbackTable {
 public:
  static constexpr size_t kMostBytes = 128;  // of a table that this version knows

  // Owns the table from here on. What the host's version does not have is zero.
  explicit CallbackTable(const void* table) {
    CallbackHead head;
    std::memcpy(&head, table, sizeof(head));
    std::memcpy(bytes_, table, std::min(head.struct_size, sizeof(bytes_)));
  }
  ~CallbackTable() {
    CallbackHead head;
    std::memcpy(&head, bytes_, sizeof(head));
    const CallbackScope scope;
    if (head.drop != nullptr) head.drop(head.user);
  }
  CallbackTable(const CallbackTable&) = delete;
  CallbackTable& operator=(const CallbackTable&) = delete;

  template <typename Table>
  Table As() const {
    static_assert(sizeof(Table) <= kMostBytes);
    Table table;
    std::memcpy(&table, bytes_, sizeof(table));
    return table;
  }

 private:
  alignas(16) unsigned char bytes_[kMostBytes] = {};
};

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_CALLBACKS_H_
