// Files that go wrong on purpose: they fail a chosen read, end early, change under the reader, count what is
// read.
#ifndef TESSERA_TESTS_DOUBLES_FAKE_FILE_H_
#define TESSERA_TESTS_DOUBLES_FAKE_FILE_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/env/file.h"

namespace tessera {

class FakeFile : public RandomAccessFile {
 public:
  explicit FakeFile(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)), claimed_bytes_(bytes_.size()) {}

  // Read number `read` (from 0) fails with kIoError; with `for_good`, all later ones too. -1: none fails.
  void FailRead(int64_t read, bool for_good = false) {
    failing_read_ = read;
    for_good_ = for_good;
  }
  // size_bytes() says this; reads behind the bytes that exist are short, which is kIoError.
  void ClaimSize(uint64_t size_bytes) { claimed_bytes_ = size_bytes; }
  // Called before each read with its number; may change bytes().
  void BeforeRead(std::function<void(int64_t read)> hook) { hook_ = std::move(hook); }
  std::vector<uint8_t>& bytes() { return bytes_; }

  int64_t reads() const { return reads_.load(); }
  uint64_t bytes_read() const { return bytes_read_.load(); }

  uint64_t size_bytes() const override { return claimed_bytes_; }
  absl::string_view name() const override { return "fake"; }
  absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const override {
    const int64_t read = reads_.fetch_add(1);
    if (hook_) hook_(read);
    if (failing_read_ >= 0 && (read == failing_read_ || (for_good_ && read > failing_read_))) {
      return IoError(name(), absl::StrCat("read ", read, " fails on purpose"));
    }
    if (offset > claimed_bytes_ || size_bytes > claimed_bytes_ - offset) {
      return InvalidArgument(name(), absl::StrCat("byte ", offset, " lies outside the file"));
    }
    if (offset > bytes_.size() || size_bytes > bytes_.size() - offset) {
      return IoError(name(), absl::StrCat("short read at byte ", offset));
    }
    if (size_bytes > 0) memcpy(data, bytes_.data() + offset, size_bytes);
    bytes_read_.fetch_add(size_bytes);
    return absl::OkStatus();
  }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t claimed_bytes_;
  int64_t failing_read_ = -1;
  bool for_good_ = false;
  std::function<void(int64_t)> hook_;
  mutable std::atomic<int64_t> reads_{0};
  mutable std::atomic<uint64_t> bytes_read_{0};
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_FAKE_FILE_H_
