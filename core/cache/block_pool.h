// The blocks of one cache group: which are free. Allocation and release are a pop and a push on a fixed
// stack.
#ifndef TESSERA_CORE_CACHE_BLOCK_POOL_H_
#define TESSERA_CORE_CACHE_BLOCK_POOL_H_

#include <cstdint>
#include <vector>

namespace tessera {

class BlockPool {
 public:
  explicit BlockPool(int32_t count) : total_(count) {
    free_.reserve(static_cast<size_t>(count));
    // Lowest ids on top: memory is touched from its beginning, page by page, as it is needed.
    for (int32_t id = count - 1; id >= 0; --id) free_.push_back(id);
  }
  int32_t total() const { return total_; }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  // -1 when none is free.
  int32_t Take() noexcept {
    if (free_.empty()) return -1;
    const int32_t id = free_.back();
    free_.pop_back();
    return id;
  }
  void Give(int32_t id) noexcept { free_.push_back(id); }  // within the reserved capacity

 private:
  int32_t total_;
  std::vector<int32_t> free_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_BLOCK_POOL_H_
