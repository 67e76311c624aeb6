// Files behind RandomAccessFile: a path, a descriptor (read by pread, never mapped) and borrowed memory.
#include "core/env/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/checked.h"
#include "core/base/status.h"

namespace tessera {
namespace {

// Linux moves at most 0x7ffff000 bytes a call, and a page-aligned length keeps later offsets aligned.
constexpr size_t kMostBytesPerRead = size_t{1} << 30;

std::string WithErrno(absl::string_view doing, int error) {
  return std::string(absl::ErrnoToStatus(error, doing).message());
}

absl::Status CheckRange(absl::string_view name, uint64_t file_bytes, uint64_t offset, size_t size_bytes) {
  if (offset <= file_bytes && size_bytes <= file_bytes - offset) return absl::OkStatus();
  return InvalidArgument(name, absl::StrCat("bytes [", offset, ", +", size_bytes,
                                            ") lie outside the file, which has ", file_bytes, " bytes"));
}

class OwnedDescriptor {
 public:
  explicit OwnedDescriptor(int descriptor) : descriptor_(descriptor) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  OwnedDescriptor& operator=(OwnedDescriptor&&) = delete;
  ~OwnedDescriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

class DescriptorFile final : public RandomAccessFile {
 public:
  DescriptorFile(OwnedDescriptor descriptor, uint64_t offset, uint64_t size_bytes, absl::string_view name)
      : descriptor_(std::move(descriptor)), offset_(offset), size_bytes_(size_bytes), name_(name) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  absl::string_view name() const override { return name_; }

  absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const override {
    TSR_RETURN_IF_ERROR(CheckRange(name_, size_bytes_, offset, size_bytes));
    auto* out = static_cast<uint8_t*>(data);
    size_t done = 0;
    while (done < size_bytes) {
      const size_t wanted = std::min(size_bytes - done, kMostBytesPerRead);
      const ssize_t got =
          pread(descriptor_.get(), out + done, wanted, static_cast<off_t>(offset_ + offset + done));
      if (got < 0) {
        const int error = errno;
        if (error == EINTR) continue;
        return IoError(name_, WithErrno(absl::StrCat("reading at byte ", offset + done), error));
      }
      if (got == 0) {
        return IoError(name_, absl::StrCat("the file ended at byte ", offset + done, "; ", size_bytes - done,
                                           " more bytes were expected (it had ", size_bytes_,
                                           " bytes when it was opened)"));
      }
      done += static_cast<size_t>(got);
    }
    return absl::OkStatus();
  }

 private:
  const OwnedDescriptor descriptor_;
  const uint64_t offset_;  // of our byte 0 in the descriptor's file
  const uint64_t size_bytes_;
  const std::string name_;
};

class MemoryFile final : public RandomAccessFile {
 public:
  MemoryFile(const uint8_t* data, size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  absl::string_view name() const override { return "memory"; }

  absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const override {
    TSR_RETURN_IF_ERROR(CheckRange(name(), size_bytes_, offset, size_bytes));
    if (size_bytes > 0) memcpy(data, data_ + offset, size_bytes);
    return absl::OkStatus();
  }

  const uint8_t* Borrow(uint64_t offset, size_t size_bytes) const override {
    if (offset > size_bytes_ || size_bytes > size_bytes_ - offset) return nullptr;
    return data_ + offset;
  }

 private:
  const uint8_t* const data_;
  const size_t size_bytes_;
};

absl::StatusOr<std::unique_ptr<RandomAccessFile>> MakeFile(OwnedDescriptor descriptor, uint64_t offset,
                                                           uint64_t size_bytes, absl::string_view name) {
  struct stat facts;
  if (fstat(descriptor.get(), &facts) != 0) return IoError(name, WithErrno("asking for its size", errno));
  if (!S_ISREG(facts.st_mode)) return InvalidArgument(name, "not a regular file");
  const auto held = static_cast<uint64_t>(facts.st_size);
  if (offset > held || size_bytes > held - offset) {
    return InvalidArgument(name, absl::StrCat("the part [", offset, ", +", size_bytes,
                                              ") lies outside the file, which has ", held, " bytes"));
  }
  if (size_bytes == 0) size_bytes = held - offset;
  return std::make_unique<DescriptorFile>(std::move(descriptor), offset, size_bytes, name);
}

}  // namespace

const uint8_t* RandomAccessFile::Borrow(uint64_t, size_t) const { return nullptr; }

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenFile(absl::string_view path) {
  const std::string terminated(path);
  if (terminated.find('\0') != std::string::npos) {
    return InvalidArgument("path", "it has a zero byte inside");
  }
  // O_NONBLOCK: opening a FIFO must not wait for its writer; regular files ignore it.
  int opened;
  do {
    opened = open(terminated.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (opened < 0 && errno == EINTR);
  if (opened < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) return NotFound(path, WithErrno("opening it", error));
    return IoError(path, WithErrno("opening it", error));
  }
  return MakeFile(OwnedDescriptor(opened), 0, 0, path);
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenDescriptor(int descriptor, uint64_t offset,
                                                                 uint64_t size_bytes) {
  const std::string name = absl::StrCat("descriptor ", descriptor);
  const int kept = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (kept < 0) {
    const int error = errno;
    if (error == EBADF) return InvalidArgument(name, "not an open descriptor");
    return IoError(name, WithErrno("duplicating it", error));
  }
  return MakeFile(OwnedDescriptor(kept), offset, size_bytes, name);
}

std::unique_ptr<RandomAccessFile> BorrowMemory(const void* data, size_t size_bytes) {
  return std::make_unique<MemoryFile>(static_cast<const uint8_t*>(data), size_bytes);
}

}  // namespace tessera
