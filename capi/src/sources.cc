#include "capi/src/sources.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "capi/src/callbacks.h"
#include "capi/src/guard.h"

namespace tessera::capi {
namespace {

// So many are inside at once; who comes then waits. No lock is held while one is inside.
class Gate {
 public:
  explicit Gate(int64_t places) : places_(places) {}
  void Enter() {
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, [this] { return places_ > 0; });
    --places_;
  }
  void Leave() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++places_;
    }
    left_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  int64_t places_;
};

// A host's reader as a file.
class HostFile final : public RandomAccessFile {
 public:
  HostFile(std::shared_ptr<const CallbackTable> table, int64_t most_calls)
      : table_(std::move(table)), reader_(table_->As<tsr_reader>()), gate_(most_calls) {}
  uint64_t size_bytes() const override { return reader_.size_bytes; }
  absl::string_view name() const override { return "reader"; }
  absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const override {
    if (offset > reader_.size_bytes || size_bytes > reader_.size_bytes - offset) {
      return InvalidArgument(
          name(), absl::StrCat("bytes ", offset, " to ", offset + size_bytes, " of ", reader_.size_bytes));
    }
    const int64_t got = CallReader(offset, data, size_bytes);
    if (got < 0) {
      return IoError(name(), absl::StrCat("read_at failed with ", got, " at byte ", offset));
    }
    if (static_cast<uint64_t>(got) != size_bytes) {
      return IoError(name(),
                     absl::StrCat("read_at gave ", got, " of ", size_bytes, " bytes at byte ", offset));
    }
    return absl::OkStatus();
  }

 private:
  int64_t CallReader(uint64_t offset, void* data, size_t size_bytes) const {
    gate_.Enter();
    int64_t got;
    {
      const CallbackScope scope;
      got = reader_.read_at(reader_.user, offset, data, size_bytes);
    }
    gate_.Leave();
    return got;
  }
  std::shared_ptr<const CallbackTable> table_;
  tsr_reader reader_;
  mutable Gate gate_;
};

// Gone after the load: whatever is asked of it later is a defect, but one that answers.
class CopiedMemory final : public RandomAccessFile {
 public:
  CopiedMemory(const void* data, size_t size_bytes)
      : data_(static_cast<const uint8_t*>(data)), size_(size_bytes) {}
  uint64_t size_bytes() const override { return size_; }
  absl::string_view name() const override { return "memory"; }
  absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const override {
    if (offset > size_ || size_bytes > size_ - offset) {
      return InvalidArgument(name(),
                             absl::StrCat("bytes ", offset, " to ", offset + size_bytes, " of ", size_));
    }
    std::copy_n(data_ + offset, size_bytes, static_cast<uint8_t*>(data));
    return absl::OkStatus();
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

template <typename File>
absl::StatusOr<ModelSource> Shared(absl::StatusOr<std::unique_ptr<File>> file) {
  TSR_RETURN_IF_ERROR(file.status());
  return ModelSource(*std::move(file));
}

}  // namespace

absl::StatusOr<ModelSource> OpenPathSource(const char* path, size_t path_size) {
  TSR_RETURN_IF_ERROR(CheckRange(path, path_size, "path"));
  const absl::string_view view = View(path, path_size);
  if (view.empty()) return InvalidArgument("path", "it is empty");
  if (view.find('\0') != absl::string_view::npos) return InvalidArgument("path", "it contains a NUL byte");
  return Shared(OpenFile(view));
}

absl::StatusOr<ModelSource> OpenDescriptorSource(int descriptor, uint64_t offset, uint64_t size_bytes) {
  return Shared(OpenDescriptor(descriptor, offset, size_bytes));
}

absl::StatusOr<ModelSource> OpenMemorySource(const void* data, size_t size_bytes, int32_t mode) {
  TSR_RETURN_IF_ERROR(CheckPointer(data, "data"));
  if (mode == TSR_MEMORY_BORROW) return ModelSource(BorrowMemory(data, size_bytes));
  if (mode == TSR_MEMORY_COPY) return ModelSource(new CopiedMemory(data, size_bytes));
  return InvalidArgument("mode", absl::StrCat(mode, " is no TSR_MEMORY_ constant"));
}

absl::StatusOr<ModelSource> OpenReaderSource(const tsr_reader* reader, int64_t most_calls) {
  DropGuard guard(reader);
  TSR_RETURN_IF_ERROR(CheckPointer(reader, "reader"));
  if (reader->struct_size < sizeof(tsr_reader)) {
    return InvalidArgument("reader", absl::StrCat("struct_size is ", reader->struct_size,
                                                  "; a tsr_reader has ", sizeof(tsr_reader), " bytes"));
  }
  TSR_RETURN_IF_ERROR(CheckPointer(reinterpret_cast<const void*>(reader->read_at), "reader.read_at"));
  auto table = std::make_shared<const CallbackTable>(reader);
  guard.Disarm();
  return ModelSource(std::make_shared<const HostFile>(std::move(table), most_calls));
}

}  // namespace tessera::capi
