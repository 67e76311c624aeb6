// The seam for reading files: a path, a descriptor, memory, a host's callback, or a test's fake all look like
// this. Files are read, never mapped: a mapped file that is truncated kills the host with SIGBUS.
#ifndef TESSERA_CORE_ENV_FILE_H_
#define TESSERA_CORE_ENV_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera {

// Any thread may call any method, several at once.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  virtual uint64_t size_bytes() const = 0;

  // What messages call this file: its path, "descriptor 7", "memory", "reader".
  virtual absl::string_view name() const = 0;

  // Fills data[0, size_bytes) from `offset` on, all of it or an error: a short read is kIoError, and a range
  // outside the file is kInvalidArgument.
  virtual absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const = 0;

  // The bytes themselves where they lie in memory that stays valid as long as this object, else null.
  virtual const uint8_t* Borrow(uint64_t offset, size_t size_bytes) const;
};

// kNotFound, kIoError, or kInvalidArgument where the path is no regular file.
absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenFile(absl::string_view path);

// Reads [offset, offset + size_bytes) of an open descriptor by pread; duplicates it, so the caller may close
// its own at once. size_bytes 0 means to the file's end.
absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenDescriptor(int descriptor, uint64_t offset,
                                                                 uint64_t size_bytes);

// `data` stays valid and unchanged for the object's life.
std::unique_ptr<RandomAccessFile> BorrowMemory(const void* data, size_t size_bytes);

}  // namespace tessera

#endif  // TESSERA_CORE_ENV_FILE_H_
