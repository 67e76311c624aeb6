// The blocks of one cache group: who refers to them, which are free, and which nobody refers to but the
// prefix index still knows. All lists are fixed arrays: nothing is allocated after construction.
#ifndef TESSERA_CORE_CACHE_BLOCK_POOL_H_
#define TESSERA_CORE_CACHE_BLOCK_POOL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera {

class BlockPool {
 public:
  explicit BlockPool(int32_t count);
  // What a pool of so many blocks takes.
  static uint64_t HeapBytes(uint64_t count) { return count * (sizeof(Block) + sizeof(int32_t)); }

  int32_t total() const { return static_cast<int32_t>(blocks_.size()); }
  // Free, or known to the index only: what Take and Evict together can give.
  int32_t available() const { return static_cast<int32_t>(free_.size()) + idle_count_; }
  int32_t refs(int32_t id) const { return At(id).refs; }
  int32_t node(int32_t id) const { return At(id).node; }

  // A free block with one reference; -1 when none is free.
  int32_t Take() noexcept;
  // The block that has been idle for the longest; -1: none. It stays idle until it is Forgotten.
  int32_t OldestIdle() const { return idle_first_; }

  void Refer(int32_t id) noexcept;  // one more reference; an idle block is idle no more
  void Release(
      int32_t id) noexcept;  // one fewer; the last leaves the block idle where a node knows it, else free

  // The index's node that knows the block.
  void Remember(int32_t id, int32_t node) noexcept { At(id).node = node; }
  void Forget(int32_t id) noexcept;  // no node does; an idle block is free now

 private:
  struct Block {
    int32_t refs = 0;
    int32_t node = -1;
    int32_t previous = -1, next = -1;  // among the idle, in the order in which they became so
  };
  Block& At(int32_t id) { return blocks_[static_cast<size_t>(id)]; }
  const Block& At(int32_t id) const { return blocks_[static_cast<size_t>(id)]; }
  void Unlink(int32_t id) noexcept;
  void Link(int32_t id) noexcept;

  std::vector<Block> blocks_;
  std::vector<int32_t> free_;  // a stack
  int32_t idle_first_ = -1, idle_last_ = -1;
  int32_t idle_count_ = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_BLOCK_POOL_H_
