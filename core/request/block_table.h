// Where one sequence's keys and values lie. Only the cache changes it; its memory is made once.
#ifndef TESSERA_CORE_REQUEST_BLOCK_TABLE_H_
#define TESSERA_CORE_REQUEST_BLOCK_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera {

class KvCache;

class BlockTable {
 public:
  size_t groups() const { return lists_.size(); }
  // [block index]; -1 where the block has passed out of the group's window.
  const std::vector<int32_t>& operator[](size_t group) const { return lists_[group]; }
  bool empty() const { return lists_.empty() || lists_[0].empty(); }

 private:
  friend class KvCache;
  struct Replaced {  // by a copy, until the batch that writes to it has ended
    int32_t index = -1;
    int32_t block = -1;
  };
  std::vector<std::vector<int32_t>> lists_;  // [group][block index], all of one length
  std::vector<uint64_t> keys_;      // [block index]: the prefix that it ends, as far as known to others
  uint64_t root_ = 0;               // the prefix before the first block; 0: the empty one, as everybody's
  std::vector<Replaced> replaced_;  // [group]
};

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_BLOCK_TABLE_H_
