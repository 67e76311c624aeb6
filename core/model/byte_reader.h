// Walks through a file from front to back with few large reads. Every request is held against the bytes that
// are left before anything is allocated. Knows nothing of GGUF; callers say what they were reading for the
// message.
#ifndef TESSERA_CORE_MODEL_BYTE_READER_H_
#define TESSERA_CORE_MODEL_BYTE_READER_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/env/file.h"

namespace tessera {

class ByteReader {
 public:
  explicit ByteReader(const RandomAccessFile& file) : file_(file), size_bytes_(file.size_bytes()) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return size_bytes_ - position_; }

  // `what` ("the tensor count") goes into the message when the file ends too early.
  template <typename T>
  absl::Status Number(absl::string_view what, T* value) {
    return Bytes(what, value, sizeof(T));
  }
  absl::Status Bytes(absl::string_view what, void* data, uint64_t size_bytes);
  absl::Status Skip(absl::string_view what, uint64_t size_bytes);
  void ReturnTo(uint64_t position) { position_ = position; }  // of an earlier position()

 private:
  absl::Status CheckLeft(absl::string_view what, uint64_t size_bytes) const;

  const RandomAccessFile& file_;
  const uint64_t size_bytes_;
  uint64_t position_ = 0;
  std::vector<uint8_t> buffer_;  // the file's bytes from buffer_start_ on
  uint64_t buffer_start_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_BYTE_READER_H_
