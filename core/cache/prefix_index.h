// Which token prefixes have their keys and values in the cache. A node is one full block of tokens behind one
// parent prefix; it is found by its parent's key and its tokens, compared token by token, so that no two
// prefixes are ever taken for one another. Fixed memory: nothing is allocated after construction.
#ifndef TESSERA_CORE_CACHE_PREFIX_INDEX_H_
#define TESSERA_CORE_CACHE_PREFIX_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tessera {

// A prefix's name, never given twice. Model and cache type are the engine's own, so they need no place in it.
using PrefixKey = uint64_t;
inline constexpr PrefixKey kEmptyPrefix = 1;

class PrefixIndex {
 public:
  PrefixIndex(int32_t most_nodes, int32_t groups, int32_t block_tokens);
  // What an index of that size takes.
  static uint64_t HeapBytes(uint64_t most_nodes, uint64_t groups, uint64_t block_tokens);

  // The node of `tokens` [block_tokens] behind `parent`; -1: none.
  int32_t Find(PrefixKey parent, absl::Span<const int32_t> tokens) const noexcept;
  // A new node, without blocks. -1 when all are in use.
  int32_t Insert(PrefixKey parent, absl::Span<const int32_t> tokens) noexcept;
  void Remove(int32_t node) noexcept;
  // A name that no node has.
  PrefixKey MakeKey() noexcept { return next_key_++; }

  PrefixKey key(int32_t node) const { return nodes_[static_cast<size_t>(node)].key; }
  int32_t& block(int32_t node, int32_t group) { return blocks_[Slot(node, group)]; }  // -1: not in the cache
  int32_t block(int32_t node, int32_t group) const { return blocks_[Slot(node, group)]; }
  int32_t size() const { return static_cast<int32_t>(nodes_.size() - free_.size()); }

 private:
  struct Node {
    PrefixKey parent = 0;
    PrefixKey key = 0;
    int32_t next = -1;  // in its bucket
  };
  size_t Slot(int32_t node, int32_t group) const {
    return static_cast<size_t>(node) * static_cast<size_t>(groups_) + static_cast<size_t>(group);
  }
  int32_t* TokensOf(int32_t node) { return tokens_.data() + static_cast<size_t>(node) * block_tokens_; }
  const int32_t* TokensOf(int32_t node) const {
    return tokens_.data() + static_cast<size_t>(node) * block_tokens_;
  }
  size_t BucketOf(PrefixKey parent, const int32_t* tokens) const noexcept;

  int32_t groups_;
  size_t block_tokens_;
  PrefixKey next_key_ = kEmptyPrefix + 1;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;   // [node][block_tokens]
  std::vector<int32_t> blocks_;   // [node][group]
  std::vector<int32_t> free_;     // a stack of nodes
  std::vector<int32_t> buckets_;  // first node of each; a power of two
};

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_PREFIX_INDEX_H_
