// A host's callback table, copied, with its `drop` called exactly once after the last use.
#ifndef TESSERA_CAPI_SRC_CALLBACKS_H_
#define TESSERA_CAPI_SRC_CALLBACKS_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

namespace tessera::capi {

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
