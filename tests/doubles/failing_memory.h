// Large memory that fails when a test says so, and that holds its users to the rules: every region comes back
// once, with the size and the class that it was asked for.
#ifndef TESSERA_TESTS_DOUBLES_FAILING_MEMORY_H_
#define TESSERA_TESTS_DOUBLES_FAILING_MEMORY_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "core/env/memory.h"

namespace tessera {

class FailingMemory final : public MemorySource {
 public:
  explicit FailingMemory(MemorySource* source = SystemMemory()) : source_(source) {}
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
  ~FailingMemory() override {
    EXPECT_TRUE(live_.empty()) << live_.size() << " regions were never given back";
  }

  // The n-th allocation from now on (1: the next) fails, alone or with all that follow. 0: none fails.
  void FailAt(int64_t nth, bool all_that_follow = false) {
    const std::lock_guard<std::mutex> lock(mutex_);
    fail_at_ = nth == 0 ? 0 : calls_ + nth;
    all_that_follow_ = all_that_follow;
  }

  // Allocations that would take the live bytes beyond this fail.
  void SetBudget(size_t budget_bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    budget_bytes_ = budget_bytes;
  }

  void* Allocate(MemoryClass memory_class, size_t size_bytes) noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++calls_;
    if (fail_at_ != 0 && (calls_ == fail_at_ || (all_that_follow_ && calls_ > fail_at_))) return Refuse();
    if (size_bytes > budget_bytes_ || live_bytes_ > budget_bytes_ - size_bytes) return Refuse();
    void* const data = source_->Allocate(memory_class, size_bytes);
    if (data == nullptr) return Refuse();
    live_[data] = {memory_class, size_bytes};
    live_bytes_ += size_bytes;
    peak_bytes_ = live_bytes_ > peak_bytes_ ? live_bytes_ : peak_bytes_;
    return data;
  }

  void Free(MemoryClass memory_class, void* data, size_t size_bytes) noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = live_.find(data);
    if (found == live_.end()) {
      ADD_FAILURE() << "a region was freed that is not live";
      return;
    }
    EXPECT_EQ(found->second.size_bytes, size_bytes);
    EXPECT_EQ(found->second.memory_class, memory_class);
    live_bytes_ -= found->second.size_bytes;
    live_.erase(found);
    source_->Free(memory_class, data, size_bytes);
  }

  int64_t calls() const { return Locked(calls_); }  // allocations asked for, refused ones too
  int64_t refusals() const { return Locked(refusals_); }
  size_t live_bytes() const { return Locked(live_bytes_); }
  size_t peak_bytes() const { return Locked(peak_bytes_); }
  size_t live_regions() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return live_.size();
  }

 private:
  struct Live {
    MemoryClass memory_class;
    size_t size_bytes;
  };

  void* Refuse() {
    ++refusals_;
    return nullptr;
  }
  template <typename T>
  T Locked(const T& value) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return value;
  }

  MemorySource* const source_;
  mutable std::mutex mutex_;
  std::map<void*, Live> live_;
  int64_t calls_ = 0;
  int64_t refusals_ = 0;
  int64_t fail_at_ = 0;
  bool all_that_follow_ = false;
  size_t budget_bytes_ = SIZE_MAX;
  size_t live_bytes_ = 0;
  size_t peak_bytes_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_FAILING_MEMORY_H_
