// Plain values into and out of a byte record: native order, every read checked.
#ifndef TESSERA_CORE_RANKS_RECORD_IO_H_
#define TESSERA_CORE_RANKS_RECORD_IO_H_

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "absl/types/span.h"

namespace tessera {

class RecordWriter {
 public:
  explicit RecordWriter(std::vector<uint8_t>* bytes) : bytes_(bytes) { bytes_->clear(); }
  template <typename T>
  void Put(const T& value) {
    PutArray(&value, 1);
  }
  template <typename T>
  void PutArray(const T* values, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count == 0) return;
    const size_t at = bytes_->size();
    bytes_->resize(at + count * sizeof(T));
    std::memcpy(bytes_->data() + at, values, count * sizeof(T));
  }

 private:
  std::vector<uint8_t>* bytes_;
};

class RecordReader {
 public:
  explicit RecordReader(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}
  // False, and nothing is read, where the record ends before.
  template <typename T>
  bool Get(T* value) {
    return GetArray(value, 1);
  }
  template <typename T>
  bool GetArray(T* values, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count > left() / sizeof(T)) return false;
    if (count != 0) std::memcpy(values, bytes_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return true;
  }
  size_t left() const { return bytes_.size() - at_; }

 private:
  absl::Span<const uint8_t> bytes_;
  size_t at_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RECORD_IO_H_
